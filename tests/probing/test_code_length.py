import numpy as np
import pytest
from scipy.special import log_softmax

from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ProbeConfig
from jaxred.probing import fit
from jaxred.probing.code_length import online_code, portion_ends, uniform_code
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
    for stop, following in zip(ends[:-1], ends[1:], strict=True):
        trained = fit(family, FeatureMatrix.from_rows(rows[:stop], 32), targets[:stop], 2, CONFIG)
        for i, columns in enumerate(sets):
            probe = trained.probe(i)
            outputs = rows[stop:following][:, columns].astype(np.float64) @ probe.weights + probe.bias
            log2p = log_softmax(outputs, axis=1)[np.arange(following - stop), targets[stop:following]] / np.log(2)
            expected[i] -= log2p.sum()
    np.testing.assert_allclose(online_code(family, matrix, targets, 2, CONFIG), expected, rtol=1e-4)


def test_what_decides_the_label_compresses_and_random_labels_do_not(task):
    matrix, targets, _, sets = task
    uniform = uniform_code(N_ROWS, 2)
    assert uniform == N_ROWS
    everything, decides, noise, nothing = online_code(subset_family(sets, N_COLUMNS), matrix, targets, 2, CONFIG)
    assert uniform / decides > 2
    assert uniform / everything > 1.5
    assert 0.9 < uniform / noise < 1.05
    assert 0.95 < uniform / nothing < 1.05
    random = np.random.default_rng(9).integers(0, 2, N_ROWS).astype(np.int32)
    codes = online_code(subset_family(sets[1:], N_COLUMNS), matrix, random, 2, CONFIG)
    assert np.all(np.abs(codes / uniform - 1) < 0.15)
