"""The linear maps and layer norms that encoders are made of."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import Precision
from jaxtyping import Array, Float

_TILE = 512  # tokens


def linear(n_in: int, n_out: int, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Linear:
    """A linear map with a bias whose products are taken in `dtype`; in float32 they are true ones, in tiles."""
    return nnx.Linear(
        n_in,
        n_out,
        dtype=dtype,
        param_dtype=dtype,
        precision=Precision.HIGHEST,
        dot_general=_tiled_dot_general if dtype == jnp.float32 else jax.lax.dot_general,
        kernel_init=nnx.initializers.normal(0.02),
        rngs=rngs,
    )


def layer_norm(size: int, epsilon: float, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """A layer norm in float32 whose variance is that of the centred values."""
    return nnx.LayerNorm(size, epsilon=epsilon, use_fast_variance=False, rngs=rngs)


def product(x: Float[Array, "batch token inner"], kernel: Float[Array, "inner outer"]) -> Float[Array, "..."]:
    """The product x @ kernel in the kernel's type, as `linear` takes it, without a bias."""
    dot_general = _tiled_dot_general if kernel.dtype == jnp.float32 else jax.lax.dot_general
    return dot_general(x.astype(kernel.dtype), kernel, (((2,), (0,)), ((), ())), precision=Precision.HIGHEST)


def products(
    x: Float[Array, "batch token inner"], *kernels: Float[Array, "inner outer"]
) -> list[Float[Array, "batch token outer"]]:
    """`product` of x with each of the kernels, which share a shape, taken as one, which is faster than apart."""
    return jnp.split(product(x, jnp.concatenate(kernels, axis=1)), len(kernels), axis=-1)


def mapped(x: Float[Array, "batch token inner"], *maps: nnx.Linear) -> list[Float[Array, "batch token outer"]]:
    """Several linear maps of x, all of one shape, by one product."""
    found = products(x, *(each.kernel[...] for each in maps))
    return [y if each.bias is None else y + each.bias[...][None, None] for y, each in zip(found, maps, strict=True)]


def _tiled_dot_general(
    x: Float[Array, "batch token inner"], kernel: Float[Array, "inner outer"], dimension_numbers: Any, **kwargs: Any
) -> Float[Array, "batch token outer"]:
    """`jax.lax.dot_general` of x and kernel, a tile of tokens at a time.

    XLA's order of summation changes with the number of rows, so that a sentence's vectors would depend on its company.
    Tiles are all of one size, filled up with zeros, so that they do not; on a CPU they also stay in the cache.
    Accelerators take the product whole.
    """
    if jax.default_backend() != "cpu":
        return jax.lax.dot_general(x, kernel, dimension_numbers, **kwargs)
    rows = x.reshape(-1, x.shape[-1])
    missing = -len(rows) % _TILE
    tiles = jnp.pad(rows, ((0, missing), (0, 0))).reshape(-1, _TILE, x.shape[-1])
    found = jax.lax.map(lambda tile: jnp.dot(tile, kernel, **kwargs), tiles)
    return found.reshape(-1, kernel.shape[1])[: len(rows)].reshape(*x.shape[:-1], -1)
