"""Block Influence and angular distance over tokens, against float64 sums over the hidden states of single sentences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.small_models import MAX_LENGTH, TEXTS, write_encoder

from jaxred.activations.token_changes import token_changes
from jaxred.models import load_encoder
from jaxred.models.tokenization import Tokenizer


def made(tmp_path, model_type):
    folder = write_encoder(tmp_path / model_type, model_type)
    encoder = load_encoder(folder)
    tokenizer = Tokenizer(folder, encoder.config)
    return encoder, tokenizer, tokenizer.encode(TEXTS[:17], None, MAX_LENGTH)


def plain(encoder, tokens):
    """1 - cos and angle / pi of every token, layer and sentence, one sentence at a time."""
    changes = []
    for ids, types in zip(tokens.ids, tokens.token_type_ids, strict=True):
        arrays = np.asarray(ids)[None], np.ones((1, len(ids)), bool), np.asarray(types)[None]
        states = np.asarray(encoder(*map(jnp.asarray, arrays)), np.float64)[:, 0]
        length = np.linalg.norm(states, axis=-1)
        cos = np.sum(states[:-1] * states[1:], axis=-1) / (length[:-1] * length[1:])
        changes.append(np.stack([1 - cos, np.arccos(np.clip(cos, -1, 1)) / np.pi]))
    return changes


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "xlnet"])
def test_sums_over_packed_tokens_are_those_of_single_sentences(model_type, tmp_path):
    encoder, tokenizer, tokens = made(tmp_path, model_type)
    found, expected = token_changes(encoder, tokenizer, tokens), plain(encoder, tokens)
    for half in (0, 1):
        influence, angle = np.concatenate(expected[half::2], axis=2).mean(2)
        np.testing.assert_allclose(found.block_influence[half], influence, rtol=2e-5)
        np.testing.assert_allclose(found.angular_distance[half], angle, rtol=2e-5)
        assert found.n_tokens[half] == sum(len(ids) for ids in tokens.ids[half::2])
    assert found.n_sentences == 17


def test_a_layer_that_changes_nothing_has_no_influence(tmp_path):
    encoder, tokenizer, tokens = made(tmp_path, "gpt2")
    state = nnx.state(encoder.layers)
    silent = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.at[0].set(0) if "output" in jax.tree_util.keystr(path) else leaf, state
    )
    nnx.update(encoder.layers, silent)
    found = token_changes(encoder, tokenizer, tokens)
    np.testing.assert_array_equal(found.block_influence[:, 0], 0)
    np.testing.assert_array_equal(found.angular_distance[:, 0], 0)
    assert (found.block_influence[:, 1:] > 1e-6).all()
