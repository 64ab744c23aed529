import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from jaxred.statistics.neighbours import mutual_knn, sampled, two_nn


def test_mutual_knn_equals_sets_of_neighbours():
    x = np.random.default_rng(0).normal(size=(60, 3, 5)).astype(np.float32)
    x[:, 2] = 3 * x[:, 1] + 0.1 * x[:, 2]
    near = [
        NearestNeighbors(n_neighbors=4, metric="cosine").fit(x[:, i].astype(float)).kneighbors(return_distance=False)
        for i in range(3)
    ]
    expected = [[np.mean([len({*p} & {*q}) / 4 for p, q in zip(a, b, strict=True)]) for b in near] for a in near]
    np.testing.assert_allclose(mutual_knn(x, 4), expected)
    assert mutual_knn(x, 4)[1, 2] > 0.5 > mutual_knn(x, 4)[0, 1]


def test_mutual_knn_of_scaled_rotated_repeated_zero_and_constant_rows():
    draw = np.random.default_rng(1)
    x = draw.normal(size=(50, 5, 6))
    x[:, 1] = 7 * x[:, 0] @ np.linalg.qr(draw.normal(size=(6, 6)))[0]
    x[:10, :2] = x[10:20, :2]
    x[3, 2], x[:, 3], x[:, 4] = 0, 0, 2
    found = mutual_knn(x.astype(np.float32))
    np.testing.assert_allclose(found[:2, :2], 1, atol=0.02)
    assert found[2, 2] == 1
    assert 0 < found[0, 2] < 1
    assert np.isnan(found[3:]).all()
    assert np.isnan(mutual_knn(x[:11].astype(np.float32))).all()


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_two_nn_equals_its_definition(dimension):
    draw = np.random.default_rng(2)
    x = draw.normal(size=(200, dimension)) @ draw.normal(size=(dimension, 9)) + 100
    d = np.sort(cdist(x, x), axis=1)
    mu = np.sort(d[:, 2] / d[:, 1])
    log_mu, y = np.log(mu[:180]), -np.log(1 - np.arange(1, 181) / 200)
    np.testing.assert_allclose(two_nn(x), np.linalg.lstsq(log_mu[:, None], y, rcond=None)[0][0], rtol=1e-6)


def test_two_nn_on_a_plane_is_2():
    draw = np.random.default_rng(0)
    plane = draw.uniform(size=(2000, 2)) @ np.linalg.qr(draw.normal(size=(20, 2)))[0].T
    assert abs(two_nn(plane.astype(np.float32)) - 2) < 0.1
    assert two_nn(np.concatenate([plane, plane[:500]])) == pytest.approx(two_nn(plane), rel=1e-9)


def test_two_nn_of_too_few_rows_is_not_defined():
    assert np.isnan(two_nn(np.ones((50, 3))))
    assert np.isnan(two_nn(np.random.default_rng(0).normal(size=(9, 3))))


def test_a_sample_is_the_same_each_time():
    rows = np.arange(5, 5000)
    assert len(set(sampled(rows))) == 2000
    np.testing.assert_array_equal(sampled(rows), sampled(rows))
    np.testing.assert_array_equal(sampled(rows[:7]), rows[:7])
