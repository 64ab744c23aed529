"""An encoder as one compiled function, from a padded batch to the vectors that are kept."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxred.activations.batching import WordSlots
from jaxred.models import Encoder, pooling
from jaxred.models.tokenization import PaddedBatch


def encode_fn(
    model: Encoder, pooling_name: str, dtype: str, neurons: tuple[np.ndarray, np.ndarray] | None = None
) -> Callable[..., jax.Array]:
    """A compiled function from a padded batch to its vectors, [row, layer, neuron]; or to some neurons, [row, neuron],
    whose layers and indices `neurons` has.

    Of the poolings of sentences (cls, last, mean, max) it takes the batch, and a row is a sentence; of those of words
    (last, first, average) it takes the batch and its `WordSlots`, and a row is a slot. They come in the stored dtype,
    except that float16 comes from a CPU as float32: XLA has no float16 on CPUs without F16C. Nothing else leaves the
    device.
    """
    graph, state = nnx.split(model)
    given_dtype = "float32" if dtype == "float16" and jax.default_backend() == "cpu" else dtype

    @functools.partial(jax.jit, compiler_options=_compiler_options(state))
    def encode(state: Any, batch: PaddedBatch, words: WordSlots | None = None) -> jax.Array:
        input_ids, attention_mask, token_type_ids, positions = (jnp.asarray(array) for array in batch)
        encoder, tokens = nnx.merge(graph, state), (input_ids, attention_mask, token_type_ids)
        if pooling_name in ("cls", "last") and words is None:
            at = positions if pooling_name == "cls" else pooling.last_positions(attention_mask)
            vectors = encoder.at(at, *tokens)
        else:
            vectors = encoder(*tokens, _pool(pooling_name, attention_mask, words))
        if neurons is not None:
            return vectors[neurons[0], :, neurons[1]].swapaxes(0, 1).astype(given_dtype)
        return vectors.swapaxes(0, 1).astype(given_dtype)

    return functools.partial(encode, state)


def _compiler_options(state: Any) -> dict[str, str] | None:
    """What keeps a CPU from holding a second copy of bfloat16 weights.

    XLA multiplies bfloat16 numbers as float32 on CPUs, and would convert the kernels of all layers before the scan over
    them: twice the weights' memory beside them (benchmarks/loading_memory.py). In the scan, a layer's are converted.
    """
    rounded = any(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(state))
    if jax.default_backend() != "cpu" or not rounded:
        return None
    return {"xla_disable_hlo_passes": "while-loop-invariant-code-motion"}


def _pool(name: str, attention_mask: jax.Array, words: WordSlots | None) -> Callable[..., Any]:
    """What is kept of one layer's hidden states."""
    if words is None:
        of_sentence = {"mean": pooling.mean, "max": pooling.max}[name]
        return functools.partial(of_sentence, attention_mask=attention_mask)
    slots = [jnp.asarray(array) for array in words]
    return lambda hidden_states: pooling.words(name, hidden_states, *slots)
