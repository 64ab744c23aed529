"""Files to stores and back: what comes back is what went in, and what is half there is never taken for whole."""

import itertools
import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxred.activations.files import exporting
from jaxred.activations.files.conversion import Options, convert, to_store
from jaxred.activations.files.exporting import to_file
from jaxred.activations.store import Store, StoreWriter, read_ledger
from jaxred.config import ProbeConfig, SelectionConfig, SourceConfig, StudyConfig, TaskConfig
from jaxred.errors import UserError
from jaxred.io import files
from jaxred.original.importing import open_stores
from jaxred.runs import study

LAYERS, SIZE = 3, 4
SUFFIXES = (".json", ".jsonl", ".hdf5", ".h5", ".npy", ".npz")
SENTENCE_SUFFIXES = SUFFIXES[:4]


class Task:
    """Sentences with labels and activations, as a store and as text files."""

    def __init__(self, folder, sizes=(2, 1, 3, 2), words=True, scores=False, texts=None, seed=0, name="train"):
        self.folder, self.words, self.name = folder, words, name
        rng = np.random.default_rng(seed)
        self.texts = texts or [" ".join(f"w{rng.integers(3)}" for _ in range(size)) for size in sizes]
        n_rows = sum(len(text.split()) for text in self.texts) if words else len(self.texts)
        self.values = rng.normal(size=(n_rows, LAYERS, SIZE)).astype(np.float32)
        self.labels = list(rng.normal(size=n_rows)) if scores else [f"c{i % 2}" for i in range(n_rows)]
        self.text, self.label = folder / f"{name}.word", folder / f"{name}.label"
        self.text.write_text("".join(f"{text}\n" for text in self.texts), encoding="utf-8")
        cells, lines = iter(map(str, self.labels)), []
        for text in self.texts:
            lines.append(" ".join(itertools.islice(cells, len(text.split()) if words else 1)))
        self.label.write_text("".join(f"{line}\n" for line in lines))
        self.options = {"rows": "word" if words else "sentence", "kind": "regression" if scores else "classification"}

    def store(self, place="store"):
        """Made by way of an .npz, which this test writes itself."""
        lengths = [len(text.split()) if self.words else 1 for text in self.texts]
        arrays = {"hidden_states": self.values, "sentence_index": np.repeat(np.arange(len(lengths)), lengths)}
        if self.words:
            arrays["word_index"] = np.concatenate([np.arange(n) for n in lengths])
        np.savez(self.folder / "made.npz", labels=np.array(self.labels), **arrays)
        return to_store(self.folder / "made.npz", self.folder / place, kind=self.options["kind"])


def same(store, other, decimals=None):
    """The first store holds what the other does, rounded to the decimals of a file in between."""
    expected = other.matrix()
    if decimals is not None:
        rounded = [round(value, decimals) for value in expected.astype(np.float64).ravel().tolist()]
        expected = np.array(rounded, np.float32).reshape(expected.shape)
    np.testing.assert_array_equal(store.matrix(), expected)
    assert store.labels().tolist() == other.labels().tolist()
    np.testing.assert_array_equal(store.sentence_index(), other.sentence_index())
    assert store.has_words == other.has_words
    if store.has_words:
        np.testing.assert_array_equal(store.word_index(), other.word_index())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Round trips ----------------------------------------------------------------------------------------------------------

WORDS = st.lists(
    st.sampled_from(["a", "b", "é", '"x"', "layers", "\\", "🙂", "(Occurrence", "2)"]), min_size=1, max_size=3
)


