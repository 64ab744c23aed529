import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxred.activations.store import Store, StoreWriter, read_ledger
from jaxred.errors import UserError
from jaxred.original import experiment, importing
from jaxred.original.importing import import_activations
from jaxred.probing.features import load_features
from jaxred.runs import study
from jaxred.runs.workdir import Workdir

LAYERS, SIZE = 2, 3
VALUES = {name: key.example for name, key in experiment.KEYS.items() if name not in experiment.DEV_KEYS}
SPLITS = {"train": 30, "test": 12}


def vectors(n_tokens, seed):
    return np.random.default_rng(seed).normal(size=(n_tokens, LAYERS, SIZE)).round(6)


def json_lines(path, sentences):
    with path.open("w") as file:
        for i, tokens in enumerate(sentences):
            features = [
                {"token": "t", "layers": [{"index": j, "values": v.tolist()} for j, v in enumerate(token)]}
                for token in tokens
            ]
            file.write(json.dumps({"linex_index": i, "features": features}) + "\n")


def hdf5(path, sentences, texts):
    with h5py.File(path, "w") as file:
        for i, tokens in enumerate(sentences):
            file[str(i)] = tokens.swapaxes(0, 1).astype(np.float32)
        file["sentence_to_index"] = [json.dumps({text: str(i) for i, text in enumerate(texts)})]


class Task:
    """The original's files in a folder: sentences of one vector each, or of words."""

    def __init__(self, folder, words=False, suffix=".json"):
        self.folder, self.words, self.suffix = folder, words, suffix
        self.splits = {**SPLITS, **({"dev": 8} if words else {})}
        self.changes = {}
        self.texts, self.labels, self.vectors = {}, {}, {}
        for seed, (split, n) in enumerate(self.splits.items()):
            rng = np.random.default_rng(seed)
            sizes = rng.integers(1, 6, n) if words else np.ones(n, int)
            self.texts[split] = [" ".join(f"{split}{i}w{j}" for j in range(size)) for i, size in enumerate(sizes)]
            self.labels[split] = [" ".join(rng.choice(["A", "B"], size)) for size in sizes]
            self.vectors[split] = [vectors(size, 100 * seed + i) for i, size in enumerate(sizes)]

    def write(self, **changes):
        for split in self.splits:
            (self.folder / f"{split}.word").write_text("".join(f"{line}\n" for line in self.texts[split]))
            (self.folder / f"{split}.label").write_text("".join(f"{line}\n" for line in self.labels[split]))
            path = self.folder / f"{split}{self.suffix}"
            if self.suffix == ".json":
                json_lines(path, self.vectors[split])
            else:
                hdf5(path, self.vectors[split], self.texts[split])
        return self.config(**changes)

    def config(self, **changes):
        content = {**VALUES, "base_dir": str(self.folder), "num_neurons_per_layer": SIZE, "task_specific_tag": "A"}
        for split in self.splits:
            content |= {f"{split}_source": f"{split}.word", f"{split}_labels": f"{split}.label"}
            content[f"{split}_activations"] = f"{split}{self.suffix}"
        (self.folder / "exp.json").write_text(json.dumps({**content, "output_directory": "out", **changes}))
        config = experiment.study_config(experiment.load(self.folder / "exp.json"))
        config.extraction.window_rows = 7
        return config

    def workdir(self):
        return Workdir(self.folder / "run")

    def run(self, overwrite=False, **changes):
        return import_activations(self.write(**changes), self.workdir().stores, overwrite)

    def refused(self, **changes):
        with pytest.raises(UserError) as caught:
            self.run(**changes)
        return str(caught.value).replace(f"{self.folder}/", "")

    def rows(self, split, sentences=None):
        """The vectors of the split's sentences, one under the other."""
        mine = self.vectors[split] if sentences is None else [self.vectors[split][i] for i in sentences]
        return np.concatenate(mine).reshape(-1, LAYERS * SIZE).astype(np.float32)


@pytest.fixture(params=[".json", ".hdf5"])
def sentences(tmp_path, request):
    return Task(tmp_path, suffix=request.param)


@pytest.fixture(params=[".json", ".hdf5"])
def words(tmp_path, request):
    return Task(tmp_path, words=True, suffix=request.param)


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# What the files hold is in the stores ---------------------------------------------------------------------------------


