import numpy as np
from scipy.linalg import orthogonal_procrustes

from jaxred.statistics.procrustes import procrustes
from tests.helpers.made_up_rows import HIDDEN_SIZE, N_LAYERS, correlated_rows, moments_of


def test_equals_the_distance_after_the_best_rotation():
    x = correlated_rows(500).astype(np.float32)
    layers = []
    for layer in range(N_LAYERS):
        part = x[:, layer * HIDDEN_SIZE : (layer + 1) * HIDDEN_SIZE].astype(np.float64)
        part -= part.mean(0)
        layers.append(part / np.linalg.norm(part))
    found = procrustes(moments_of(x))
    for i in range(N_LAYERS):
        for j in range(N_LAYERS):
            rotation, _ = orthogonal_procrustes(layers[i], layers[j])
            np.testing.assert_allclose(found[i, j], np.linalg.norm(layers[i] @ rotation - layers[j]), atol=1e-3)
    np.testing.assert_array_equal(found, found.T)


def test_rotation_scale_and_shift_change_nothing():
    draw = np.random.default_rng(1)
    x = draw.normal(size=(400, 6)) * [3, 2, 1, 1, 0.5, 0.1]
    rotation = np.linalg.qr(draw.normal(size=(6, 6)))[0]
    moments = moments_of(np.hstack([x, 5 * x @ rotation + 2]).astype(np.float32), n_layers=2)
    assert procrustes(moments)[0, 1] < 2e-3
    np.testing.assert_allclose(moments.cka(), 1, atol=1e-5)


def test_layers_without_anything_in_common_are_sqrt_2_and_constant_ones_are_nan():
    t = np.arange(64) * 2 * np.pi / 64
    x = np.stack([np.cos(t), np.sin(t), np.cos(2 * t), np.sin(2 * t), 0 * t, 0 * t + 3], 1).astype(np.float32)
    found = procrustes(moments_of(x, n_layers=3))
    np.testing.assert_allclose(found[:2, :2], [[0, np.sqrt(2)], [np.sqrt(2), 0]], atol=1e-6)
    assert np.isnan(found[2]).all()
