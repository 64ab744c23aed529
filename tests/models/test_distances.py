import jax.numpy as jnp
import numpy as np
import pytest

from jaxred.models.distances import by_token, log_buckets, of_tokens


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


@pytest.mark.reference
@pytest.mark.parametrize(("n_buckets", "n_positions"), [(256, 512), (2, 9), (16, 13), (33, 21), (64, 49), (128, 1024)])
def test_buckets_are_pytorchs_at_any_distance(monkeypatch, n_buckets, n_positions):
    """With a logarithm that is rounded right: PyTorch's own is the processor's, and differs at borders of buckets."""
    torch = pytest.importorskip("torch")
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    logarithm = torch.log
    monkeypatch.setattr(torch, "log", lambda x: logarithm(x.double()).to(x.dtype))
    distances = np.arange(-1500, 1501)
    expected = make_log_bucket_position(torch.tensor(distances), n_buckets, n_positions).long().numpy()
    np.testing.assert_array_equal(log_buckets(distances, n_buckets, n_positions), expected)
