"""Attention by a device's own kernel, where JAX has one: the scores of all pairs of tokens are never written to memory.

It is of bfloat16 alone, and so of `config.encoder.compute_dtype=bfloat16`; float32 is the reference.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

KERNELS = {"gpu": "cudnn"}  # as `jax.nn.dot_product_attention` calls them, by backend
LARGEST_HEAD, STEP_OF_HEAD = 128, 8  # sizes of a head that they take


def kernel_for(dtype: jnp.dtype, size_of_head: int) -> str | None:
    """The kernel for queries of a type and size, or None."""
    fits = dtype == jnp.bfloat16 and size_of_head <= LARGEST_HEAD and size_of_head % STEP_OF_HEAD == 0
    return KERNELS.get(jax.default_backend()) if fits else None


def fused_attention(
    query: Float[Array, "batch query head size"],
    key: Float[Array, "batch token key_head size"],
    value: Float[Array, "batch token key_head size"],
    visible: Bool[Array, "_ _ token"],
    bias: Float[Array, "_ head query token"] | None,
    divisor: float,
    kernel: str,
) -> Float[Array, "batch query head size"]:
    """softmax(Q K^T / divisor + bias) V by head, of the tokens that each query sees."""
    by: Any = kernel
    bias = None if bias is None else bias.astype(query.dtype)
    return jax.nn.dot_product_attention(query, key, value, bias, visible[:, None], scale=1 / divisor, implementation=by)
