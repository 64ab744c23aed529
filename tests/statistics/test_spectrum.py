import numpy as np

from jaxred.statistics.spectrum import effective_rank, participation_ratio, spectra
from tests.helpers.made_up_rows import HIDDEN_SIZE, N_LAYERS, correlated_rows, moments_of


def test_equal_a_plain_reference():
    x = correlated_rows(500).astype(np.float32)
    found = spectra(moments_of(x))
    for layer in range(N_LAYERS):
        values = np.linalg.eigvalsh(np.cov(x[:, layer * HIDDEN_SIZE : (layer + 1) * HIDDEN_SIZE].T.astype(np.float64)))
        shares = values / values.sum()
        np.testing.assert_allclose(effective_rank(found)[layer], np.exp(-(shares * np.log(shares)).sum()), rtol=1e-5)
        np.testing.assert_allclose(participation_ratio(found)[layer], values.sum() ** 2 / (values**2).sum(), rtol=1e-5)


def test_known_values():
    values = np.array([[1, 1, 1, 1], [0, 0, 0, 3], [0, 0, 2, 2], [0, 0, 0, 0]], float)
    np.testing.assert_allclose(effective_rank(values), [4, 1, 2, np.nan])
    np.testing.assert_allclose(participation_ratio(values), [4, 1, 2, np.nan])


def test_two_rows_have_one_direction_and_constant_layers_none():
    x = correlated_rows(2).astype(np.float32)
    x[:, :HIDDEN_SIZE] = 7
    found = spectra(moments_of(x))
    np.testing.assert_allclose(effective_rank(found), [np.nan, 1, 1], rtol=1e-5)
    np.testing.assert_allclose(participation_ratio(found), [np.nan, 1, 1], rtol=1e-5)