def test_sentences_become_rows(sentences):
    stores = sentences.run()
    assert list(stores) == ["train", "test"]
    for split, store in stores.items():
        np.testing.assert_array_equal(store.matrix(), sentences.rows(split))
        assert store.labels().tolist() == sentences.labels[split]
        np.testing.assert_array_equal(store.sentence_index(), np.arange(SPLITS[split]))
        assert not store.has_words


def test_words_become_rows(words):
    stores = words.run()
    assert list(stores) == ["train", "dev", "test"]
    for split, store in stores.items():
        np.testing.assert_array_equal(store.matrix(), words.rows(split))
        assert store.labels().tolist() == " ".join(words.labels[split]).split()
        places = [(i, j) for i, line in enumerate(words.texts[split]) for j in range(len(line.split()))]
        assert list(zip(store.sentence_index(), store.word_index(), strict=True)) == places


def test_a_dev_set_of_its_own_is_not_split_from_train(words):
    config = words.write()
    features = load_features(import_activations(config, words.workdir().stores), config.task, config.probe)
    assert features.data_split is None
    np.testing.assert_array_equal(features.matrices["dev"], words.rows("dev"))


@given(st.lists(st.integers(1, 4), min_size=2, max_size=9), st.integers(2, 12), st.sampled_from([".json", ".hdf5"]))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_lengths_fit_any_windows(tmp_path_factory, sizes, window_rows, suffix):
    task = Task(tmp_path_factory.mktemp("any"), words=True, suffix=suffix)
    task.texts["test"] = [" ".join(f"w{i}-{j}" for j in range(size)) for i, size in enumerate(sizes)]
    task.labels["test"] = [" ".join("A" * size) for size in sizes]
    task.vectors["test"] = [vectors(size, i) for i, size in enumerate(sizes)]
    config = task.write()
    config.extraction.window_rows = window_rows
    store = import_activations(config, task.workdir().stores)["test"]
    np.testing.assert_array_equal(store.matrix(), task.rows("test"))


def test_scores_are_read_for_regression(sentences):
    for split, n in SPLITS.items():
        sentences.labels[split] = [f" {i / 7:.3f}" for i in range(n)]
    stores = sentences.run(model_type="regression", metric="pearson")
    np.testing.assert_array_equal(stores["test"].labels(), [round(i / 7, 3) for i in range(12)])


def test_words_may_have_scores(words):
    for split, lines in words.texts.items():
        words.labels[split] = [" ".join(str(len(word) + i) for word in line.split()) for i, line in enumerate(lines)]
    stores = words.run(model_type="regression", metric="spearman")
    assert stores["dev"].labels().tolist() == [float(x) for x in " ".join(words.labels["dev"]).split()]


def test_a_narrower_type_may_be_stored(sentences):
    config = sentences.write()
    config.extraction.dtype = "float16"
    store = import_activations(config, sentences.workdir().stores)["test"]
    np.testing.assert_array_equal(store.matrix(), sentences.rows("test").astype(np.float16).astype(np.float32))
    sentences.vectors["train"][3][0, 1, 2] = 1e6
    config = sentences.write()
    config.extraction.dtype = "float16"
    with pytest.raises(UserError, match=r"row 3, layer 1, neuron 2.*float32 or bfloat16"):
        import_activations(config, sentences.workdir().stores, True)


# What is left out -----------------------------------------------------------------------------------------------------


def test_sentences_whose_counts_disagree_are_left_out_and_named(words, caplog):
    words.vectors["train"][4] = vectors(9, 1)
    words.labels["train"][7] += " A"
    words.texts["train"][11] += " more"
    with caplog.at_level("WARNING", logger="jaxred"):
        store = words.run()["train"]
    kept = [i for i in range(30) if i not in (4, 7, 11)]
    np.testing.assert_array_equal(store.matrix(), words.rows("train", kept))
    assert store.ledger.notes["sentences_dropped"] == 3
    assert store.ledger.notes["dropped_lines"] == [5, 8, 12]
    assert "train: 3 sentences without one vector and one label per word are left out: lines 5, 8, 12" in caplog.text


