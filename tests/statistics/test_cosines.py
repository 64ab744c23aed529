import numpy as np
import pytest

from jaxred.statistics.cosines import BLOCK_ROWS, CosineSums, cosine_sums


def reference(x):
    x = x.astype(np.float64)
    n_layers = x.shape[1]
    bi, angle, count = (np.zeros((n_layers, n_layers)) for _ in range(3))
    for row in x:
        for i in range(n_layers):
            for j in range(n_layers):
                norms = np.linalg.norm(row[i]) * np.linalg.norm(row[j])
                if norms:
                    u, v = row[i] / np.linalg.norm(row[i]), row[j] / np.linalg.norm(row[j])
                    bi[i, j] += 1 - u @ v
                    angle[i, j] += 2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v)) / np.pi
                    count[i, j] += 1
    return count, bi, angle


def rows(n=BLOCK_ROWS + 9, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 4, 6)).astype(np.float32)


@pytest.mark.parametrize("scale", [1, 1e-25, 1e25])
def test_equal_a_plain_reference(scale):
    x = rows() * np.float32(scale)
    x[3, 1], x[:, 2] = 0, x[:, 1] * 2 + np.float32(1e-3 * scale)
    found = cosine_sums(x)
    count, bi, angle = reference(x)
    np.testing.assert_array_equal(found.n_rows, count)
    np.testing.assert_allclose(found.one_minus_cosine, bi, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.angle, angle, rtol=1e-5, atol=1e-5)


def test_known_values():
    x = rows(5)
    x[:, 1], x[:, 2] = x[:, 0], -x[:, 0]
    x[:, 3] = np.roll(x[:, 0], 1, axis=1) * 0
    found = cosine_sums(x)
    np.testing.assert_allclose(found.block_influence(), [np.nan, 0, 2, np.nan], atol=1e-6)
    np.testing.assert_allclose(found.angular_distance()[0], [0, 0, 1, np.nan], atol=1e-6)


def test_sums_of_parts_add_up():
    x = rows()
    whole, parts = cosine_sums(x), cosine_sums(x[:100]) + cosine_sums(x[100:])
    np.testing.assert_allclose(whole.angle, parts.angle, rtol=1e-6)
    assert np.isnan(CosineSums.none(3).angular_distance()).all()
