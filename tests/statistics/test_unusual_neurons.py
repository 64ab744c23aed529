import numpy as np
import pytest

from jaxred.statistics import unusual_neurons
from jaxred.statistics.moments import Moments
from jaxred.statistics.streaming import from_blocks

N_LAYERS, HIDDEN = 2, 8


def moments_of(x):
    return Moments.of(from_blocks([x.astype(np.float32)], N_LAYERS))


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(400, N_LAYERS * HIDDEN))


def test_twins_are_the_pairs_most_alike(rows):
    rows[:, 9] = -rows[:, 2] + 0.01 * rows[:, 9]
    rows[:, 12] = rows[:, 5] + 0.3 * rows[:, 12]
    rows[:, 13] = rows[:, 5] + 0.6 * rows[:, 13]  # a third, whose twin is taken
    correlation = moments_of(rows).correlation()
    found = unusual_neurons.twins(correlation, 2)
    assert found.pairs.tolist() == [[2, 9], [5, 12]]
    np.testing.assert_allclose(found.correlations, [correlation[2, 9], correlation[5, 12]])
    assert found.correlations[0] < -0.99
    everyone = unusual_neurons.twins(correlation, 100).pairs
    assert len(np.unique(everyone)) == everyone.size <= 16


def test_a_constant_neuron_and_one_alone_have_no_twin():
    assert unusual_neurons.twins(np.ones((1, 1), np.float32), 5).pairs.shape == (0, 2)


def test_outliers_and_nearly_constant_neurons_are_told_by_their_layer(rows):
    rows[:, 8:] *= 50  # all of a layer are large together
    rows[:, 1] *= 200  # what a mean would follow, and a median does not
    rows[:, 3] *= 20
    rows[:, 11] *= 20
    rows[:, 6] *= 1e-3
    rows[:, 14] = 7
    found = moments_of(rows)
    assert unusual_neurons.outliers(found).tolist() == [1, 3, 11]
    assert unusual_neurons.nearly_constant(found).tolist() == [6]
    assert np.flatnonzero(found.constant).tolist() == [14]


def test_without_some_neurons_the_rest_is_as_if_they_were_not_there(rows):
    rows[:, 12] = rows[:, 5] * 30
    gone = np.array([5, 12])
    left = np.delete(np.arange(16), gone)
    found = moments_of(rows).without(gone)
    assert np.flatnonzero(found.constant).tolist() == [5, 12]
    alone = Moments.of(from_blocks([rows[:, left].astype(np.float32)], N_LAYERS))
    np.testing.assert_allclose(found.cka(), alone.cka(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.correlation()[np.ix_(left, left)], alone.correlation(), rtol=0, atol=1e-6)
