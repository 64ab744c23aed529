"""The examples of the documentation, run as they stand there."""

import doctest
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import small_models
from helpers.shared import ROOT

from jaxred.activations.files.conversion import to_store

DOCS = ROOT / "docs"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def run(text, name):
    found = doctest.DocTestParser().get_doctest(text.replace("```", ""), {}, name, name, 0)
    assert found.examples
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    runner.run(found, out=sys.stdout.write)
    assert runner.failures == 0


def snippet(page, word):
    """The one block of a page in which a word stands."""
    (found,) = [block for block in re.findall(r"```python\n.*?```", page, re.DOTALL) if word in block]
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return tmp_path


def test_the_guide_says_what_comes_out(folder):
    run((DOCS / "guide.md").read_text(), "guide.md")
    assert (folder / "neurons.png").stat().st_size > 1000


@pytest.mark.minilm
def test_the_notebook_runs_to_its_end(folder, minilm_folder):
    """Its code, cell by cell, on less text."""
    names = {}
    cells = json.loads((DOCS / "first-lines.ipynb").read_text())["cells"]
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        exec("".join(cell["source"]).replace("[:1000]", "[:60]").replace("[:400]", "[:30]"), names)
    assert names["acts"].shape == (60, 7, 384)
    assert repr(names["run"]).startswith("<Run ")
    assert 0 <= names["probe"].score(names["acts"], names["labels"]) <= 1


@pytest.fixture
def store(folder):
    values = np.random.default_rng(0).normal(size=(6, 3, 4)).astype(np.float32)
    np.savez("a.npz", hidden_states=values, labels=["a", "b"] * 3)
    return to_store(Path("a.npz"), "stores/train")


@pytest.mark.parametrize("tool", ["zarr", "xarray"])
def test_other_tools_open_a_store_as_the_page_says(store, tool):
    pytest.importorskip(tool)
    run(snippet((DOCS / "stores.md").read_text(), f"import {tool}\n"), "stores.md")


@pytest.fixture
def small(folder):
    """A reduced model in `small/`, of texts whose vector is their mean."""
    model = small_models.random_model(small_models.write_encoder(folder / "source", "bert"), 1, pooling="mean")
    model.save("small")
    return model


@pytest.mark.reference
def test_a_small_model_is_used_without_jaxred(small):
    names = {}
    page = (DOCS / "reduced.md").read_text()
    code = snippet(page, "AutoModel").strip("`").removeprefix("python").replace("max_length=128", "max_length=16")
    exec(code, names)
    texts = ["a fine film", "a bore"]
    np.testing.assert_allclose(names["logits"], list(small.outputs(texts)), rtol=0, atol=1e-5)
    assert names["labels"].tolist() == small.predict(texts)


def test_an_onnx_file_is_used_without_jaxred(small):
    pytest.importorskip("jax2onnx")
    small.save_onnx("small.onnx")
    names = {}
    exec(snippet((DOCS / "reduced.md").read_text(), "onnxruntime").strip("`").removeprefix("python"), names)
    found = small.predict_proba(["a fine film", "a bore"])
    np.testing.assert_allclose(names["probabilities"], found, rtol=0, atol=1e-5)
