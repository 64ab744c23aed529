"""Count, mean and second moments of all neurons together, one block of rows at a time.

Rows are shifted by an early mean before they are multiplied, so that nothing cancels when the mean is far from zero.
Products are true float32 (on GPUs and TPUs the default is coarser), and only those on and above the diagonal are
taken: strip i holds the products of tile i's neurons with those of tile i and of all tiles after it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


class RowSums(NamedTuple):
    """Running sums over rows, of the shifted activations u = x - shift; `low` and `high` tell constants exactly."""

    count: Float[Array | np.ndarray, ""]
    total: Float[Array | np.ndarray, " neuron"]  # sum of u
    low: Float[Array | np.ndarray, " neuron"]  # of x
    high: Float[Array | np.ndarray, " neuron"]
    norms: Float[Array | np.ndarray, "layer layer"]  # sum of |u_l|^2 |u_m|^2, over the neurons of layers l and m
    weighted: Float[Array | np.ndarray, "layer neuron"]  # sum of |u_l|^2 u


def no_rows(n_neurons: int, n_layers: int) -> RowSums:
    """Sums over no rows."""
    zeros, infinite = jnp.zeros(n_neurons), jnp.full(n_neurons, jnp.inf)
    norms, weighted = jnp.zeros((n_layers, n_layers)), jnp.zeros((n_layers, n_neurons))
    return RowSums(jnp.zeros(()), zeros, infinite, -infinite, norms, weighted)


def add_rows(
    sums: RowSums, block: Float[Array, "row neuron"], used: Bool[Array, " row"], shift: Float[Array, " neuron"]
) -> RowSums:
    """Adds the rows of a block that are used; the others are there to keep its shape."""
    mask, highest = used[:, None], jax.lax.Precision.HIGHEST
    shifted = jnp.where(mask, block - shift, 0)
    squares = jnp.square(shifted).reshape(len(block), len(sums.norms), -1).sum(2)
    ones_and_squares = jnp.concatenate([jnp.ones((len(block), 1)), squares], axis=1)  # one product is one read of rows
    total_and_weighted = jnp.dot(ones_and_squares.T, shifted, precision=highest)
    return RowSums(
        sums.count + jnp.sum(used),
        sums.total + total_and_weighted[0],
        jnp.minimum(sums.low, jnp.min(jnp.where(mask, block, jnp.inf), axis=0)),
        jnp.maximum(sums.high, jnp.max(jnp.where(mask, block, -jnp.inf), axis=0)),
        sums.norms + jnp.dot(squares.T, squares, precision=highest),
        sums.weighted + total_and_weighted[1:],
    )


def no_products(n_neurons: int, tile: int, tiles: Sequence[int]) -> tuple[Float[Array, "tile rest"], ...]:
    """The strips of some tiles, over no rows."""
    return tuple(jnp.zeros((tile, n_neurons - i * tile)) for i in tiles)


def add_products(
    strips: tuple[Float[Array, "tile rest"], ...],
    block: Float[Array, "row neuron"],
    used: Bool[Array, " row"],
    shift: Float[Array, " neuron"],
) -> tuple[Float[Array, "tile rest"], ...]:
    """Adds the products u^T u of a block's used rows to some strips, which their widths tell apart."""
    shifted = jnp.where(used[:, None], block - shift, 0)
    added = []
    for strip in strips:
        tile, rest = strip.shape
        right = shifted[:, shifted.shape[1] - rest :]
        added.append(strip + jnp.dot(right[:, :tile].T, right, precision=jax.lax.Precision.HIGHEST))
    return tuple(added)
