import logging
import shutil

import pytest
from helpers.tiny_encoder import contents, extract, modified, sentences, study_config, write_task

from jaxred.activations.store import read_ledger
from jaxred.runs.verification import verify
from jaxred.runs.workdir import Workdir


@pytest.fixture(scope="module", params=["sentences", "words"])
def config(request, encoder_folder, tmp_path_factory):
    texts = {"train": sentences(18, 0, (2, 6)), "test": sentences(6, 1, (2, 6))}
    if request.param == "sentences":
        return study_config(encoder_folder, write_task(tmp_path_factory.mktemp("task"), texts))
    labels = {split: [" ".join("ab"[i % 2] for i in range(len(t.split()))) for t in v] for split, v in texts.items()}
    config = study_config(encoder_folder, write_task(tmp_path_factory.mktemp("task"), texts, labels))
    config.task.name = "parallel_words"
    return config


@pytest.fixture
def copy(undisturbed, tmp_path):
    return shutil.copytree(undisturbed, tmp_path / "copy")


@pytest.fixture
def heard(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("jaxred"), "propagate", True)
    return caplog


FILES = (
    "train/hidden_states/c/1/2/0",
    "test/hidden_states/c/0/0/0",
    "train/labels/c/0",
    "train/sentence_index/c/0",
    "train/hidden_states/zarr.json",
)


LOST = [(file, "missing") for file in FILES] + [(file, "cut") for file in FILES if not file.endswith("zarr.json")]


@pytest.mark.parametrize(("file", "how"), LOST)
def test_what_is_lost_is_extracted_again_alone(copy, undisturbed, config, heard, file, how):
    path = copy / "activations" / file
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3])
    before = modified(copy / "activations")
    extract(config, Workdir(copy).stores)
    split = file.split("/", 1)[0]
    assert f"{path} {'is missing' if how == 'missing' else 'has '}" in heard.text
    assert contents(copy) == contents(undisturbed)
    after = modified(copy / "activations")
    kept = {name for name in before if "hidden_states/c/" in name and name.endswith("/0") and name in after}
    window = f"{split}/hidden_states/c/1/" if "c/1/" in file else f"{split}/hidden_states/c/0/"
    rewritten = {name for name in kept if before[name] != after[name]}
    assert all(name.startswith(window) for name in rewritten), rewritten


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_is_mended_where_all_is_read_first(copy, undisturbed, config, heard, file):
    path = copy / "activations" / file
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 16
    path.write_bytes(raw)
    (copy / "config.json").unlink(missing_ok=True)
    verify(config, str(copy))
    assert "is removed, to be extracted again" in heard.text or file.endswith("zarr.json")
    extract(config, Workdir(copy).stores)
    if not file.endswith("zarr.json"):  # where a flipped letter may mean the same
        assert contents(copy) == contents(undisturbed)
    heard.clear()
    verify(config, str(copy))
    assert "removed" not in heard.text
    assert read_ledger(copy / "activations" / "train").finished
