"""What tests of every encoder ask: agreement with PyTorch, and vectors that do not depend on a sentence's company."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxred.kernels import pooling


def relative_error(found, expected):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def randomise(model, seed):
    """Makes every weight of a PyTorch model random, so that biases and norms matter."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            n_in = weight.shape[0] if weight.dim() == 3 else weight.shape[-1]
            weight.normal_(1.0 if name.lower().endswith("norm.weight") else 0.0, n_in**-0.5)
    return model.eval()


def pytorch_hidden_states(model, batch, rows_alone=False, token_types=True):
    """Every layer's hidden states of a padded batch, [layer, batch, token, hidden]."""
    torch = pytest.importorskip("torch")
    ids, mask, types = (np.asarray(array) for array in batch[:3])

    def run(rows):
        segments = {"token_type_ids": torch.tensor(types[rows]).long()} if token_types else {}
        tokens = {"input_ids": torch.tensor(ids[rows]).long(), "attention_mask": torch.tensor(mask[rows]).long()}
        with torch.inference_mode():
            return torch.stack(model(**tokens, **segments, output_hidden_states=True).hidden_states).numpy()

    return np.concatenate([run([i]) for i in range(len(ids))], 1) if rows_alone else run(np.arange(len(ids)))


def assert_same_vectors(model, ids, types, padding_side, batches, pad_type=0):
    """The first, last and mean vectors of a sentence alone, and at a row of batches of (rows, row, length)."""
    n_tokens = ids.size

    def vectors(model, ids, mask, types, row):
        hidden_states = model(ids, mask, types)[:, row]
        start = hidden_states.shape[1] - n_tokens if padding_side == "left" else 0
        mine = hidden_states[:, start : start + n_tokens]
        return jnp.stack([mine[:, 0], mine[:, -1], mine.mean(1)], axis=1).reshape(-1, model.config.hidden_size)

    pooled = jax.jit(vectors)
    alone = pooled(model, ids[None], np.ones((1, n_tokens), bool), types[None], 0)
    rng = np.random.default_rng(0)
    for n_rows, row, length in batches:
        mine = slice(length - n_tokens, length) if padding_side == "left" else slice(0, n_tokens)
        batch = rng.integers(0, model.config.vocab_size, (n_rows, length)).astype(np.int32)
        batch_types = np.full_like(batch, pad_type)
        mask = np.ones(batch.shape, bool)
        mask[row] = False
        batch[row, mine], batch_types[row, mine], mask[row, mine] = ids, types, True
        together = pooled(model, batch, mask, batch_types, row)
        for found, expected in zip(together, alone, strict=True):
            assert relative_error(found, expected) <= 1e-6


def assert_reduced_inside_the_scan(model, batch):
    """`reduce` is what every layer gives, and no array holds all layers of all tokens."""
    ids, mask, types = batch

    def pooled(hidden):
        return pooling.cls(hidden, jnp.arange(len(ids)) % 3).astype(jnp.bfloat16)

    rows = jax.jit(lambda *batch: model(*batch, pooled))(ids, mask, types)
    assert rows.dtype == jnp.bfloat16
    whole = jax.jit(lambda *batch: model(*batch))(ids, mask, types)
    np.testing.assert_array_equal(rows, jax.vmap(pooled)(whole))
    shape, jaxpr = whole.shape[1:], str(jax.make_jaxpr(lambda *batch: model(*batch, pooled))(ids, mask, types))
    assert f"f32[{','.join(map(str, shape))}]" in jaxpr
    assert f"f32[{','.join(map(str, (whole.shape[0] - 1, *shape)))}]" not in jaxpr
