"""Cosines and angles between the layers of each row, summed over rows in a stream."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

BLOCK_ROWS = 256  # rows per call of the compiled function


@dataclass(frozen=True)
class CosineSums:
    """Sums over rows, of all pairs of layers. A zero vector has no cosine: its pairs are not counted."""

    n_rows: Float[np.ndarray, "layer layer"]  # in which both layers have a vector that is not 0
    one_minus_cosine: Float[np.ndarray, "layer layer"]
    angle: Float[np.ndarray, "layer layer"]  # arccos / pi

    @classmethod
    def none(cls, n_layers: int) -> "CosineSums":
        """Sums over no rows."""
        return cls(*np.zeros((3, n_layers, n_layers)))

    def __add__(self, other: "CosineSums") -> "CosineSums":
        return CosineSums(
            self.n_rows + other.n_rows, self.one_minus_cosine + other.one_minus_cosine, self.angle + other.angle
        )

    def block_influence(self) -> Float[np.ndarray, " layer"]:
        """1 - mean cos(h_{l-1}, h_l) of every layer (Men et al. 2024); NaN for layer 0, which has no predecessor."""
        means = self._means(self.one_minus_cosine)
        return np.concatenate([[np.nan], np.diagonal(means, 1)])

    def angular_distance(self) -> Float[np.ndarray, "layer layer"]:
        """Mean of arccos(cos(h_l, h_m)) / pi of all pairs (Gromov et al. 2024): 0 same direction, 1 opposite."""
        return self._means(self.angle)

    def _means(self, total: np.ndarray) -> np.ndarray:
        return np.divide(total, self.n_rows, out=np.full_like(total, np.nan), where=self.n_rows > 0)


def pair_terms(
    vectors: Float[Array, "row layer neuron"], other: Float[Array, "row neuron"]
) -> tuple[Bool[Array, "row layer"], Float[Array, "row layer"], Float[Array, "row layer"]]:
    """Whether both vectors are not 0, 1 - cosine, and angle / pi, of a row's layers with another vector of the row.

    By unit vectors u, v: 1 - cos = |u - v|^2 / 2, and the angle is 2 atan2(|u - v|, |u + v|), so that float32 tells
    small angles, which arccos of a cosine near 1 does not.
    """
    (u, has_u), (v, has_v) = _units(vectors), _units(other)
    apart = jnp.sum(jnp.square(u - v[:, None]), axis=2)
    near = jnp.sum(jnp.square(u + v[:, None]), axis=2)
    used = has_u & has_v[:, None]
    angle = 2 / jnp.pi * jnp.arctan2(jnp.sqrt(apart), jnp.sqrt(near))
    return used, jnp.where(used, apart / 2, 0), jnp.where(used, angle, 0)


def _units(vectors: Float[Array, "..."]) -> tuple[Float[Array, "..."], Bool[Array, "..."]]:
    """Unit vectors, and which are not 0.

    They are divided by the largest entry first, so that squares neither vanish nor overflow.
    """
    largest = jnp.max(jnp.abs(vectors), axis=-1, keepdims=True)
    scaled = vectors / jnp.where(largest > 0, largest, 1)
    norm = jnp.sqrt(jnp.sum(jnp.square(scaled), axis=-1, keepdims=True))
    return scaled / jnp.where(norm > 0, norm, 1), largest[..., 0] > 0


@jax.jit
def _block_sums(
    block: Float[Array, "row layer neuron"], used: Bool[Array, " row"]
) -> tuple[Float[Array, "layer layer"], ...]:
    def of_layer(other: Float[Array, "row neuron"]) -> tuple[Array, ...]:
        terms = pair_terms(block, other)
        return tuple(jnp.sum(jnp.where(used[:, None], term, 0), axis=0, dtype=jnp.float32) for term in terms)

    return jax.lax.map(of_layer, jnp.swapaxes(block, 0, 1))


def cosine_sums(block: Float[np.ndarray, "row layer neuron"]) -> CosineSums:
    """Sums over the rows of a block."""
    total = CosineSums.none(block.shape[1])
    for start in range(0, len(block), BLOCK_ROWS):
        rows = np.asarray(block[start : start + BLOCK_ROWS], np.float32)
        used = np.arange(BLOCK_ROWS) < len(rows)
        padded = np.pad(rows, ((0, BLOCK_ROWS - len(rows)), (0, 0), (0, 0)))
        total += CosineSums(*(np.asarray(sums, np.float64) for sums in _block_sums(padded, used)))
    return total


def together(parts: Sequence[CosineSums]) -> CosineSums:
    """Sums over the rows of all parts."""
    return sum(parts[1:], parts[0])
