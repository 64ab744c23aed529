import json
from collections import Counter

import numpy as np
import pytest
from helpers.shared import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.data.split import sample_in_proportion, train_dev_split, train_dev_split_of_words
from jaxred.errors import UserError

GOLDEN = json.loads((ROOT / "tests" / "golden" / "split.json").read_text())


@pytest.mark.parametrize("n", sorted(map(int, GOLDEN)))
def test_the_split_is_the_originals(n):
    golden, split = GOLDEN[str(n)], train_dev_split(n)
    assert split.all_idx[:20].tolist() == golden["first_20"]
    assert split.all_idx[-5:].tolist() == golden["last_5"]
    assert len(split.train_idx) == golden["num_train"]


def test_the_split_is_what_the_originals_lines_give():
    state = np.random.get_state()
    try:
        np.random.seed(7361)
        expected = np.arange(2490)
        np.random.shuffle(expected)
    finally:
        np.random.set_state(state)
    split = train_dev_split(2490)
    np.testing.assert_array_equal(split.all_idx, expected)
    np.testing.assert_array_equal(split.train_idx, expected[: int(2490 * 0.90)])
    np.testing.assert_array_equal(split.dev_idx, expected[int(2490 * 0.90) :])


@pytest.mark.parametrize(
    ("n", "n_train", "n_dev"),
    [
        (67349, 60614, 6735),
        (3668, 3301, 367),
        (392702, 353431, 39271),
        (104743, 94268, 10475),
        (363846, 327461, 36385),
        (2490, 2241, 249),
        (5749, 5174, 575),
    ],
)
def test_glue_sizes_are_the_papers(n, n_train, n_dev):
    split = train_dev_split(n)
    assert (len(split.train_idx), len(split.dev_idx)) == (n_train, n_dev)


def test_no_count_is_lost_to_float_rounding(monkeypatch):
    counts = {}
    monkeypatch.setattr("jaxred.data.split.np.random.RandomState", _NoShuffle)
    for n in [*range(2, 5_000), *range(392_000, 393_000), *range(10, 500_001, 331)]:
        counts[n] = len(train_dev_split(n).train_idx)
    assert counts == {n: int(n * 0.90) for n in counts}
    assert len(train_dev_split(100, 0.71).train_idx) == 29
    assert len(train_dev_split(10, 0.9).train_idx) == 1


class _NoShuffle:
    def __init__(self, seed):
        pass

    def shuffle(self, array):
        pass


@given(n=st.integers(2, 300), dev_fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**32 - 1))
def test_every_row_is_on_one_side(n, dev_fraction, seed):
    before = np.random.get_state()[1].tolist()  # pyright: ignore
    try:
        split = train_dev_split(n, dev_fraction, seed)
    except UserError:
        assert n * (1 - dev_fraction) < 1
        return
    assert sorted(split.all_idx) == list(range(n))
    assert [*split.train_idx, *split.dev_idx] == split.all_idx.tolist()
    assert abs(len(split.dev_idx) - n * dev_fraction) <= 1
    assert np.random.get_state()[1].tolist() == before  # pyright: ignore


@pytest.mark.parametrize(("n", "dev_fraction"), [(0, 0.1), (1, 0.1), (1, 0.5), (5, 0.9), (5, 1e-9)])
def test_an_empty_part_is_refused(n, dev_fraction):
    with pytest.raises(UserError, match=f"^{n} rows cannot be split with config.task.dev_fraction={dev_fraction}: "):
        train_dev_split(n, dev_fraction)


def test_words_that_cannot_be_split_are_counted_in_sentences():
    with pytest.raises(UserError, match=r"^1 sentences cannot be split .*; give more sentences or another"):
        train_dev_split_of_words(np.zeros(40, np.int32))


def test_seeds_differ():
    assert train_dev_split(100, seed=1).all_idx.tolist() != train_dev_split(100, seed=2).all_idx.tolist()


# Samples

labels = st.lists(st.sampled_from("aaaaaabbbc"), min_size=1, max_size=100)


