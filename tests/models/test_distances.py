import jax.numpy as jnp
import numpy as np
import pytest

from jaxred.models.distances import by_token, of_tokens


@pytest.mark.parametrize(("n_tokens", "n_distances"), [(5, 10), (1, 2), (8, 16), (5, 6)])
def test_scores_by_distance_become_scores_by_token(n_tokens, n_distances):
    scores = np.random.default_rng(0).normal(size=(3, n_tokens, n_distances)).astype(np.float32)
    found = np.asarray(by_token(jnp.asarray(scores)))
    assert found.shape == (3, n_tokens, n_tokens)
    for i in range(n_tokens):
        for j in range(n_tokens if n_distances == 2 * n_tokens else i + 1):
            np.testing.assert_array_equal(found[..., i, j], scores[..., i, n_tokens - (i - j)])


def test_scores_of_some_tokens_are_those_of_all():
    scores = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 14)).astype(np.float32))
    rows, columns = np.array([6, 0, 3]), np.array([2, 2, 5, 0])
    found = of_tokens(scores[:, rows], jnp.asarray(rows), jnp.asarray(columns), 7)
    np.testing.assert_array_equal(found, np.asarray(by_token(scores))[:, rows][:, :, columns])