@given(
    st.lists(WORDS, min_size=1, max_size=7),
    st.booleans(),
    st.booleans(),
    st.sampled_from(SUFFIXES),
    st.sampled_from([6, 8]),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_goes_out_comes_back(tmp_path_factory, texts, words, scores, suffix, decimals, layers, seed):
    """Whatever sentences stand twice, whatever a row is, in one file or one a layer."""
    folder = tmp_path_factory.mktemp("trip")
    task = Task(folder, words=words, scores=scores, texts=[" ".join(text) for text in texts], seed=seed)
    store = task.store()
    out = folder / "out" / f"train{suffix}"
    array = suffix in (".npy", ".npz")
    paths = to_file(store, out, None if array else task.text, decimals=decimals, separate_layers=layers and not array)
    assert all(path.exists() for path in paths)
    text, label = (None, None) if suffix == ".npz" else (task.text, task.label)
    back = to_store(out, folder / "back", text, label, **task.options)
    same(back, store, decimals if suffix in (".json", ".jsonl") else None)


@pytest.mark.parametrize("suffix", [".json", ".hdf5", ".npz"])
def test_rows_of_a_sentence_may_lie_in_several_windows(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("jaxred.activations.files.conversion._WINDOW_ROWS", 3)
    monkeypatch.setattr("jaxred.activations.store.chunk_sizes.CHUNK_ROWS", 3)
    task = Task(tmp_path, sizes=(2, 7, 1, 1, 5, 3))
    store = task.store()
    assert [len(block) for _, block in store.windows()] == [3, 3, 3, 3, 3, 3, 1]
    to_file(store, tmp_path / "out" / f"a{suffix}", task.text)
    text, label = (None, None) if suffix == ".npz" else (task.text, task.label)
    back = to_store(tmp_path / "out" / f"a{suffix}", tmp_path / "back", text, label, rows="word")
    same(back, store, 6 if suffix == ".json" else None)


@pytest.mark.parametrize("suffix", [".json", ".hdf5"])
def test_rounded_once_a_second_trip_changes_nothing(tmp_path, suffix):
    task = Task(tmp_path)
    store = task.store()
    for i in range(2):
        to_file(store, tmp_path / f"out{i}" / f"a{suffix}", task.text)
        store = to_store(tmp_path / f"out{i}" / f"a{suffix}", tmp_path / f"back{i}", task.text, task.label, rows="word")
    same(Store(tmp_path / "back0"), Store(tmp_path / "back1"))
    if suffix == ".json":
        assert (tmp_path / "out0" / "a.json").read_bytes() == (tmp_path / "out1" / "a.json").read_bytes()


@pytest.mark.parametrize("suffix", [".hdf5", ".npy", ".npz"])
def test_half_precision_goes_both_ways(tmp_path, suffix):
    task = Task(tmp_path)
    task.values = task.values.astype(np.float16).astype(np.float32)
    store = task.store()
    out = tmp_path / "out" / f"a{suffix}"
    to_file(store, out, None if suffix[1] == "n" else task.text, dtype="float16")
    if suffix == ".hdf5":
        with h5py.File(out) as file:
            assert file["0"].dtype == np.float16
    else:
        loaded = np.load(out, allow_pickle=False)
        assert (loaded if suffix == ".npy" else loaded["hidden_states"]).dtype == np.float16
    text, label = (None, None) if suffix == ".npz" else (task.text, task.label)
    back = to_store(out, tmp_path / "back", text, label, rows="word", dtype="float16")
    assert back.ledger.dtype == "float16"
    same(back, store)


def test_what_half_precision_cannot_hold_is_refused(tmp_path):
    task = Task(tmp_path)
    task.values[5, 1, 2] = 1e6
    store = task.store()
    for name in ("a.hdf5", "a.npz"):
        with pytest.raises(UserError, match=r"value of row 5, layer 1, neuron 2 is 1000000\.0, which float16 cannot"):
            to_file(store, tmp_path / "out" / name, task.text if name == "a.hdf5" else None, dtype="float16")
    assert not (tmp_path / "out").exists()


# The formats of others ------------------------------------------------------------------------------------------------


def test_json_lines_are_byte_for_byte_what_python_writes(tmp_path):
    """As the original (6 decimals) and NeuroX (8) write: round() and json.dumps, number by number."""
    task = Task(tmp_path, texts=['[ "é"', "a"])
    special = [0.0, -0.0, 1e-5, -9.9999e-5, 4e-7, 123456.789, 3.4e38, 1e16, 2.5e-6, 0.5, 1.0, -7.0]
    task.values[0] = np.array(special, np.float32).reshape(LAYERS, SIZE)
    for decimals in (6, 8):
        to_file(task.store(), tmp_path / f"out{decimals}.json", task.text, decimals=decimals, overwrite=True)
        expected, row = "", 0
        for i, text in enumerate(task.texts):
            features = []
            for token in text.split():
                layers = [
                    {"index": j, "values": [round(x.item(), decimals) for x in layer]}
                    for j, layer in enumerate(task.values[row])
                ]
                features.append({"token": token, "layers": layers})
                row += 1
            expected += json.dumps({"linex_index": i, "features": features}) + "\n"
        assert (tmp_path / f"out{decimals}.json").read_text() == expected


def test_sentences_are_lines_of_one_token(tmp_path):
    task = Task(tmp_path, words=False)
    paths = to_file(task.store(), tmp_path / "out" / "a.json")
    assert [path.name for path in paths] == ["a.json", "a.label"]
    lines = [json.loads(line) for line in paths[0].read_text().splitlines()]
    assert [[feature["token"] for feature in line["features"]] for line in lines] == [["[CLS]"]] * 4
    assert paths[1].read_text() == task.label.read_text()


@pytest.mark.parametrize("suffix", [".json", ".hdf5"])
def test_layers_lie_in_files_named_as_neurox_names_them(tmp_path, suffix):
    task = Task(tmp_path)
    paths = to_file(task.store(), tmp_path / "out" / f"a{suffix}", task.text, separate_layers=True)
    assert [path.name for path in paths[:LAYERS]] == [f"a-layer{i}{suffix}" for i in range(LAYERS)]
    one = to_store(paths[1], tmp_path / "one", task.text, task.label, rows="word")
    np.testing.assert_allclose(one.matrix(), task.values[:, 1], atol=5e-7)
    paths[0].unlink()
    with pytest.raises(UserError, match=r"next to it are those of layers 1, 2, and 0 to 1 are expected"):
        to_store(tmp_path / "out" / f"a{suffix}", tmp_path / "back", task.text, task.label, rows="word")


def test_layers_that_do_not_fit_together_are_refused(tmp_path):
    for name, sizes in (("a", (2, 1)), ("b", (2, 2))):
        task = Task(tmp_path, sizes=sizes, name=name)
        to_file(task.store(f"store_{name}"), tmp_path / name / "x.json", task.text, separate_layers=True)
    (tmp_path / "b" / "x-layer1.json").replace(tmp_path / "a" / "x-layer1.json")
    with pytest.raises(UserError, match=r"sentence 2 has 2 tokens in one and 1 in the other"):
        to_store(tmp_path / "a" / "x.json", tmp_path / "back", rows="word")


def test_the_originals_loader_reads_repeated_sentences_without_a_shift(tmp_path):
    """It reads the datasets that the index names, in the index's order."""
    task = Task(tmp_path, texts=["a b", "c", "a b", "d", "a b"])
    to_file(task.store(), tmp_path / "a.hdf5", task.text)
    with h5py.File(tmp_path / "a.hdf5") as file:
        index = json.loads(file["sentence_to_index"][0])
        read = np.concatenate([np.swapaxes(file[key], 0, 1) for key in index.values()])
    assert list(index) == ["a b", "c", "a b (Occurrence 2)", "d", "a b (Occurrence 3)"]
    np.testing.assert_array_equal(read, task.values)


def test_sentences_that_a_store_lacks_leave_the_text_that_goes_with_the_file(tmp_path):
    task = Task(tmp_path, texts=["a b", "c d e", "f"])
    lines = task.label.read_text().splitlines()
    task.label.write_text(f"{lines[0]}\nc0\n{lines[2]}\n")
    to_file(task.store(), tmp_path / "whole.json", task.text)
    store = to_store(tmp_path / "whole.json", tmp_path / "part", task.text, task.label, rows="word")
    assert store.sentence_index().tolist() == [0, 0, 2]
    paths = to_file(store, tmp_path / "out" / "a.json", task.text)
    assert [path.name for path in paths] == ["a.json", "a.label", "a.word"]
    assert paths[2].read_text() == "a b\nf\n"
    back = to_store(paths[0], tmp_path / "back", paths[2], paths[1], rows="word")
    np.testing.assert_array_equal(back.matrix(), store.matrix())
    with pytest.raises(UserError, match=r"train\.word is the text of the store"):
        to_file(store, tmp_path / "train.json", task.text, overwrite=True)
    assert task.text.read_text() == "a b\nc d e\nf\n"


def test_files_without_labels_make_stores_of_one_class(tmp_path, caplog):
    task = Task(tmp_path)
    to_file(task.store(), tmp_path / "out" / "a.json", task.text)
    with caplog.at_level("WARNING", logger="jaxred"):
        store = to_store(tmp_path / "out" / "a.json", tmp_path / "bare", rows="word")
    assert set(store.labels()) == {"unlabelled"}
    assert "there are no labels" in caplog.text
    paths = to_file(store, tmp_path / "again" / "a.json", task.text)
    assert [path.name for path in paths] == ["a.json", "a.word"]


# A store like any other -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_study_runs_on_converted_stores(tmp_path, kind):
    for name, seed in (("train", 0), ("test", 1)):
        task = Task(tmp_path, sizes=[3] * 20, scores=kind == "regression", seed=seed, name=name)
        task.store(f"stores/{name}")
    metric = "pearson" if kind == "regression" else "accuracy"
    config = StudyConfig(
        task=TaskConfig(name="", kind=kind, metric=metric),
        source=SourceConfig(stores=str(tmp_path / "stores")),
        probe=ProbeConfig(epochs=1),
        selection=SelectionConfig(deltas=((1.0, 1.0),)),
    )
    before = names(tmp_path / "stores")
    folder = study.run_stages(config, str(tmp_path / "run"), False, ("pipeline", "redundancy"))
    assert folder.result("pipeline").exists()
    assert names(tmp_path / "stores") == before


def test_stores_that_a_study_cannot_use_are_named(tmp_path):
    Task(tmp_path, name="train").store("stores/train")
    config = StudyConfig(task=TaskConfig(name=""), source=SourceConfig(stores=str(tmp_path / "stores")))
    with pytest.raises(UserError, match="test is not an activation store"):
        open_stores(config)
    test = Task(tmp_path, words=False, name="test")
    test.store("stores/test")
    with pytest.raises(UserError, match=r"rows that are sentences, and .*train words"):
        open_stores(config)
    config.task.kind = "regression"
    with pytest.raises(UserError, match=r"labels that are classes, but config\.task\.kind is 'regression'"):
        open_stores(config)
    config.source.stores = str(tmp_path / "none")
    with pytest.raises(UserError, match=r"is no folder, but one with the stores train and test"):
        open_stores(config)


def test_a_second_conversion_keeps_the_store_and_another_is_refused(tmp_path):
    task = Task(tmp_path)
    to_file(task.store(), tmp_path / "a.json", task.text)
    arguments = tmp_path / "a.json", tmp_path / "back", task.text, task.label
    to_store(*arguments, rows="word")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "back").rglob("*")}
    to_store(*arguments, rows="word")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "back").rglob("*")} == before
    with pytest.raises(UserError, match=r"another configuration: .*dtype was 'float32' and is now 'bfloat16'"):
        to_store(*arguments, rows="word", dtype="bfloat16")
    assert to_store(*arguments, rows="word", dtype="bfloat16", overwrite=True).ledger.dtype == "bfloat16"
    task.label.write_text(task.label.read_text().replace("c1", "c2"))
    with pytest.raises(UserError, match=r"another configuration: .*the content of labels differs"):
        to_store(*arguments, rows="word", dtype="bfloat16")