@given(data=st.data(), labels=labels, seed=st.integers(0, 2**32 - 1))
def test_classes_keep_their_share(data, labels, seed):
    n = data.draw(st.integers(1, len(labels) + 1))
    sizes = Counter(labels)
    if n < min(len(sizes), len(labels)):
        with pytest.raises(UserError, match=f"limit_instances={n} is fewer than the {len(sizes)} classes"):
            sample_in_proportion(labels, n, seed)
        return
    rows = sample_in_proportion(labels, n, seed).tolist()
    assert len(rows) == min(n, len(labels))
    assert rows == sorted(set(rows))
    assert rows == sample_in_proportion(labels, n, seed).tolist()
    kept = Counter(labels[i] for i in rows)
    assert set(kept) == set(sizes)
    shares = {name: len(rows) * size / len(labels) for name, size in sizes.items()}
    for name, share in shares.items():
        rare = sum(1 for other in shares.values() if other < 1)  # each may take a row that is not its due
        assert share - 1 - rare < kept[name] < max(share + 1, 1.5)
        assert kept[name] <= sizes[name]


def test_the_largest_remainder_gets_the_last_row():
    labels = ["a"] * 50 + ["b"] * 33 + ["c"] * 17  # of 10: 5.0, 3.3, 1.7
    assert Counter(labels[i] for i in sample_in_proportion(labels, 10, 0)) == {"a": 5, "b": 3, "c": 2}


def test_a_rare_class_keeps_a_row():
    labels = ["a"] * 500 + ["b"] * 499 + ["c"]
    assert Counter(labels[i] for i in sample_in_proportion(labels, 3, 0)) == {"a": 1, "b": 1, "c": 1}
    assert Counter(labels[i] for i in sample_in_proportion(labels, 11, 0)) == {"a": 5, "b": 5, "c": 1}
    labels = ["a"] * 60 + ["b"] * 36 + list("cdef")  # of 10: 6.0, 3.6 and 0.1 each, which take 3.6 from a and b
    counts = Counter(labels[i] for i in sample_in_proportion(labels, 10, 0))
    assert counts == {"a": 4, "b": 2, "c": 1, "d": 1, "e": 1, "f": 1}


def test_the_order_of_the_data_is_kept():
    for labels in (["a", "b", "c"] * 30, [float(i) for i in range(90)]):
        rows = sample_in_proportion(labels, 45, 0).tolist()
        assert rows == sorted(set(rows))


@given(n_rows=st.integers(1, 100), n=st.integers(1, 101), seed=st.integers(0, 1000))
def test_scores_are_sampled_uniformly(n_rows, n, seed):
    rows = sample_in_proportion([float(i) for i in range(n_rows)], n, seed).tolist()
    assert len(rows) == min(n, n_rows)
    assert rows == sorted(set(rows))


@pytest.mark.parametrize("labels", [["a", "b"] * 50, [float(i) for i in range(100)]])
def test_the_sample_depends_on_the_seed_and_reaches_every_row(labels):
    samples = [sample_in_proportion(labels, 20, seed).tolist() for seed in range(40)]
    assert samples[0] != samples[1]
    assert {i for sample in samples for i in sample} == set(range(100))


def test_no_rows_are_no_sample():
    for labels in (["a", "b"], [1.0, 2.0]):
        with pytest.raises(UserError, match=r"config\.task\.limit_instances=0 is not possible"):
            sample_in_proportion(labels, 0, 0)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=40), st.integers(0, 5))
@settings(deadline=None)
def test_words_are_split_by_whole_sentences_in_the_same_order(sizes, seed):
    names = np.arange(len(sizes)) * 3 + 1  # numbers of sentences may have gaps
    index = np.repeat(names, sizes)
    try:
        whole = train_dev_split(len(sizes), 0.3, seed)
    except UserError:
        return
    found = train_dev_split_of_words(index, 0.3, seed)
    for rows, sentences in zip(found, whole, strict=True):
        expected = [row for sentence in sentences for row in np.flatnonzero(index == names[sentence])]
        assert rows.tolist() == expected
    assert set(index[found.train_idx]).isdisjoint(index[found.dev_idx])