@pytest.mark.parametrize("n", [99, 100])
def test_up_to_99_sentences_may_disagree(tmp_path, n):
    task = Task(tmp_path, words=True)
    task.texts["train"] = ["a b"] * 150
    task.labels["train"] = ["A B"] * (150 - n) + ["A"] * n
    task.vectors["train"] = [vectors(2, i) for i in range(150)]
    if n == 99:
        assert task.run()["train"].n_rows == 2 * 51
    else:
        found = task.refused()
        assert found.startswith(
            "100 of 150 sentences of train.word do not have one vector and one label per word (line"
        )
        assert "(line 51 has 2 vectors, 2 words and 1 labels), but at most 99 may be left out" in found


@pytest.mark.parametrize("in_file", [True, False])
def test_long_sentences_are_left_out_with_or_without_their_vectors(words, in_file):
    kept = [i for i, text in enumerate(words.texts["train"]) if len(text.split()) <= 3]
    assert 0 < len(kept) < 30
    expected = words.rows("train", kept)
    words.write()
    if not in_file and words.suffix == ".json":
        json_lines(words.folder / "train.json", [words.vectors["train"][i] for i in kept])
    elif not in_file:
        mine = [words.vectors["train"][i] for i in kept]
        hdf5(words.folder / "train.hdf5", mine, [words.texts["train"][i] for i in kept])
    config = words.config(max_sent_l=3)
    store = import_activations(config, words.workdir().stores)["train"]
    np.testing.assert_array_equal(store.matrix(), expected)
    assert store.ledger.notes["sentences_too_long"] == 30 - len(kept)
    assert sorted(set(store.sentence_index().tolist())) == kept


def test_long_sentences_do_not_matter_where_sentences_are_classified(sentences):
    sentences.texts["train"][3] = "many " * 50
    assert sentences.run(max_sent_l=2)["train"].n_rows == 30


def test_sentences_that_stand_twice_keep_their_own_vectors(tmp_path, caplog):
    task = Task(tmp_path, words=True, suffix=".hdf5")
    task.texts["train"][5] = task.texts["train"][20] = "the same words"
    task.labels["train"][5] = task.labels["train"][20] = "A B A"
    task.vectors["train"][5], task.vectors["train"][20] = vectors(3, 501), vectors(3, 502)
    with caplog.at_level("WARNING", logger="jaxred"):
        store = task.run()["train"]
    np.testing.assert_array_equal(store.matrix(), task.rows("train"))
    assert "train: 2 sentences stand more than once" in caplog.text
    assert store.ledger.notes["sentences_duplicate"] == 2


def test_training_rows_are_limited_in_proportion_to_the_classes(words):
    stores = words.run(limit_instances=20)
    assert stores["train"].n_rows == 20
    assert stores["test"].n_rows == len(words.rows("test"))
    places = [(i, j) for i, line in enumerate(words.texts["train"]) for j in range(len(line.split()))]
    mine = list(zip(stores["train"].sentence_index(), stores["train"].word_index(), strict=True))
    rows = [places.index(place) for place in mine]
    assert rows == sorted(rows)
    np.testing.assert_array_equal(stores["train"].matrix(), words.rows("train")[rows])
    whole = " ".join(words.labels["train"]).split()
    share = whole.count("A") / len(whole)
    assert abs(stores["train"].labels().tolist().count("A") - 20 * share) < 1


def test_labels_unseen_in_train_count_as_the_tag_and_are_named(words, caplog):
    words.labels["test"][0] = " ".join("X" for _ in words.labels["test"][0].split())
    n = len(words.labels["test"][0].split())
    config = words.write()
    with caplog.at_level("WARNING", logger="jaxred"):
        stores = import_activations(config, words.workdir().stores)
    assert f"test: {n} labels unseen in train (X) count as 'A'" in caplog.text
    features = load_features(stores, config.task, config.probe)
    assert features.classes == ("A", "B")
    assert features.fallbacks == {"test": n}
    assert not features.targets["test"][:n].any()


# A second run, a killed run -------------------------------------------------------------------------------------------