# What is refused ------------------------------------------------------------------------------------------------------


def refused(tmp_path, *arguments, **options):
    with pytest.raises(UserError) as caught:
        to_store(*arguments, **options)
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("suffix", [".t7", ".pt", ".acts", ".pkl"])
def test_pickles_are_refused_by_name_both_ways(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"never read")
    found = refused(tmp_path, path, tmp_path / "back")
    assert found.startswith(f"a{suffix} is a {suffix} file, and reading one runs whatever is in it")
    assert "JSON lines (.json) or HDF5 (.hdf5)" in found
    with pytest.raises(UserError, match="would be a pickle"):
        to_file(Task(tmp_path).store(), path)


def test_texts_that_are_missing_are_asked_for(tmp_path):
    task = Task(tmp_path)
    store = task.store()
    for name in ("a.json", "a.hdf5"):
        with pytest.raises(UserError, match=r"which the store .* does not hold: pass the file .* as `text`"):
            to_file(store, tmp_path / name)
    to_file(store, tmp_path / "a.hdf5", task.text)
    assert "pass the file of the sentences, one per line, as `text`" in refused(
        tmp_path, tmp_path / "a.hdf5", tmp_path / "b"
    )
    to_file(store, tmp_path / "a.npy")
    assert "does not say which words its rows are" in refused(tmp_path, tmp_path / "a.npy", tmp_path / "b", rows="word")


