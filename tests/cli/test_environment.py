"""What a shell, a notebook or a cluster hands on to a run."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.processes import ROOT

from jaxred.activations.files.conversion import to_store
from jaxred.cli import environment


@pytest.fixture
def variables(monkeypatch):
    """The variables, to be changed at will."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    monkeypatch.setattr(os, "environ", mine)
    return mine


DECIDE = (
    "JAX_ENABLE_X64", "JAX_NUMPY_DTYPE_PROMOTION", "JAX_NUMPY_RANK_PROMOTION", "JAX_DEBUG_NANS", "JAX_DEBUG_INFS",
    "JAX_DEFAULT_MATMUL_PRECISION", "JAX_DISABLE_JIT", "JAX_DEFAULT_PRNG_IMPL", "JAX_TRANSFER_GUARD",
    "JAX_ENABLE_CHECKS", "JAX_CHECK_TRACER_LEAKS", "JAX_DEFAULT_DTYPE_BITS", "JAX_THREEFRY_PARTITIONABLE",
)  # fmt: skip
STAY = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "JAX_COMPILATION_CACHE_DIR", "JAX_NUM_CPU_DEVICES", "JAX_LOG_COMPILES",
        "JAX_COORDINATOR_ADDRESS", "JAX_TRACEBACK_FILTERING", "JAXRED_SHARED", "XLA_FLAGS")  # fmt: skip


def test_only_variables_that_say_where_and_what_is_logged_are_heeded(variables):
    variables |= dict.fromkeys((*DECIDE, *STAY), "1")
    assert environment.settle() == sorted(DECIDE)
    assert not {*DECIDE} & {*variables}
    assert {*STAY} <= {*variables}


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "cp437", "utf-8", "cp1251"])
def test_output_in_any_encoding_is_written_and_read(encoding, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding))
    monkeypatch.setattr(sys, "stderr", None)
    environment.make_streams_safe()
    print("δ 3, 0–2 ± 日本 \udcff ∆")
    print("said", file=sys.stderr)
    sys.stdout.flush()
    line = raw.getvalue().decode(encoding)
    assert line.startswith(("δ 3, 0–2 ", "d 3, 0–2 ", "δ 3, 0-2 ", "d 3, 0-2 "))
    assert line.rstrip("\r\n").endswith("? ∆" if encoding == "utf-8" else "? ?")


def test_without_a_home_or_where_it_cannot_be_written_compilations_are_not_kept(
    variables, tmp_path, monkeypatch, caplog
):
    (tmp_path / "file").touch()
    for name in ("HOME", "XDG_CACHE_HOME", "JAXRED_CACHE"):
        variables.pop(name, None)
    monkeypatch.setattr(environment.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert environment._cache_folder("") is None
    assert "no home" in caplog.text
    assert environment._cache_folder(str(tmp_path / "file" / "cache")) is None
    variables["XDG_CACHE_HOME"] = str(tmp_path / "mine")
    assert environment._cache_folder("") == tmp_path / "mine" / "jaxred"
    variables["JAXRED_CACHE"] = str(tmp_path / "jaxred's")
    assert environment._cache_folder("") == tmp_path / "jaxred's"
    variables["HOME"] = str(tmp_path)
    assert environment._cache_folder("~/named") == tmp_path / "named"


def test_a_study_among_all_that_people_leave_exported_finds_the_same_numbers(tmp_path):
    draw = np.random.default_rng(0)
    for split, n_rows in (("train", 60), ("test", 20)):
        labels = np.array(["a|b", "δ$x"] * (n_rows // 2))
        np.savez(
            tmp_path / "file.npz", hidden_states=draw.normal(size=(n_rows, 2, 5)).astype(np.float32), labels=labels
        )
        to_store(tmp_path / "file.npz", tmp_path / "stores" / split)
    exported = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONIOENCODING": "cp437",
        "JAX_ENABLE_X64": "maybe",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_DEBUG_NANS": "1",
        "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
        "PYTHONWARNINGS": "error",
    }
    flags = ["--config=configs/stores.py", f"--config.source.stores={tmp_path / 'stores'}", "--config.probe.epochs=2"]
    oracles = []
    for name, more in (("plain", {}), ("exported", exported)):
        command = [sys.executable, str(ROOT / "launch" / "study.py"), *flags, f"--workdir={tmp_path / name}"]
        done = subprocess.run(command, capture_output=True, cwd=ROOT, env={**os.environ, **more}, timeout=300)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        assert (tmp_path / name / "report.html").exists()
        content = json.loads((tmp_path / name / "results" / "pipeline.json").read_text())
        oracles.append([content["oracle"], content["training"]])
    assert oracles[0] == oracles[1]
    assert b"JAX_ENABLE_X64, JAX_NUMPY_DTYPE_PROMOTION: set in the environment, and not heeded" in done.stderr


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "module://none.at_all", "TkAgg", "x"])
def test_figures_are_files_whatever_draws_on_the_screen(backend, tmp_path):
    program = (
        "import sys\nfrom jaxred.report.figures.style import new_axes\n"
        "figure, axes = new_axes()\naxes.plot([0, 1])\nfigure.savefig(sys.argv[1])"
    )
    variables = {name: value for name, value in os.environ.items() if name != "DISPLAY"} | {"MPLBACKEND": backend}
    command = [sys.executable, "-c", program, str(tmp_path / "figure.png")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=variables)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure.png").stat().st_size > 1000
