"""Count, mean and centred second moments of all neurons together, one block of rows at a time.

Rows are shifted by an early mean before they are multiplied, so that nothing cancels when the mean is far from zero.
Products are true float32 (on GPUs and TPUs the default is coarser).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class MomentSums(NamedTuple):
    """Running sums over rows; `low` and `high` tell constant neurons exactly."""

    count: Float[Array, ""]
    shift: Float[Array, " neuron"]
    total: Float[Array, " neuron"]  # sum of x - shift
    products: Float[Array, "neuron neuron"]  # sum of (x - shift)(x - shift)^T
    low: Float[Array, " neuron"]
    high: Float[Array, " neuron"]


def start(shift: Float[Array, " neuron"]) -> MomentSums:
    """Empty sums around a shift, which should be near the mean."""
    n = shift.shape[0]
    infinite = jnp.full(n, jnp.inf, shift.dtype)
    zeros = jnp.zeros(n, shift.dtype)
    return MomentSums(jnp.zeros((), shift.dtype), shift, zeros, jnp.zeros((n, n), shift.dtype), infinite, -infinite)


def update(sums: MomentSums, block: Float[Array, "row neuron"], used: Bool[Array, " row"]) -> MomentSums:
    """Adds the rows of a block that are used; the others are there to keep its shape."""
    mask = used[:, None]
    shifted = jnp.where(mask, block - sums.shift, 0)
    return MomentSums(
        sums.count + jnp.sum(used),
        sums.shift,
        sums.total + jnp.sum(shifted, axis=0),
        sums.products + jnp.dot(shifted.T, shifted, precision=jax.lax.Precision.HIGHEST),
        jnp.minimum(sums.low, jnp.min(jnp.where(mask, block, jnp.inf), axis=0)),
        jnp.maximum(sums.high, jnp.max(jnp.where(mask, block, -jnp.inf), axis=0)),
    )


def finish(
    sums: MomentSums,
) -> tuple[Float[Array, " neuron"], Float[Array, "neuron neuron"], Bool[Array, " neuron"]]:
    """Mean, centred second moments sum (x - mean)(x - mean)^T, and which neurons are constant (their moments are
    exact zeros).
    """
    offset = sums.total / sums.count
    constant = sums.low == sums.high
    moments = sums.products - jnp.outer(sums.total, offset)
    moments = jnp.where(constant[:, None] | constant[None, :], 0, moments)
    return sums.shift + offset, moments, constant
