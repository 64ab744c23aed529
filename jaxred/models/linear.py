"""The linear maps and embeddings that encoders are made of."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import Precision
from jaxtyping import Array, Float, Int

_BLOCK = 256  # of the inner axis
_TOKENS = 512  # whose scores a CPU takes at once


def linear(n_in: int, n_out: int, dtype: jnp.dtype, rngs: nnx.Rngs, bias: bool = True) -> nnx.Linear:
    """A linear map whose products are taken in `dtype`; in float32 they are true ones, in blocks."""
    return nnx.Linear(
        n_in,
        n_out,
        use_bias=bias,
        dtype=dtype,
        param_dtype=dtype,
        precision=Precision.HIGHEST,
        dot_general=_blocked_dot_general if dtype == jnp.float32 else jax.lax.dot_general,
        kernel_init=nnx.initializers.normal(0.02),
        rngs=rngs,
    )


class Embedding(nnx.Module):
    """Vectors by number, held in `dtype` and given in float32."""

    def __init__(self, n: int, size: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.embedding = nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), (n, size), dtype))

    def __call__(self, ids: Int[Array, "*shape"]) -> Float[Array, "*shape size"]:
        return jnp.take(self.embedding[...], ids, axis=0).astype(jnp.float32)


def product(x: Float[Array, "batch token inner"], kernel: Float[Array, "inner outer"]) -> Float[Array, "..."]:
    """The product x @ kernel in the kernel's type, as `linear` takes it, without a bias."""
    dot_general = _blocked_dot_general if kernel.dtype == jnp.float32 else jax.lax.dot_general
    return dot_general(x.astype(kernel.dtype), kernel, (((2,), (0,)), ((), ())), precision=Precision.HIGHEST)


def products(
    x: Float[Array, "batch token inner"],
    *kernels: Float[Array, "inner _"],
    wanted: Float[Array, "batch query inner"] | None = None,
) -> list[Float[Array, "batch ... _"]]:
    """`product` of x with each of the kernels, taken as one, which is faster than separately.

    The first kernel's, the queries', is of the tokens that are `wanted`, where only some are.
    """
    if wanted is not None:
        return [product(wanted, kernels[0]), *products(x, *kernels[1:])]
    ends = list(itertools.accumulate(kernel.shape[1] for kernel in kernels))
    return jnp.split(product(x, jnp.concatenate(kernels, axis=1)), ends[:-1], axis=-1)


def mapped(
    x: Float[Array, "batch token inner"], *maps: nnx.Linear, wanted: Float[Array, "batch query inner"] | None = None
) -> list[Float[Array, "batch ... outer"]]:
    """Several linear maps of one input, by `products`."""
    outputs = products(x, *(each.kernel[...] for each in maps), wanted=wanted)
    return [y if each.bias is None else y + each.bias[...][None, None] for y, each in zip(outputs, maps, strict=True)]


def _blocked_dot_general(
    x: Float[Array, "*batch inner"], kernel: Float[Array, "inner outer"], dimension_numbers: Any, **kwargs: Any
) -> Float[Array, "*batch outer"]:
    """`jax.lax.dot_general` of x and kernel in true float32, as a sum of products over blocks of the inner axis."""
    del dimension_numbers, kwargs
    return _blocked_product(x, kernel)


@jax.custom_vjp
def _blocked_product(
    x: Float[Array, "*batch inner"], kernel: Float[Array, "inner outer"]
) -> Float[Array, "*batch outer"]:
    """X @ kernel, as a sum of products over blocks of the inner axis.

    The rounding of a float32 sum grows with its length, and XLA's order of summation changes with the number of rows.
    Summed whole, a sentence's mean vector alone and in a batch can differ by more than 1e-6; in blocks it does not.
    In training, where no vector is compared with another batch's, products are plain ones: they compile and run faster
    (benchmarks/finetuning.py).
    """
    products = (
        jnp.dot(x[..., start : start + _BLOCK], kernel[start : start + _BLOCK], precision=Precision.HIGHEST)
        for start in range(0, kernel.shape[0], _BLOCK)
    )
    return functools.reduce(jnp.add, products)


def _blocked_product_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return jnp.dot(x, kernel, precision=Precision.HIGHEST), (x, kernel)


def _blocked_product_backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    of_x = jnp.dot(gradient, kernel.T, precision=Precision.HIGHEST)
    rows, gradients = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    return of_x, jnp.dot(rows.T, gradients, precision=Precision.HIGHEST)


_blocked_product.defvjp(_blocked_product_forward, _blocked_product_backward)


def mapped_in_parts(function: Callable[..., Array], at_once: int | None, *arrays: Array) -> Array:
    """`function` over the leading axis of arrays, so many entries at once, one part after the other; None: all."""
    n = arrays[0].shape[0]
    if at_once is None or not isinstance(n, int) or n <= at_once:  # no loop, nor in a program for any number of entries
        return jax.vmap(function)(*arrays)
    return jax.lax.map(lambda entry: function(*entry), arrays, batch_size=at_once)


def over_sentences(
    attend: Callable[..., Float[Array, "query hidden"]], *trees: Any
) -> Float[Array, "batch query hidden"]:
    """`attend` of every sentence: of what trees of arrays [batch, query, ...], [batch, token, ...] hold of it.

    The first array has every sentence; of the others, one with a leading axis of 1 is the same for all. On a CPU a few
    sentences are taken at a time, so that their scores stay in its cache.
    """
    leaves, structure = jax.tree.flatten(trees)
    n_sentences, n_tokens = leaves[0].shape[:2]
    at_once = None
    if jax.default_backend() == "cpu" and isinstance(n_sentences, int):
        least = math.gcd(n_sentences, 1 << (_TOKENS // n_tokens).bit_length() >> 1)  # a power of two, without remainder
        at_once = max(least, 1)
    own = [leaf.shape[0] == n_sentences for leaf in leaves]

    def attend_one(*mapped_leaves: Array) -> Float[Array, "query hidden"]:
        own_leaves = iter(mapped_leaves)
        one = [next(own_leaves) if is_own else leaf[0] for leaf, is_own in zip(leaves, own, strict=True)]
        return attend(*jax.tree.unflatten(structure, one))

    arrays = [leaf for leaf, is_own in zip(leaves, own, strict=True) if is_own]
    return mapped_in_parts(attend_one, at_once, *arrays)
