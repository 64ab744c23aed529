import numpy as np
import pytest

from jaxred.probing import outputs
from jaxred.probing.outputs import linear_outputs, probabilities


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 26])
def test_outputs_are_those_of_the_columns(monkeypatch, chunk_bytes):
    monkeypatch.setattr(outputs, "CHUNK_BYTES", chunk_bytes)
    draw = np.random.default_rng(0)
    rows, columns = draw.normal(size=(7, 5)).astype(np.float32), np.array([4, 0, 2])
    weights, bias = draw.normal(size=(3, 2)).astype(np.float32), np.float32([1, -1])
    weights[1] = 0
    expected = rows[:, columns].astype(np.float64) @ weights.astype(np.float64) + bias
    np.testing.assert_allclose(linear_outputs(rows, columns, weights, bias), expected, rtol=1e-14)


def test_a_probe_without_weights_says_its_bias():
    found = linear_outputs(np.ones((3, 4)), np.zeros(0, int), np.zeros((0, 2), np.float32), np.float32([1, 2]))
    np.testing.assert_array_equal(found, [[1, 2]] * 3)


def test_probabilities_of_large_outputs_are_finite_and_sum_to_1():
    found = probabilities(np.array([[1000.0, 1000.0], [0.0, np.log(3)]]))
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.25, 0.75]])