def test_lengths_that_disagree_are_named(tmp_path):
    task = Task(tmp_path, texts=["a b", "c"])
    store = task.store()
    for name in ("a.json", "a.hdf5", "a.npy"):
        to_file(store, tmp_path / "out" / name, None if name == "a.npy" else task.text, overwrite=True)
    more = tmp_path / "more.word"
    more.write_text("a b\nc\nd\n")
    found = refused(tmp_path, tmp_path / "out" / "a.json", tmp_path / "b", more, rows="word")
    assert found.startswith("out/a.json has 2 sentences, but more.word has 3")
    found = refused(tmp_path, tmp_path / "out" / "a.hdf5", tmp_path / "b", more, rows="word")
    assert found.startswith("out/a.hdf5 has 2 sentences and no dataset for sentence 3 of 3, 'd'")
    found = refused(tmp_path, tmp_path / "out" / "a.npy", tmp_path / "b", more, rows="word")
    assert found.startswith("out/a.npy has 3 rows, but more.word has 4 words")
    found = refused(tmp_path, tmp_path / "out" / "a.npy", tmp_path / "b", task.text, more, rows="word")
    assert found.startswith("out/a.npy has 3 rows, but more.word has 4 labels on 3 lines")
    found = refused(tmp_path, tmp_path / "out" / "a.json", tmp_path / "b", None, more, rows="word")
    assert found.startswith("out/a.json has 2 sentences, but more.word has 3")
    more.write_text("a b\n")
    with pytest.raises(UserError, match=r"more\.word has 1 lines, but the store .* has rows of sentence 2"):
        to_file(store, tmp_path / "c.json", more)
    more.write_text("a\nc\n")
    with pytest.raises(UserError, match=r"more\.word, line 1: there are 1 words, but the store .* has a row of word 2"):
        to_file(store, tmp_path / "c.json", more)


