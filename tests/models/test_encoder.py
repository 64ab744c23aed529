"""What every architecture must hold beside agreement with PyTorch, which is its own test's."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.encoder_agreement import (
    TINY,
    assert_same_vectors,
    assert_same_weights,
    random_batch,
    random_tiny,
    relative_error,
)

from jaxred.errors import UserError
from jaxred.models import checkpoint, load_encoder, pooling
from jaxred.models.albert import Albert
from jaxred.models.bert import Bert
from jaxred.models.deberta import DebertaV2
from jaxred.models.encoder import Encoder
from jaxred.models.gemma2 import Gemma2
from jaxred.models.gemma3 import Gemma3
from jaxred.models.llama import Llama
from jaxred.models.xlnet import XLNet

forward = jax.jit(Encoder.__call__)  # of one shape of batch, so that an architecture is compiled few times
at = jax.jit(Encoder.at)

# What bfloat16 costs at most; of the others 2e-2.
ROUNDING = dict.fromkeys((XLNet, Llama, Gemma2, Gemma3), 3e-2)
# How far one compilation may be from another, beside 1e-5 of it; of the others 1e-6.
COMPILED = dict.fromkeys((XLNet, Llama, Gemma2, Gemma3), 1e-5)
# XLNet's further products are of the distances, and of the queries with them; DeBERTa's also of the keys with them and
# of the embeddings, as ALBERT's; the others have 6.
PRODUCTS = {Albert: 7, DebertaV2: 10, XLNet: 8}

every_encoder = pytest.mark.parametrize("encoder_type", TINY, ids=lambda encoder_type: encoder_type.__name__)


@pytest.fixture(scope="module", params=TINY, ids=lambda encoder_type: encoder_type.__name__)
def model(request):
    return random_tiny(request.param)


@pytest.fixture
def batch(model):
    return random_batch(model.config)


def sentence_token(config):
    """A token that sees all others."""
    return 0 if config.tokens.sentence_position == "first" else -1


# What must not change a sentence's vectors, and what must ----------------------------------------------------------


def test_same_vectors_alone_in_a_batch_and_padded(model):
    ids, _, types = random_batch(model.config, n_tokens=9)
    assert_same_vectors(model, ids[0], types[0], ((1, 0, 10), (4, 3, 9), (4, 2, 16)))


def test_padding_tokens_do_not_matter_and_empty_rows_are_finite(model, batch):
    ids, mask, types = batch
    mask[-1] = False
    hidden_states = np.asarray(forward(model, ids, mask, types))
    others = np.asarray(forward(model, np.where(mask, ids, (ids + 1) % 37), mask, np.where(mask, types, 1)))
    assert np.isfinite(hidden_states).all()
    np.testing.assert_array_equal(hidden_states[:, mask], others[:, mask])
    zero_at_padding = isinstance(model, DebertaV2)
    assert np.array_equal(hidden_states, others) == zero_at_padding


def test_tokens_their_order_the_mask_and_segments_matter(model, batch):
    ids, mask, types = batch
    ids[0] = np.arange(9)
    at = sentence_token(model.config)
    hidden_states = np.asarray(forward(model, ids, mask, types))[-1, 0, at]
    swapped, types_changed, mask_changed = ids.copy(), types.copy(), mask.copy()
    swapped[0, 3:5] = ids[0, 4:2:-1]
    types_changed[0, 3] = 1 - types[0, 3]
    mask_changed[0, 4] = False
    changed = [(swapped, mask, types), (ids, mask_changed, types)]
    if model.config.type_vocab_size:
        changed.append((ids, mask, types_changed))
    for other in changed:
        assert relative_error(np.asarray(forward(model, *other))[-1, 0, at], hidden_states) > 1e-3


# Fewer layers, less output, another type ---------------------------------------------------------------------------


@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_first_layers(model, batch, n_layers):
    cut = model.first_layers(n_layers)
    assert (cut.config.n_layers, model.config.n_layers) == (n_layers, 3)
    found_layers, all_layers = (np.asarray(forward(encoder, *batch)) for encoder in (cut, model))
    for found, expected in zip(found_layers, all_layers[: n_layers + 1], strict=True):
        assert relative_error(found, expected) <= 5e-7  # not bit-equal: XLA unrolls a scan of one layer
    assert sum(leaf.size for leaf in jax.tree.leaves(cut)) == model.n_parameters(n_layers) == cut.n_parameters(n_layers)


@pytest.mark.parametrize(
    ("encoder_type", "fields", "n_layers", "lengths"),
    [
        *((encoder_type, {}, n_layers, (9,)) for encoder_type in TINY for n_layers in (0, 1)),
        *((encoder_type, {}, 3, (1, 16)) for encoder_type in TINY),
        (XLNet, {"attn_type": "uni"}, 3, (9,)),
        (XLNet, {"attn_type": "uni", "same_length": True}, 3, (9,)),
    ],
)
def test_one_token_of_each_row_is_that_of_all_tokens(encoder_type, fields, n_layers, lengths):
    model = random_tiny(encoder_type, n_layers=n_layers, **fields)
    for seed, n_tokens in enumerate(lengths):
        batch = random_batch(model.config, n_tokens=n_tokens, seed=seed)
        positions = np.random.default_rng(seed).integers(0, n_tokens, 4)
        found = np.asarray(at(model, positions[:, None], *batch))[:, :, 0]
        assert found.shape == (n_layers + 1, 4, 12)
        for layer, expected in zip(found, np.asarray(forward(model, *batch))[:, np.arange(4), positions], strict=True):
            assert relative_error(layer, expected) <= 1e-6


def test_of_one_token_a_row_the_last_layer_computes_no_other(model, batch):
    jaxpr = jax.make_jaxpr(lambda *batch: model.at(jnp.zeros((4, 1), int), *batch))(*batch)
    shapes = [equation.outvars[0].aval.shape for equation in jaxpr.eqns]  # those inside the scan are not among them
    assert (4, 1, 20) in shapes
    assert (4, 9, 20) not in shapes


def test_one_token_of_a_batch_longer_than_the_positions_is_refused():
    model = random_tiny(Bert)
    with pytest.raises(UserError, match=r"17 tokens per row does not fit the model's 16 positions: lower .*max_length"):
        model.at(jnp.zeros((4, 1), int), *map(jnp.asarray, random_batch(model.config, n_tokens=17)))


@pytest.mark.parametrize("n_layers", [-1, 4])
def test_layers_that_do_not_exist(model, n_layers):
    with pytest.raises(ValueError, match="between 0 and the model's 3"):
        model.first_layers(n_layers)
    with pytest.raises(ValueError, match="between 0 and the model's 3"):
        model.n_parameters(n_layers)


def test_reduce_is_applied_to_every_layer_inside_the_scan(model, batch):
    ids = batch[0]

    def pooled(hidden):
        return pooling.at(hidden, (jnp.arange(len(ids)) % 3)[:, None]).astype(jnp.bfloat16)

    rows = jax.jit(lambda model, *batch: model(*batch, pooled))(model, *batch)
    assert rows.dtype == jnp.bfloat16
    np.testing.assert_array_equal(rows, jnp.stack([*map(pooled, forward(model, *batch))]))
    jaxpr = str(jax.make_jaxpr(lambda *batch: model(*batch, pooled))(*batch))
    assert "f32[4,9,12]" in jaxpr  # one layer's tokens
    assert "f32[3,4,9,12]" not in jaxpr  # never every layer's


def test_every_product_is_true_float32(model, batch):
    jaxpr = str(jax.make_jaxpr(model.__call__)(*batch))
    n_exact = jaxpr.count("precision=(Precision.HIGHEST, Precision.HIGHEST)")
    assert jaxpr.count("dot_general[") == n_exact == PRODUCTS.get(type(model), 6)


def test_bfloat16_multiplies_in_bfloat16_and_keeps_the_rest_in_float32(tmp_path, model, batch):
    checkpoint.save(model, tmp_path)
    rounded = load_encoder(tmp_path, compute_dtype="bfloat16")
    exact = np.asarray(forward(model, *batch))
    with jax.numpy_dtype_promotion("strict"):
        found = np.asarray(forward(rounded, *batch))
    types = {".".join(path): leaf.dtype for path, leaf in nnx.to_flat_state(nnx.state(rounded))}
    assert types["layers.feed_forward.output.kernel"] == types["embeddings.word.embedding"] == jnp.bfloat16
    norms = {dtype for name, dtype in types.items() if name.endswith(".scale")}
    assert norms == {found.dtype} == {jnp.dtype(jnp.float32)}
    for layer in range(4):
        assert 1e-4 < relative_error(found[layer][batch[1]], exact[layer][batch[1]]) < ROUNDING.get(type(model), 2e-2)
    jaxpr = str(jax.make_jaxpr(rounded.__call__)(*batch))
    assert jaxpr.count("dot_general[") == PRODUCTS.get(type(model), 6)
    activation = {"gelu": "erf", "gelu_new": "tanh", "silu": "logistic", "gelu_pytorch_tanh": "tanh"}[
        model.config.hidden_act
    ]
    for function in ("exp", activation, "rsqrt"):
        lines = [line for line in jaxpr.splitlines() if f"= {function} " in line]
        assert lines
        assert all("f32" in line for line in lines)


@every_encoder
def test_a_batch_longer_than_the_positions_is_refused(encoder_type):
    config = TINY[encoder_type]
    if encoder_type is XLNet:
        assert forward(random_tiny(XLNet), *random_batch(config, n_tokens=17)).shape == (4, 4, 17, 12)
        return
    with pytest.raises(UserError, match=r"17 tokens per row does not fit the model's 16 positions: lower .*max_length"):
        forward(random_tiny(encoder_type), *random_batch(config, n_tokens=17))


# As a piece of JAX -------------------------------------------------------------------------------------------------


@every_encoder
def test_layers_are_stacked_and_drawn_apart(encoder_type):
    layers = encoder_type(TINY[encoder_type], rngs=nnx.Rngs(0)).layers
    n_stored = 1 if encoder_type is Albert else 3
    assert {leaf.shape[0] for leaf in jax.tree.leaves(layers)} == {n_stored}
    if n_stored == 1:
        return
    assert not np.allclose(layers.feed_forward.output.kernel[0], layers.feed_forward.output.kernel[1])


def test_split_merge_jit_and_strict_promotion(model, batch):
    graphdef, state = nnx.split(model)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        found = jax.jit(lambda state, *batch: nnx.merge(graphdef, state)(*batch))(state, *batch)
    np.testing.assert_allclose(found, forward(model, *batch), rtol=1e-5, atol=COMPILED.get(type(model), 1e-6))


IN_TREE_MODE = """
import dataclasses, sys, jax, numpy as np
from pathlib import Path
from flax import nnx
from jaxred.models import load_encoder
for folder in map(Path, sys.argv[1:]):
    model = load_encoder(folder / "model", n_layers=2)
    batch = np.load(folder / "batch.npz")
    graphdef, state = nnx.split(model)
    hidden_states = jax.jit(lambda state, *batch: nnx.merge(graphdef, state)(*batch))(state, *batch.values())
    np.save(folder / "found.npy", hidden_states)
    whole = dataclasses.replace(model.config, n_layers=3)
    assert type(model)(whole, rngs=nnx.Rngs(0)).n_parameters(2) == model.n_parameters(2)