def test_a_second_run_reads_nothing_and_changes_nothing(words, monkeypatch):
    config = words.write()
    import_activations(config, words.workdir().stores)
    before = files(words.folder / "run")
    monkeypatch.setattr(importing, "plan_rows", None)
    stores = import_activations(config, words.workdir().stores)
    assert files(words.folder / "run") == before
    np.testing.assert_array_equal(stores["dev"].matrix(), words.rows("dev"))


def test_files_touched_but_not_changed_are_known_again(words):
    config = words.write()
    import_activations(config, words.workdir().stores)
    before = files(words.folder / "run" / "activations" / "train")
    os.utime(words.folder / f"train{words.suffix}", (1, 1))
    import_activations(config, words.workdir().stores)
    assert files(words.folder / "run" / "activations" / "train") == before


def test_changed_files_are_refused_unless_told_so(sentences):
    sentences.run()
    sentences.vectors["train"][2] += 1
    assert "holds activations of another configuration: the content of activations differs" in sentences.refused()
    np.testing.assert_array_equal(sentences.run(overwrite=True)["train"].matrix(), sentences.rows("train"))
    sentences.labels["test"][0] = "A" if sentences.labels["test"][0] == "B" else "B"
    assert "holds activations of another configuration: the content of labels differs" in sentences.refused()


@pytest.mark.parametrize("what", ["activations", "label"])
def test_a_changed_file_of_the_same_size_and_time_is_noticed(sentences, what):
    """As a copy that keeps times may leave it."""
    config = sentences.write()
    import_activations(config, sentences.workdir().stores)
    path = sentences.folder / f"train{sentences.suffix if what == 'activations' else '.label'}"
    stat = path.stat()
    if what == "activations":
        sentences.vectors["train"][:2] = sentences.vectors["train"][1::-1]
        sentences.write()
    else:
        path.write_text("".join({"A": "B", "B": "A"}.get(letter, letter) for letter in path.read_text()))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    with pytest.raises(UserError, match=f"of another configuration: the content of {what}s? differs"):
        import_activations(config, sentences.workdir().stores)


@pytest.mark.parametrize("killed_at", [0, 1, 3])
def test_a_killed_import_goes_on_at_the_next_window(words, monkeypatch, killed_at):
    config, write = words.write(), StoreWriter.write

    def dying(self, index, block, notes=None):
        if index == killed_at:
            self.flush()
            raise KeyboardInterrupt
        write(self, index, block, notes)

    monkeypatch.setattr(StoreWriter, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        import_activations(config, words.workdir().stores)
    ledger = read_ledger(words.workdir().activations("train"))
    assert ledger is not None
    assert ledger.windows_finished == killed_at
    written = []

    def counting(self, index, block, notes=None):
        written.append((self.location.split("/")[-1], index))
        write(self, index, block, notes)

    monkeypatch.setattr(StoreWriter, "write", counting)
    stores = import_activations(config, words.workdir().stores)
    assert min(index for split, index in written if split == "train") == killed_at
    for split, store in stores.items():
        np.testing.assert_array_equal(store.matrix(), words.rows(split))
    assert Store(words.workdir().activations("train")).ledger.notes["sentences"] == 30


def test_a_process_killed_at_any_moment_leaves_what_can_be_gone_on_with(words):
    config = words.write()
    config.extraction.window_rows = 7
    script = f"""
import os, sys
from pathlib import Path
from jaxred.activations.store import making
from jaxred.original import experiment
from jaxred.original.importing import import_activations
from jaxred.runs.workdir import Workdir
config = experiment.study_config(experiment.load({str(words.folder / "exp.json")!r}))
config.extraction.window_rows = 7
commit, left = making.Place.commit, int(sys.argv[1])
def dying(self, ledger):
    global left
    left -= 1
    if left == 0:
        os._exit(9)
    commit(self, ledger)
making.Place.commit = dying
import_activations(config, Workdir({str(words.folder / "run")!r}).stores)
"""
    for left in (1, 3, 16):
        done = subprocess.run([sys.executable, "-c", script, str(left)], capture_output=True, text=True)
        assert done.returncode == 9, done.stderr
    stores = import_activations(config, words.workdir().stores)
    for split, store in stores.items():
        np.testing.assert_array_equal(store.matrix(), words.rows(split))


def test_layers_of_an_encoder_are_said_to_be_ignored(sentences, caplog):
    config = sentences.write()
    import_activations(config, sentences.workdir().stores)
    assert "n_layers" not in caplog.text
    config.encoder.n_layers = 1
    import_activations(config, sentences.workdir().stores)
    assert "config.encoder.n_layers=1 is ignored" in caplog.text


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"train": 3}', b"\xff"])
def test_a_damaged_record_of_what_was_imported_is_made_anew(sentences, content):
    config = sentences.write()
    import_activations(config, sentences.workdir().stores)
    sentences.workdir().activations("import.json").write_bytes(content)
    import_activations(config, sentences.workdir().stores)
    assert set(json.loads(sentences.workdir().activations("import.json").read_text())) == {"train", "test"}


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".t7", ".pt", ".acts", ".pkl", ".PT"])
def test_formats_that_run_what_is_in_them_are_refused(sentences, suffix):
    found = sentences.refused(train_activations=f"train{suffix}")
    assert found.startswith(f"train{suffix} is a {suffix.lower()} file, and reading one runs whatever is in it")
    assert "JSON lines (.json) or HDF5 (.hdf5)" in found