def test_damaged_files_are_named_and_leave_no_finished_store(tmp_path):
    task = Task(tmp_path, sizes=[3] * 30)
    store = task.store()
    for suffix in SUFFIXES:
        path = tmp_path / f"a{suffix}"
        to_file(store, path, None if suffix[1] == "n" else task.text, overwrite=True)
        path.write_bytes(path.read_bytes()[: -min(200, path.stat().st_size // 2)])
        text = None if suffix == ".npz" else task.text
        found = refused(tmp_path, path, tmp_path / f"back{suffix[1:]}", text, rows=None if suffix == ".npz" else "word")
        assert found.startswith(f"a{suffix}")
        assert "cut short" in found
        ledger = read_ledger(tmp_path / f"back{suffix[1:]}")
        assert ledger is None or not ledger.finished


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"output": "b"}, "`input` is missing"),
        ({"input": "a.json"}, "`output` is missing"),
        ({"input": "a.json", "output": "b.npz"}, "a file is written from a store"),
        ({"input": "a.json", "output": "b", "decimals": 8}, "`decimals` has no use here, where a file becomes a store"),
        (
            {"input": "store", "output": "b.json", "rows": "word"},
            "`rows` has no use here, where a store becomes a file",
        ),
        ({"input": "store", "output": "b.txt"}, "has an unknown format"),
        ({"input": "a.txt", "output": "b"}, "a.txt is neither a store nor of a known format"),
        ({"input": "none.json", "output": "b"}, "none.json does not exist"),
        ({"input": "none.npz", "output": "b"}, "none.npz does not exist"),
        (
            {"input": "a.json", "output": "b", "rows": "token"},
            "`rows=token` is not known: choose one of sentence, word",
        ),
        ({"input": "a.json", "output": "b", "dtype": "float8"}, "`dtype=float8` is not known"),
        ({"input": "a.json", "output": "b", "kind": "regression"}, "pass the file of scores as `labels`"),
        ({"input": "store", "output": "b.hdf5", "text": "train.word", "dtype": "bfloat16"}, "`dtype=bfloat16` cannot"),
        ({"input": "store", "output": "b.json", "text": "train.word", "dtype": "float16"}, "has no use in JSON lines"),
        ({"input": "store", "output": "b.json", "text": "train.word", "decimals": 9}, "`decimals=9` is not possible"),
        ({"input": "store", "output": "b.npz", "separate_layers": True}, "`separate_layers` has no use in .npz"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, monkeypatch, options, found):
    monkeypatch.chdir(tmp_path)
    task = Task(tmp_path)
    to_file(task.store(), tmp_path / "a.json", task.text)
    with pytest.raises(UserError) as caught:
        convert(Options(**options))
    assert found in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_a_store_is_a_folder(tmp_path):
    task, place = Task(tmp_path), tmp_path / "there"
    task.store()
    place.write_text("mine")
    with pytest.raises(UserError, match="there` is a file, but a store is a folder: choose another `output`"):
        convert(Options(input=str(tmp_path / "made.npz"), output=str(place)))
    assert place.read_text() == "mine"


def test_what_the_stored_type_cannot_hold_is_told_of_the_file(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, LAYERS, SIZE), 1e6, np.float32))
    with pytest.raises(UserError, match=r"^The file gave inf for row 0, layer 0, neuron 0, which float16 .*`dtype`"):
        to_store(tmp_path / "a.npy", tmp_path / "b", dtype="float16")
    with pytest.raises(UserError, match="is not finished"):
        Store(tmp_path / "b")


