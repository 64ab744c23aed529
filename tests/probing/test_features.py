import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxred.activations.store import Ledger, Store, StoreWriter
from jaxred.config import ProbeConfig, StudyConfig, TaskConfig
from jaxred.errors import UserError
from jaxred.probing import features as loading
from jaxred.probing.features import class_ids, split_of

N_LAYERS, HIDDEN = 3, 4
N_TRAIN, N_TEST, N_DEV = 40, 7, 6
NAMES = ["ADJ", "NOUN", "VERB"]


def load_features(stores, config, scratch=None):
    return loading.load_features(stores, config.task, config.probe, scratch)


def values_of(n, seed):
    return np.random.default_rng(seed).normal(3, 2, (n, N_LAYERS, HIDDEN)).astype(np.float32)


VALUES = {"train": values_of(N_TRAIN, 0), "test": values_of(N_TEST, 1), "dev": values_of(N_DEV, 2)}
LABELS = {split: [NAMES[(i * i + i // 3) % 3] for i in range(len(values))] for split, values in VALUES.items()}


@pytest.fixture
def make_store(tmp_path):
    """A store of some rows; labels are class names or scores."""

    def make(name, values, labels):
        scores = not isinstance(labels[0], str)
        names = [] if scores else sorted(set(labels))
        ids = np.array(labels, np.float64) if scores else np.array([names.index(label) for label in labels], np.int32)
        ledger = Ledger({}, *values.shape, dtype="float32", window_rows=8, label_names=names)
        writer = StoreWriter(tmp_path / name, ledger, ids, np.arange(len(values), dtype=np.int32))
        for index in range(ledger.n_windows):
            writer.write(index, values[ledger.window(index)])
        writer.flush()
        return Store(tmp_path / name)

    return make


@pytest.fixture
def make_stores(make_store):
    def make(*splits, labels=LABELS, values=VALUES):
        return {split: make_store(split, values[split], labels[split]) for split in splits}

    return make


def flat(values):
    return values.reshape(len(values), -1)


def original_order(n, share=0.9, seed=7361):
    """The original's own lines."""
    state = np.random.get_state()
    np.random.seed(seed)
    indices = np.arange(n)
    np.random.shuffle(indices)
    np.random.set_state(state)
    n_train = int(n * share)
    return indices[:n_train], indices[n_train:]


# The split ---------------------------------------------------------------------------------------------------------


def test_dev_is_held_out_of_train_in_the_originals_order(make_stores):
    features = load_features(make_stores("train", "test"), StudyConfig())
    train, dev = original_order(N_TRAIN)
    assert (len(train), len(dev)) == (36, 4)
    np.testing.assert_array_equal(features.matrices["train"], flat(VALUES["train"])[train])
    np.testing.assert_array_equal(features.matrices["dev"], flat(VALUES["train"])[dev])
    np.testing.assert_array_equal(features.matrices["test"], flat(VALUES["test"]))
    for split, rows, source in (("train", train, "train"), ("dev", dev, "train"), ("test", range(N_TEST), "test")):
        assert features.targets[split].dtype == np.int32
        assert [features.classes[i] for i in features.targets[split]] == [LABELS[source][row] for row in rows]
    np.testing.assert_array_equal(features.data_split.train_idx, train)
    np.testing.assert_array_equal(features.data_split.dev_idx, dev)


def test_the_split_follows_the_configuration(make_stores):
    config = StudyConfig(task=TaskConfig(dev_fraction=0.25, split_seed=1))
    features = load_features(make_stores("train", "test"), config)
    train, dev = original_order(N_TRAIN, 0.75, 1)
    assert len(dev) == 10
    np.testing.assert_array_equal(features.matrices["train"], flat(VALUES["train"])[train])
    np.testing.assert_array_equal(features.matrices["dev"], flat(VALUES["train"])[dev])


def test_a_dev_store_is_dev_and_train_is_whole(make_stores):
    stores = make_stores("train", "dev", "test")
    features = load_features(stores, StudyConfig())
    assert features.data_split is None
    assert split_of(stores, TaskConfig()) is None
    for split in VALUES:
        np.testing.assert_array_equal(features.matrices[split], flat(VALUES[split]))
        assert [features.classes[i] for i in features.targets[split]] == LABELS[split]


# The classes -------------------------------------------------------------------------------------------------------


def test_classes_are_those_of_train_sorted(make_stores):
    labels = {
        **LABELS,
        "train": (["b", "a", "B", "10", "9"] * N_TRAIN)[:N_TRAIN],
        "test": ["a", "b", "b", "9", "10", "B", "a"],
    }
    features = load_features(make_stores("train", "test", labels=labels), StudyConfig())
    assert features.classes == ("10", "9", "B", "a", "b")
    assert features.targets["test"].tolist() == [3, 4, 4, 1, 0, 2, 3]
    assert features.n_outputs == 5
    assert features.fallbacks == {}


def test_what_is_only_asked_for_predictions_is_streamed_beyond_a_limit(make_stores, tmp_path, monkeypatch):
    stores = make_stores("train", "dev", "test")
    whole = load_features(stores, StudyConfig(), tmp_path)
    assert all(matrix.in_memory for matrix in whole.matrices.values())
    n_bytes = 4 * stores["dev"].n_rows * whole.n_neurons
    monkeypatch.setattr("jaxred.probing.features.EVALUATION_BYTES", n_bytes)
    features = load_features(stores, StudyConfig(), tmp_path)
    assert stores["train"].n_rows > stores["test"].n_rows > stores["dev"].n_rows
    held = {name: matrix.in_memory for name, matrix in features.matrices.items()}
    assert held == {"train": True, "dev": True, "test": False}
    for name, matrix in features.matrices.items():
        np.testing.assert_array_equal(np.asarray(matrix), np.asarray(whole.matrices[name]))


def test_labels_unseen_in_train_are_refused(make_stores):
    labels = {**LABELS, "test": ["X", "NOUN", "X", "Y", "NOUN", "ADJ", "VERB"]}
    stores = make_stores("train", "test", labels=labels)
    for fallback in ("", "PRON"):
        with pytest.raises(
            UserError, match=r"The test split has 3 label\(s\) never seen in train, such as 'X'"
        ) as caught:
            load_features(stores, StudyConfig(task=TaskConfig(fallback_label=fallback)))
        assert "Known are ADJ, NOUN, VERB: pass config.task.fallback_label" in str(caught.value)


def test_labels_unseen_in_train_count_as_the_fallback(make_stores):
    labels = {**LABELS, "test": ["X", "NOUN", "X", "Y", "NOUN", "ADJ", "VERB"], "dev": ["NOUN"] * 5 + ["X"]}
    stores = make_stores("train", "dev", "test", labels=labels)
    features = load_features(stores, StudyConfig(task=TaskConfig(fallback_label="VERB")))
    assert features.classes == ("ADJ", "NOUN", "VERB")
    assert features.targets["test"].tolist() == [2, 1, 2, 2, 1, 0, 2]
    assert features.targets["dev"].tolist() == [1, 1, 1, 1, 1, 2]
    assert features.fallbacks == {"test": 3, "dev": 1}


def test_a_label_that_only_the_held_out_rows_have_is_unseen(make_stores):
    _, dev = original_order(N_TRAIN)
    train = [*LABELS["train"]]
    train[dev[0]] = "RARE"
    stores = make_stores("train", "test", labels={**LABELS, "train": train})
    with pytest.raises(UserError, match=r"The dev split has 1 label\(s\) never seen in train, such as 'RARE'"):
        load_features(stores, StudyConfig())
    features = load_features(stores, StudyConfig(task=TaskConfig(fallback_label="ADJ")))
    assert features.classes == ("ADJ", "NOUN", "VERB")
    assert features.targets["dev"][0] == 0
    assert features.fallbacks == {"dev": 1}


@given(st.lists(st.text("abc é", max_size=3), min_size=1))
def test_class_ids_and_names_are_the_labels(labels):
    ids, classes = class_ids(labels)
    assert [classes[number] for number in ids] == labels
    assert list(classes) == sorted(set(labels))
    again, same = class_ids(np.array(labels[:2]), classes)
    assert (again.tolist(), same) == (ids[:2].tolist(), classes)
    assert ids.dtype == np.int32


def test_a_label_of_no_class_is_named():
    with pytest.raises(UserError, match=r"2 label\(s\) are none of the 2 classes, such as 'X'"):
        class_ids(["A", "X", "B", "Y"], ["B", "A"])
    assert class_ids(["A", "B"], ["B", "A"])[0].tolist() == [1, 0]


def test_regression_targets_are_the_scores(make_stores):
    scores = {split: (np.linspace(-4, 4, len(values)) / 3).tolist() for split, values in VALUES.items()}
    config = StudyConfig(task=TaskConfig(kind="regression", metric="pearson"))
    features = load_features(make_stores("train", "test", labels=scores), config)
    train, dev = original_order(N_TRAIN)
    for split, rows, source in (("train", train, "train"), ("dev", dev, "train"), ("test", range(N_TEST), "test")):
        assert features.targets[split].dtype == np.float32
        np.testing.assert_array_equal(features.targets[split], np.float32([scores[source][row] for row in rows]))
    assert features.classes == ()
    assert features.n_outputs == 1
    np.testing.assert_array_equal(features.matrices["train"], flat(VALUES["train"])[train])


# The matrices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize(("n_layers", "hidden"), [(2, 4), (3, 2), (4, 3)])  # the last has as many neurons
def test_stores_that_do_not_fit_together_are_refused(make_store, make_stores, split, n_layers, hidden):
    stores = make_stores("train", "test", "dev")
    stores[split] = make_store("other", np.ones((N_DEV, n_layers, hidden), np.float32), LABELS["dev"])
    with pytest.raises(UserError, match=f"{split} has {n_layers} layers x {hidden} neurons, train has 3 x 4") as caught:
        load_features(stores, StudyConfig())
    assert "same encoder" in str(caught.value)


def test_columns_are_neurons_layer_by_layer(make_stores):
    features = load_features(make_stores("train", "test"), StudyConfig())
    assert features.n_neurons == N_LAYERS * HIDDEN == features.matrices["test"].shape[1]
    assert [features.layer_and_index(neuron) for neuron in (0, 3, 4, 11)] == [(0, 0), (0, 3), (1, 0), (2, 3)]
    for neuron in range(features.n_neurons):
        layer, index = features.layer_and_index(neuron)
        np.testing.assert_array_equal(np.asarray(features.matrices["test"])[:, neuron], VALUES["test"][:, layer, index])


def test_numbers_are_left_alone_unless_asked(make_stores):
    features = load_features(make_stores("train", "test"), StudyConfig())
    assert features.scaling is None
    assert {np.asarray(matrix).dtype for matrix in features.matrices.values()} == {np.dtype(np.float32)}


def test_standardize_uses_the_statistics_of_the_training_rows(make_stores):
    values = {split: array.copy() for split, array in VALUES.items()}
    train, dev = original_order(N_TRAIN)
    for array in values.values():
        array[:, 1] *= [1e-3, 1, 1e3, 1]
        array[:, 1] += [0.5, -100, 0, 0]
    values["train"][dev] += 50  # must not be looked at
    values["train"][:, 0, 1] = values["test"][:, 0, 1] = 0.1  # constant everywhere
    values["train"][train, 2, 2] = -7.3  # constant in train alone
    features = load_features(
        make_stores("train", "test", values=values), StudyConfig(probe=ProbeConfig(standardize=True))
    )

    constant = np.zeros(N_LAYERS * HIDDEN, bool)
    constant[[1, 10]] = True
    raw = {"train": values["train"][train], "dev": values["train"][dev], "test": values["test"]}
    raw = {split: flat(array).astype(np.float64) for split, array in raw.items()}
    mean, deviation = raw["train"].mean(0), raw["train"].std(0)
    deviation[constant] = 1
    for split in raw:
        found = np.asarray(features.matrices[split])
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, (raw[split] - mean) / deviation, rtol=1e-4, atol=1e-4)
    scaled = np.asarray(features.matrices["train"], np.float64)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled[:, ~constant].var(0), 1, rtol=1e-4)
    np.testing.assert_array_equal(scaled[:, constant], 0)
    np.testing.assert_array_equal(np.asarray(features.matrices["test"])[:, 1], 0)
    np.testing.assert_allclose(np.asarray(features.matrices["test"])[:, 10], raw["test"][:, 10] + 7.3, rtol=1e-5)
    np.testing.assert_allclose(features.scaling[0], mean, rtol=1e-6)
    np.testing.assert_allclose(features.scaling[1], deviation, rtol=1e-6)
    expected = raw["train"].var(0)
    for mine in (features, load_features(make_stores("train", "test", values=values), StudyConfig())):
        np.testing.assert_allclose(mine.variance(), np.where(constant, 0, expected), rtol=1e-4)  # with or without it


# What is in them ---------------------------------------------------------------------------------------------------
