"""Count, mean and second moments of all neurons together, one block of rows at a time.

Rows are shifted by an early mean before they are multiplied, so that nothing cancels when the mean is far from zero.
Products are true float32 (on GPUs and TPUs the default is coarser), and only those on and above the diagonal are
taken, in few and large pieces: the corner between the first half of the neurons and the second, then the same within
each half, and so on down to small squares on the diagonal, which are taken whole.
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
    """Sums over no rows; in NumPy, where zeros of many shapes need no compiling."""
    zeros, infinite = np.zeros(n_neurons, np.float32), np.full(n_neurons, np.inf, np.float32)
    norms, weighted = np.zeros((n_layers, n_layers), np.float32), np.zeros((n_layers, n_neurons), np.float32)
    return RowSums(np.zeros((), np.float32), zeros, infinite, -infinite, norms, weighted)


def shifted(
    block: Float[Array, "row neuron"], used: Bool[Array, " row"], shift: Float[Array, " neuron"]
) -> Float[Array, "row neuron"]:
    """The rows of a block that are used, shifted; the others, which are there to keep its shape, are zeros."""
    return jnp.where(used[:, None], block - shift[None], 0)


def add_rows(
    sums: RowSums,
    block: Float[Array, "row neuron"],
    used: Bool[Array, " row"],
    shifted_block: Float[Array, "row neuron"],
) -> RowSums:
    """Adds the rows of a block that are used."""
    mask, highest = used[:, None], jax.lax.Precision.HIGHEST
    squares = jnp.square(shifted_block).reshape(len(block), len(sums.norms), -1).sum(2)
    ones_and_squares = jnp.concatenate([jnp.ones((len(block), 1)), squares], axis=1)  # one product is one read of rows
    total_and_weighted = jnp.dot(ones_and_squares.T, shifted_block, precision=highest)
    return RowSums(
        sums.count + jnp.sum(used),
        sums.total + total_and_weighted[0],
        jnp.minimum(sums.low, jnp.min(jnp.where(mask, block, jnp.inf), axis=0)),
        jnp.maximum(sums.high, jnp.max(jnp.where(mask, block, -jnp.inf), axis=0)),
        sums.norms + jnp.dot(squares.T, squares, precision=highest),
        sums.weighted + total_and_weighted[1:],
    )


class Place(NamedTuple):
    """Where products stand in the matrix of all: of the neurons from top to bottom with those from left to right."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def rows(self) -> slice:
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.right)

    @property
    def is_corner(self) -> bool:
        """Above the diagonal, so that what stands there stands below it too; else a part of a square on it."""
        return self.left >= self.bottom


def places(n_neurons: int, at_most: int, start: int = 0) -> list[Place]:
    """Of all products on and above the diagonal, by halving until squares are of `at_most` neurons or fewer."""
    if n_neurons <= at_most:
        return [Place(start, start + n_neurons, start, start + n_neurons)]
    half = n_neurons // 2
    corner = Place(start, start + half, start + half, start + n_neurons)
    return [*places(half, at_most, start), corner, *places(n_neurons - half, at_most, start + half)]


def no_products(where: Sequence[Place]) -> tuple[Float[np.ndarray, "_row _column"], ...]:
    """The products at some places, over no rows."""
    return tuple(np.zeros((place.bottom - place.top, place.right - place.left), np.float32) for place in where)


def add_products(
    products: tuple[Float[Array | np.ndarray, "_row _column"], ...],
    where: Sequence[Place],
    shifted_block: Float[Array, "row neuron"],
) -> tuple[Float[Array, "_row _column"], ...]:
    """Adds the products u^T u of a block's rows, at the places where they stand."""
    highest = jax.lax.Precision.HIGHEST
    return tuple(
        jnp.add(product, jnp.dot(shifted_block[:, place.rows].T, shifted_block[:, place.columns], precision=highest))
        for product, place in zip(products, where, strict=True)
    )