"""


@pytest.fixture(scope="module")
def in_tree_mode(tmp_path_factory):
    """A folder an architecture with what it gives in flax's tree mode, which is chosen when flax is imported."""
    folders = {encoder_type: tmp_path_factory.mktemp(encoder_type.__name__) for encoder_type in TINY}
    for encoder_type, folder in folders.items():
        model = random_tiny(encoder_type)
        checkpoint.save(model, folder / "model")
        np.savez(folder / "batch.npz", *random_batch(model.config))
    environment = {**os.environ, "NNX_GRAPH_MODE": "false", "NNX_GRAPH_UPDATES": "false"}
    subprocess.run([sys.executable, "-c", IN_TREE_MODE, *folders.values()], env=environment, check=True)
    return folders


def test_tree_mode(in_tree_mode, model, batch):
    expected, found = forward(model, *batch)[:3], np.load(in_tree_mode[type(model)] / "found.npy")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=COMPILED.get(type(model), 1e-6))


def test_round_trip_is_bit_exact(tmp_path, model):
    checkpoint.save(model, tmp_path)
    assert_same_weights(load_encoder(tmp_path), model)


def test_an_encoder_says_what_it_is(model):
    n_layers, size = model.config.n_layers, model.config.hidden_size
    expected = (
        f"<{type(model).__name__}: {n_layers} layers x {size} neurons, {model.n_parameters(n_layers):,} parameters>"
    )
    assert repr(model) == str(model) == expected


