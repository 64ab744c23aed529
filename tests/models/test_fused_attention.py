"""A device's own kernel of attention, as far as a machine without such a device can tell: JAX's plain implementation of
the same function takes its place.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.encoder_agreement import TINY, random_batch
from helpers.tiny_encoder import random_encoder

from jaxred.models import fused_attention
from jaxred.models.bert import Bert
from jaxred.models.encoder import Encoder
from jaxred.models.gemma2 import Gemma2
from jaxred.models.gpt2 import GPT2
from jaxred.models.llama import Llama
from jaxred.models.modernbert import ModernBert
from jaxred.models.mpnet import MPNet

FUSED = (Bert, GPT2, Llama, ModernBert, MPNet)


def encoder_of(encoder_type, dtype):
    config = dataclasses.replace(TINY[encoder_type], hidden_size=16)  # two heads of 8
    graph, state = nnx.split(random_encoder(encoder_type, config))
    if dtype == jnp.float32:
        return nnx.merge(graph, state)
    rounded = nnx.eval_shape(lambda: encoder_type(config, "bfloat16", rngs=nnx.Rngs(0)))
    graph, wanted = nnx.split(rounded)
    values = jax.tree.map(lambda value, like: value.astype(like.dtype), state, wanted)
    return nnx.merge(graph, values)


def vectors(encoder, batch):
    return np.asarray(jax.jit(lambda *batch: Encoder.__call__(encoder, *batch))(*batch), np.float32)


@pytest.fixture
def calls(monkeypatch):
    """With a kernel for this machine; how often it was traced."""
    traced = []
    real = jax.nn.dot_product_attention

    def counted(*arguments, **options):
        traced.append(options["implementation"])
        return real(*arguments, **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", counted)
    monkeypatch.setitem(fused_attention.KERNELS, "cpu", "xla")
    return traced


@pytest.mark.parametrize("encoder_type", FUSED, ids=lambda encoder_type: encoder_type.__name__)
def test_a_kernel_gives_the_vectors_of_bfloat16(encoder_type, calls, monkeypatch):
    batch = random_batch(encoder_of(encoder_type, jnp.float32).config)
    real = np.asarray(batch[1]) > 0
    exact = vectors(encoder_of(encoder_type, jnp.float32), batch)[:, real]
    assert not calls  # float32 is the reference
    rounded = encoder_of(encoder_type, jnp.bfloat16)
    every = vectors(rounded, batch)
    assert np.isfinite(every).all()  # what padding holds must not become part of anything
    fused = every[:, real]
    assert set(calls) == {"xla"}
    monkeypatch.delitem(fused_attention.KERNELS, "cpu")
    own = vectors(rounded, batch)[:, real]
    error, usual = (np.linalg.norm(found - exact) / np.linalg.norm(exact) for found in (fused, own))
    assert usual > 1e-4
    assert error < 2 * usual


def test_capped_scores_and_odd_heads_have_no_kernel(calls):
    vectors(encoder_of(Gemma2, jnp.bfloat16), random_batch(encoder_of(Gemma2, jnp.float32).config))
    assert not calls
    assert fused_attention.kernel_for(jnp.dtype(jnp.bfloat16), 6) is None
    assert fused_attention.kernel_for(jnp.dtype(jnp.bfloat16), 64) == "xla"
    assert fused_attention.kernel_for(jnp.dtype(jnp.float32), 64) is None
