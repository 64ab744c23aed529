import numpy as np

from jaxred.probing.controls import of_types, permuted


def test_a_permutation_keeps_the_shares_and_follows_seed_and_split():
    targets = np.repeat([0, 1, 2], [50, 30, 20]).astype(np.int32)
    labels = permuted(targets, 42)
    assert np.array_equal(np.bincount(labels), [50, 30, 20])
    assert labels.dtype == targets.dtype
    assert np.array_equal(labels, permuted(targets, 42))
    assert not np.array_equal(labels, targets)
    assert not np.array_equal(labels, permuted(targets, 43))
    assert not np.array_equal(labels, permuted(targets, 42, split=1))


def test_every_type_has_one_label_whatever_the_rows_around_it():
    train = np.repeat([0, 1], [70, 30]).astype(np.int32)
    words = ["the", "cat", "The", "the", "\ud800", "cat"]
    labels = of_types(words, train, 1)
    assert labels[0] == labels[3]
    assert labels[1] == labels[5]
    assert np.array_equal(of_types(words[::-1], train, 1), labels[::-1])
    assert of_types(["cat"], train, 1)[0] == labels[1]


def test_types_are_drawn_from_the_shares_of_train():
    train = np.repeat([0, 1, 2], [700, 200, 100]).astype(np.int32)
    types = [f"word-{i}" for i in range(20_000)]
    shares = np.bincount(of_types(types, train, 5), minlength=3) / len(types)
    assert np.all(np.abs(shares - [0.7, 0.2, 0.1]) < 4 * np.sqrt(0.25 / len(types)))
    assert np.mean(of_types(types, train, 5) != of_types(types, train, 6)) > 0.3


def test_scores_of_types_are_scores_of_train():
    train = np.array([0.5, 2.5, 1.0], np.float32)
    labels = of_types(["a", "b", "c", "d"], train, 0)
    assert labels.dtype == np.float32
    assert set(labels.tolist()) <= set(train.tolist())