def packed(config, lengths, length, seed=0):
    """Random sentences, each alone in a row with padding, and together in rows of a length: numbers, and where each
    starts.
    """
    random, rows, starts = np.random.default_rng(seed), [], []
    at = length
    for size in lengths:
        if at + size > length:
            rows.append([np.zeros(length, np.int32) for _ in range(3)])
            at, number = 0, 0
        number += 1
        ids, types = (
            random.integers(1, config.vocab_size, size),
            random.integers(0, max(config.type_vocab_size, 1), size),
        )
        for array, values in zip(rows[-1], (ids, np.full(size, number), types), strict=True):
            array[at : at + size] = values
        starts.append((len(rows) - 1, at))
        at += size
    return [np.stack(arrays) for arrays in zip(*rows, strict=True)], starts


@every_encoder
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_sentence_has_the_same_vectors_beside_others_in_its_row(encoder_type, side):
    model = random_tiny(encoder_type)
    lengths = [5, 3, 1, 9, 2, 2, 4, 6]
    (ids, numbers, types), starts = packed(model.config, lengths, 14)
    found = np.asarray(forward(model, *map(jnp.asarray, (ids, numbers, types))))
    for size, (row, start) in zip(lengths, starts, strict=True):
        own = slice(start, start + size)
        alone = [np.zeros((4, 9), np.int32), np.zeros((4, 9), bool), np.zeros((4, 9), np.int32)]
        place = slice(0, size) if side == "right" or model.config.tokens.padding_side == "right" else slice(9 - size, 9)
        alone[0][0, place], alone[1][0, place], alone[2][0, place] = ids[row, own], True, types[row, own]
        expected = np.asarray(forward(model, *map(jnp.asarray, alone)))[:, 0, place]
        for layer, of_layer in zip(found[:, row, own], expected, strict=True):
            assert relative_error(layer, of_layer) <= COMPILED.get(encoder_type, 1e-6)


@every_encoder
def test_some_tokens_of_packed_rows_are_those_of_all(encoder_type):
    model = random_tiny(encoder_type)
    batch, _ = packed(model.config, [5, 3, 1, 9, 2, 2, 4, 6], 14, seed=1)
    arrays = [*map(jnp.asarray, batch)]
    positions = np.array([[0, 5, 8], [0, 9, 11], [0, 4, 4]])
    found = np.asarray(at(model, jnp.asarray(positions), *arrays))
    everything = np.asarray(forward(model, *arrays))
    for layer, of_all in zip(found, everything, strict=True):
        expected = np.take_along_axis(of_all, positions[:, :, None], axis=1)
        assert relative_error(layer, expected) <= 1e-6