def test_a_tasks_examples_become_parallel_files(tmp_path):
    config = StudyConfig(task=TaskConfig(limit_instances=40))
    convert(Options(output=str(tmp_path / "task")), config)
    assert names(tmp_path / "task") == ["test.label", "test.word", "train.label", "train.word"]
    assert len((tmp_path / "task" / "train.word").read_text().splitlines()) == 40
    with pytest.raises(UserError, match="exists and is kept"):
        convert(Options(output=str(tmp_path / "task")), config)
    with pytest.raises(UserError, match="pass one of them"):
        convert(Options(input="a", output="b"), config)


# Killed and refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_that_are_there_are_kept_unless_told_otherwise(tmp_path, suffix):
    task = Task(tmp_path)
    store = task.store()
    out = tmp_path / "out" / f"a{suffix}"
    out.parent.mkdir()
    out.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"exists and is kept: choose another `output`, or pass overwrite=True"):
        to_file(store, out, task.text)
    assert out.read_bytes() == b"mine"
    to_file(store, out, task.text, overwrite=True)
    assert out.read_bytes() != b"mine"


def test_layers_of_before_do_not_mix_with_those_of_now(tmp_path):
    task = Task(tmp_path)
    store = task.store()
    to_file(store, tmp_path / "out" / "a.json", task.text, separate_layers=True)
    (tmp_path / "out" / f"a-layer{LAYERS}.json").write_text("of a deeper model")
    with pytest.raises(UserError, match="exists and is kept"):
        to_file(store, tmp_path / "out" / "a.json", task.text)
    to_file(store, tmp_path / "out" / "a.json", task.text, separate_layers=True, overwrite=True)
    assert names(tmp_path / "out") == [*(f"a-layer{i}.json" for i in range(LAYERS)), "a.label", "a.word"]
    to_file(store, tmp_path / "out" / "a.json", task.text, overwrite=True)
    assert names(tmp_path / "out") == ["a.json", "a.label", "a.word"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("layers", [False, True])
def test_a_conversion_killed_at_any_step_leaves_nothing_that_is_taken_for_whole(tmp_path, monkeypatch, suffix, layers):
    """At every block that is read and every rename: whatever is there afterwards is refused, or is everything."""
    if layers and suffix[1] == "n":
        pytest.skip("there are no such files")
    task = Task(tmp_path, sizes=[3] * 6)
    store = task.store()
    out = tmp_path / "out" / f"a{suffix}"
    windows, replace, calls = Store.windows, os.replace, {"left": 0}

    class Killed(BaseException):
        pass

    def step():
        calls["left"] -= 1
        if calls["left"] < 0:
            raise Killed

    def dying_windows(self):
        for rows, block in windows(self):
            step()
            yield rows, block
            step()

    def dying_replace(*arguments):
        step()
        replace(*arguments)

    monkeypatch.setattr(Store, "windows", dying_windows)
    monkeypatch.setattr(files.os, "replace", dying_replace)
    monkeypatch.setattr(files.os, "unlink", lambda path: None)  # a killed process cleans nothing up
    for allowed in range(30):
        calls["left"] = allowed
        try:
            to_file(store, out, None if suffix[1] == "n" else task.text, separate_layers=layers, overwrite=True)
            break
        except Killed:
            with pytest.raises(UserError):
                to_store(out, tmp_path / "half", task.text, None, rows="word")
    assert 1 < allowed < 29
    monkeypatch.undo()
    text = None if suffix == ".npz" else task.text
    back = to_store(out, tmp_path / "b", text, rows="word")
    np.testing.assert_allclose(back.matrix(), store.matrix(), atol=6e-7)


@pytest.mark.parametrize("suffix", [".json", ".hdf5", ".npz"])
def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path, monkeypatch, suffix):
    task = Task(tmp_path)
    store = task.store()
    out = tmp_path / "out" / f"a{suffix}"
    to_file(store, out, task.text)
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match=r"Cannot write .* \(No space left on device\)\. Make room"):
        to_file(store, out, task.text, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before


@pytest.mark.parametrize("suffix", [".json", ".hdf5", ".npz"])
def test_a_store_that_was_cut_short_is_gone_on_with(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("jaxred.activations.files.conversion._WINDOW_ROWS", 4)
    task = Task(tmp_path, sizes=[3] * 6)
    store = task.store()
    to_file(store, tmp_path / "out" / f"a{suffix}", task.text)
    text, label = (None, None) if suffix == ".npz" else (task.text, task.label)
    arguments = tmp_path / "out" / f"a{suffix}", tmp_path / "back", text, label
    write, written = StoreWriter.write, []

    def dying(self, index, block, notes=None):
        if index == 2:
            self.flush()
            raise KeyboardInterrupt
        write(self, index, block, notes)

    monkeypatch.setattr(StoreWriter, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        to_store(*arguments, rows="word")
    with pytest.raises(UserError, match="is not finished"):
        Store(tmp_path / "back")

    def counting(self, index, block, notes=None):
        written.append(index)
        write(self, index, block, notes)

    monkeypatch.setattr(StoreWriter, "write", counting)
    same(to_store(*arguments, rows="word"), store, 6 if suffix == ".json" else None)
    assert written == [2, 3, 4]


def test_a_process_killed_while_it_writes_leaves_no_file(tmp_path):
    task = Task(tmp_path, sizes=[3] * 40)
    task.store()
    script = f"""
import os
from pathlib import Path
from jaxred.activations import store
from jaxred.activations.files import exporting
windows = store.Store.windows
def dying(self):
    for rows, block in windows(self):
        yield rows, block
        os.kill(os.getpid(), 9)
store.Store.windows = dying
folder = Path({str(tmp_path)!r})
exporting.to_file(store.Store(folder / "store"), folder / "out" / "a.json", folder / "train.word")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert all(name.startswith(".") for name in names(tmp_path / "out"))
    exporting.to_file(Store(tmp_path / "store"), tmp_path / "out" / "a.json", task.text)
