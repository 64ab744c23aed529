import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erfc

from jaxred.models.activation_functions import ACTIVATIONS, gelu

GRID = np.concatenate([np.linspace(-12, 12, 4001), [-100, -1e-4, 0, 1e-4, 100]]).astype(np.float32)


def test_gelu_is_the_exact_one():
    exact = 0.5 * GRID.astype(np.float64) * erfc(-GRID / np.sqrt(2))
    error = np.abs(np.asarray(gelu(jnp.asarray(GRID)), np.float64) - exact)
    assert (error <= 2**-22 * np.abs(GRID)).all()  # what the rounding of erf near -1 and 1 allows
    assert np.linalg.norm(error) <= 1e-7 * np.linalg.norm(exact)


@pytest.mark.reference
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_as_transformers_defines_it(name):
    torch = pytest.importorskip("torch")
    from transformers.activations import ACT2FN

    theirs = ACT2FN[name](torch.tensor(GRID)).numpy()
    np.testing.assert_allclose(ACTIVATIONS[name](jnp.asarray(GRID)), theirs, rtol=1e-6, atol=1e-6)