def test_an_unknown_format_is_refused(sentences):
    assert sentences.refused(train_activations="train.npz").startswith("train.npz has an unknown format: name a file")


def test_another_layer_size_is_refused(sentences):
    assert sentences.refused(num_neurons_per_layer=4).startswith(
        f"exp.json: num_neurons_per_layer is 4, but train{sentences.suffix} has layers of 3 neurons"
    )


def test_two_directions_may_be_counted_as_one_or_two(sentences):
    for split, mine in sentences.vectors.items():
        sentences.vectors[split] = [np.repeat(vector, 2, axis=2) for vector in mine]
    assert sentences.refused().startswith("exp.json: num_neurons_per_layer is 3, but")
    assert sentences.run(is_brnn=True)["train"].hidden_size == 6
    assert sentences.run(is_brnn=True, num_neurons_per_layer=6, overwrite=True)["train"].hidden_size == 6


def test_different_numbers_of_lines_are_named(sentences):
    sentences.labels["test"].pop()
    assert sentences.refused().startswith("test.word has 12 lines and test.label has 11: ")


def test_different_numbers_of_sentences_are_named(tmp_path):
    task = Task(tmp_path)
    task.vectors["test"].pop()
    assert task.refused().startswith("test.json has 11 sentences, but test.word has 12: both must be of the same")


def test_bad_labels_are_named(sentences):
    sentences.labels["train"][3] = "  "
    assert sentences.refused().startswith("train.label, line 4: the label is empty")
    sentences.labels["train"][3] = "high"
    assert sentences.refused(model_type="regression", metric="pearson").startswith("train.label, line 1: the score is")
    sentences.labels["train"] = ["A"] * 30
    assert "All 30 training rows of train.label have the same class, 'A'" in sentences.refused()
    sentences.labels["train"] = ["1.5"] * 30
    found = sentences.refused(model_type="regression", metric="pearson")
    assert "have the same score, 1.5, but at least two different scores" in found


def test_words_without_any_row_are_refused(words):
    assert "train.word has no sentence of at most max_sent_l=1 words" in Task.refused(_all_long(words), max_sent_l=1)
    words.labels["train"] = ["A A A A A A A A A A"] * 30
    assert "have no words to label" in words.refused()


def _all_long(task):
    task.texts["train"] = [f"{text} more words" for text in task.texts["train"]]
    return task


def test_a_missing_file_is_named(sentences):
    assert sentences.refused(test_source="none.word").startswith("none.word does not exist")
    assert sentences.refused(test_activations="none.json").startswith("none.json does not exist")


def test_results_of_the_original_are_refused_before_anything_is_written(sentences):
    output = sentences.folder / "out"
    output.mkdir()
    (output / "all_results.json").write_text("the original's")
    config = sentences.write(output_directory=str(output))
    with pytest.raises(UserError, match="is there and was not written by this workdir's pipeline"):
        study.run_stages(config, str(output), False, ("pipeline",))
    assert [path.name for path in output.iterdir()] == ["all_results.json"]
    assert study.run_stages(config, str(output), False, ()).activations("train").is_dir()
