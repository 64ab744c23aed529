import itertools

import numpy as np
import pytest
from scipy.special import softmax

from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ProbeConfig
from jaxred.probing import fit
from jaxred.probing.code_length import mixed, online_code, portion_ends, shuffled, uniform_code
from jaxred.probing.families import subset_family

CONFIG = ProbeConfig(batch_size=32, learning_rate=1e-2, epochs=4, seed=3)
N_ROWS, N_COLUMNS = 300, 16


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, N_ROWS).astype(np.int32)
    rows = rng.normal(size=(N_ROWS, N_COLUMNS)).astype(np.float32)
    rows[:, 3] = np.where(targets, 3, -3)  # decides the label
    rows[:, 4] = 1.0  # constant
    rows[1] = rows[0]
    sets = [np.arange(N_COLUMNS), np.array([3]), np.array([0, 5]), np.zeros(0, int)]
    return FeatureMatrix.from_rows(rows, 32), targets, rows, sets


def test_there_are_eleven_portions_and_fewer_of_few_rows():
    ends = [10, 20, 40, 80, 160, 320, 625, 1250, 2500, 5000, 10_000]
    assert portion_ends(10_000) == ends
    assert portion_ends(2) == [1, 2]
    assert portion_ends(1) == [1]


def test_the_first_rows_are_a_matrix_that_trains_as_a_copy_does(task):
    matrix, targets, rows, sets = task
    family = subset_family(sets, N_COLUMNS)
    for n in (1, 32, 45):
        first = matrix.first(n)
        assert first.shape == (n, N_COLUMNS)
        np.testing.assert_array_equal(np.asarray(first), rows[:n])
        probes = [
            fit(family, m, targets[:n], 2, CONFIG).probe(0) for m in (first, FeatureMatrix.from_rows(rows[:n], 32))
        ]
        np.testing.assert_allclose(probes[0].weights, probes[1].weights, rtol=1e-5, atol=1e-6)


def test_a_code_is_the_sum_of_its_portions(task):
    matrix, targets, rows, sets = task
    family = subset_family(sets, N_COLUMNS)
    ends = portion_ends(N_ROWS)
    expected = np.full(len(sets), ends[0] * np.log2(2.0))
    for stop, following in itertools.pairwise(ends):
        trained = fit(family, FeatureMatrix.from_rows(rows[:stop], 32), targets[:stop], 2, CONFIG)
        for i, columns in enumerate(sets):
            probe = trained.probe(i)
            outputs = rows[stop:following][:, columns].astype(np.float64) @ probe.weights + probe.bias
            p = softmax(outputs, axis=1)[np.arange(following - stop), targets[stop:following]]
            if len(set(targets[:stop].tolist())) < 2:
                p = (stop * p + 1 / 2) / (stop + 1)
            expected[i] -= np.log2(p).sum()
    np.testing.assert_allclose(online_code(family, matrix, targets, 2, CONFIG), expected, rtol=1e-4)


def test_a_class_without_rows_yet_costs_little_more_than_its_count_would(task):
    """At the optimum a probe gives no probability to a class that it has not seen; class 2 comes after 200 rows."""
    _, targets, rows, _ = task
    targets = targets.copy()
    targets[200:210] = 2
    matrix, family = FeatureMatrix.from_rows(rows, 32), subset_family([np.arange(N_COLUMNS), np.array([3])], N_COLUMNS)
    config = ProbeConfig(batch_size=32, solver="fista", l1=1e-4, l2=1e-4)
    expected, plain, ends = np.full(2, np.log2(3.0)), np.zeros(2), portion_ends(N_ROWS)
    assert ends[0] == 1
    for stop, following in itertools.pairwise(ends):
        trained = fit(family, FeatureMatrix.from_rows(rows[:stop], 32), targets[:stop], 3, config)
        for i, columns in enumerate(([*range(N_COLUMNS)], [3])):
            probe = trained.probe(i)
            outputs = rows[stop:following][:, columns].astype(np.float64) @ probe.weights + probe.bias
            p = softmax(outputs, axis=1)
            plain[i] -= np.log2(p[np.arange(following - stop), targets[stop:following]]).sum()
            if len(set(targets[:stop].tolist())) < 3:
                p = (stop * p + 1 / 3) / (stop + 1)
                assert np.allclose(p.sum(1), 1)
            expected[i] -= np.log2(p[np.arange(following - stop), targets[stop:following]]).sum()
    codes = online_code(family, matrix, targets, 3, config)
    np.testing.assert_allclose(codes, expected, rtol=1e-3)
    assert np.all(codes < plain)
    assert np.all(codes < 10 * np.log2(3 * 151) + 0.6 * N_ROWS)


def test_a_mixture_is_of_probabilities_that_sum_to_one():
    p = np.array([1.0, 0.5, 1e-300])
    np.testing.assert_allclose(mixed(-np.log2(p), 9, 4), -np.log2((9 * p + 0.25) / 10), rtol=1e-12)
    np.testing.assert_allclose(mixed(np.array([np.inf, 2000.0]), 7, 4), np.log2(4 * 8), rtol=1e-12)


def test_rows_are_shuffled_with_their_sentences_whole():
    order = shuffled(50, 3)
    assert sorted(order.tolist()) == list(range(50))
    np.testing.assert_array_equal(order, shuffled(50, 3))
    assert not np.array_equal(order, shuffled(50, 4))
    assert not np.array_equal(order, np.arange(50))
    sentences = np.repeat([9, 2, 5, 7], [3, 1, 4, 2])
    order = shuffled(10, 1, sentences)
    assert sorted(order.tolist()) == list(range(10))
    of_row = sentences[order]
    assert np.count_nonzero(np.diff(of_row)) == 3
    for sentence in (9, 2, 5, 7):
        assert np.all(np.diff(order[of_row == sentence]) == 1)
    assert len({tuple(shuffled(10, seed, sentences).tolist()) for seed in range(20)}) > 5


def test_what_decides_the_label_compresses(task):
    matrix, targets, _, sets = task
    uniform = uniform_code(N_ROWS, 2)
    assert uniform == N_ROWS
    everything, decides, _, nothing = online_code(subset_family(sets, N_COLUMNS), matrix, targets, 2, CONFIG)
    assert uniform / decides > 2
    assert uniform / everything > 1.5
    assert 0.95 < uniform / nothing < 1.05


@pytest.mark.parametrize("labels", ["of other rows", "random"])
def test_the_code_of_labels_that_activations_do_not_know_is_about_that_of_no_probe(labels):
    """It is longer by what probes of few rows cost, whatever the number of rows: outputs of initial weights, uniform in
    +-1/sqrt(D), differ by d with E[d^2] = 2/3 (1 + 1/D), which costs about E[d^2] / (8 ln 2) = 0.18 bits per row, until
    after some 500 rows Adam has unlearnt them: 90 bits.
    """
    excess = {}
    for n in (300, 1000, 4000):
        rng = np.random.default_rng(n)
        rows = rng.normal(size=(n, 2)).astype(np.float32)
        targets = rng.integers(0, 2, n).astype(np.int32)
        if labels == "of other rows":
            targets = (rows[rng.permutation(n), 0] > 0).astype(np.int32)
        codes = online_code(subset_family([np.arange(2)], 2), FeatureMatrix.from_rows(rows, 32), targets, 2, CONFIG)
        excess[n] = float(codes[0]) - uniform_code(n, 2)
        assert 0 < excess[n] < 90
    assert excess[4000] / 4000 < 0.0225  # 90 bits
    assert excess[4000] / 4000 < excess[300] / 300 / 3
