import numpy as np
import pytest

from jaxred.statistics import moments as moments_module
from jaxred.statistics.layer_products import cross_product
from tests.helpers.made_up_rows import HIDDEN_SIZE, N_LAYERS, correlated_rows, moments_of


@pytest.mark.parametrize("square", [2, 3, 5, 640])
def test_equals_the_product_of_centred_rows(monkeypatch, square):
    monkeypatch.setattr(moments_module, "LARGEST_SQUARE", square)
    x = correlated_rows(300).astype(np.float32)
    centred = (x - x.mean(0, dtype=np.float64)).reshape(len(x), N_LAYERS, HIDDEN_SIZE)
    moments = moments_of(x)
    for i in range(N_LAYERS):
        for j in range(N_LAYERS):
            np.testing.assert_allclose(
                cross_product(moments, i, j), centred[:, i].T @ centred[:, j], rtol=1e-5, atol=1e-3
            )
