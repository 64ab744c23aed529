"""A family of linear probes as arrays: how its weights lie, and the products that all its probes share.

Three probes on six columns, in the family's order (`x`: the probe has weights for the column):

    column            0   1   2   3   4   5
                    +-------+-------+-------+
    probe 0         | x   x | .   . | .   . |
    probe 1         | x   x | x   x | .   . |
    probe 2         | x   x | x   . | x   x |
                    +-------+-------+-------+
    segment             0       1       2         a run of columns with the same owners
    owners           0, 1, 2   1, 2     2         the probes with weights for any of them

A segment's part of every owner's outputs is one matrix product, [owner * output, column] x [column, row], and so is its
gradient. Column 3 is in a segment of probe 2, which does not own it: that weight is masked. It begins at 0 and stays 0.

All weights lie in a few arrays of rows of one width, the tile, so that an optimizer is a few passes over memory however
many segments there are. A segment lies as [owner, output, column], cut into rows; a group of segments shares an array.
With 2 outputs, a tile of 2, and two groups:

    group 0: segments 0 and 1                         group 1: segment 2
    row  probe  output  columns   owned               row  probe  output  columns   owned
     0     0      0      0  1     1  1                 0     2      0      4  5      1  1
     1     0      1      0  1     1  1                 1     2      1      4  5      1  1
     2     1      0      0  1     1  1
     3     1      1      0  1     1  1
     4     2      0      0  1     1  1
     5     2      1      0  1     1  1
     6     1      0      2  3     1  1
     7     1      1      2  3     1  1
     8     2      0      2  3     1  0
     9     2      1      2  3     1  0

`Packing` holds what a program is compiled for: segments, groups, tile. `WeightMap` holds the columns `probe` and
`owned` of this table as arrays. Two classes need half of the products: only the difference of their outputs matters,
and their gradients are opposite. tests/probing/test_layout.py compares this with dense, masked matrices.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxred.probing.compiler import separate

HIGHEST = jax.lax.Precision.HIGHEST


class Segment(NamedTuple):
    """A run of columns and the probes that own it."""

    start: int
    stop: int
    owners: tuple[int, ...]


class Packing(NamedTuple):
    """How the weights of a family lie: those of a segment as [owner, output, column], cut into rows of `tile`."""

    segments: tuple[Segment, ...]
    groups: tuple[tuple[int, int], ...]  # runs of segments (first, last + 1) whose rows share an array
    tile: int  # divides the width of every segment
    n_probes: int
    n_outputs: int

    def n_rows(self, segment: Segment) -> int:
        """The rows that a segment's weights fill."""
        return len(segment.owners) * self.n_outputs * (segment.stop - segment.start) // self.tile


class Params(NamedTuple):
    """The parameters of a family."""

    weights: tuple[Float[Array, "_weight_row tile"], ...]  # one array per group of segments
    bias: Float[Array, "probe output"]


class Batches(NamedTuple):
    """The data, one batch per step, by columns, so that a run of columns or any choice of them is read at once."""

    blocks: Float[Array, "batch matrix_column row"]
    targets: Int[Array, "batch row"] | Float[Array, "batch row"]  # class ids (integers) or scores
    counts: Int[Array, " batch"]  # rows of each batch that exist; they come first


class WeightMap(NamedTuple):
    """Where the weights of a packing belong, as arrays."""

    columns: Int[Array, " column"] | None  # the matrix's columns in the family's order; None: as they lie
    probes: tuple[Int[Array, " _weight_row"], ...]  # for each group: the probe of each row
    owned: tuple[Float[Array, "_weight_row tile"] | None, ...]  # for each group: 1 where a weight exists; None: all


@functools.partial(jax.jit, static_argnames=("packing",))
def outputs(
    params: Params,
    blocks: Float[Array, "batch matrix_column row"],
    columns: Int[Array, " column"] | None,
    *,
    packing: Packing,
) -> Float[Array, "batch probe output row"]:
    """Every probe's outputs, x W + b."""

    def one(index):
        return _products(unpack(params.weights, packing), segment_columns(blocks, index, columns, packing), packing)

    result = jax.lax.map(one, jnp.arange(blocks.shape[0])) + params.bias[:, :, None]
    return jnp.broadcast_to(result, (*result.shape[:3], blocks.shape[2]))  # where nobody owns a column, rows are alike


@functools.partial(jax.jit, static_argnames=("packing", "regression"))
def predict(
    params: Params,
    blocks: Float[Array, "batch matrix_column row"],
    columns: Int[Array, " column"] | None,
    *,
    packing: Packing,
    regression: bool,
) -> Float[Array, "batch probe row"] | Int[Array, "batch probe row"]:
    """Every probe's score, or the class with the largest output."""
    scores = outputs(params, blocks, columns, packing=packing)
    return scores[:, :, 0] if regression else jnp.argmax(scores, axis=2)


def segment_columns(
    blocks: Float[Array, "batch matrix_column row"],
    index: Array,
    columns: Int[Array, " column"] | None,
    packing: Packing,
) -> list[Array]:
    """The columns of each segment in the batch of that index, as [column, row]."""
    n_columns, size = blocks.shape[1:]
    if columns is None:
        return [
            jax.lax.dynamic_slice(blocks, (index, s.start, 0), (1, s.stop - s.start, size))[0] for s in packing.segments
        ]
    if blocks.shape[0] * n_columns >= 2**31:  # beyond what an index can count
        return [blocks[index][columns[s.start : s.stop]] for s in packing.segments]
    flat = blocks.reshape(-1, size)
    at = index * n_columns + columns
    return [flat.at[at[s.start : s.stop]].get(mode="promise_in_bounds") for s in packing.segments]


def loss_and_gradient(
    params: Params, x: Sequence[Array], targets: Array, valid: Float[Array, " row"], packing: Packing
) -> tuple[Float[Array, " probe"], Params]:
    """Each probe's loss over the rows, weighted by `valid`, and its gradient, packed like the parameters.

    Args:
        params: the parameters of the family.
        x: a batch as `segment_columns` gives it.
        targets: class ids (integers), for cross-entropy, or scores, for squared error.
        valid: the weight of each row; 0 for rows that do not exist.
        packing: which probes own which columns.
    """
    contrast = packing.n_outputs == 2
    weights, bias = unpack(params.weights, packing), params.bias
    if contrast:
        weights, bias = [w[:, 1:] - w[:, :1] for w in weights], bias[:, 1:] - bias[:, :1]
    z = _products(weights, x, packing) + bias[:, :, None]  # [probe, output, row]
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        residual = z - targets
        loss = (residual * residual * valid).sum((1, 2))
        error = 2 * residual * valid
    elif contrast:
        one = targets == 1
        loss = (jax.nn.softplus(jnp.where(one, -z, z)) * valid).sum((1, 2))
        error = (jax.nn.sigmoid(z) - one) * valid
    else:
        log_probabilities = jax.nn.log_softmax(z, axis=1)
        target = (targets == jnp.arange(packing.n_outputs)[:, None]).astype(z.dtype)
        loss = -(log_probabilities * target * valid).sum((1, 2))
        error = (jnp.exp(log_probabilities) - target) * valid

    gradients = []
    for segment, columns in zip(packing.segments, x, strict=True):
        mine = separate(of_owners(error, segment))
        product = jax.lax.dot_general(
            mine.reshape(-1, mine.shape[2]), columns, (((1,), (1,)), ((), ())), precision=HIGHEST
        )
        product = product.reshape(*mine.shape[:2], -1)
        gradients.append(jnp.concatenate([-product, product], 1) if contrast else product)
    bias_gradient = error.sum(2)
    if contrast:
        bias_gradient = jnp.concatenate([-bias_gradient, bias_gradient], 1)
    return loss, Params(pack(gradients, packing), bias_gradient)


def _products(weights, x, packing):
    """The products x W of every probe, [probe, output, row]: one per segment, added to those of its owners."""
    if not packing.segments:
        return jnp.zeros((packing.n_probes, 1, 1))
    n_outputs, size = weights[0].shape[1], x[0].shape[1]
    total = jnp.zeros((packing.n_probes, n_outputs, size))
    for segment, w, columns in zip(packing.segments, weights, x, strict=True):
        product = jnp.dot(w.reshape(-1, w.shape[2]), columns, precision=HIGHEST).reshape(-1, n_outputs, size)
        at = 0
        for run in _runs(segment):
            total = total.at[run[0] : run[-1] + 1].add(product[at : at + len(run)])
            at += len(run)
    return total


def unpack(weights: Sequence[Array], packing: Packing) -> list[Array]:
    """The weights of each segment, [owner, output, column]."""
    parts = []
    for (first, last), array in zip(packing.groups, weights, strict=True):
        at = 0
        for segment in packing.segments[first:last]:
            rows = packing.n_rows(segment)
            parts.append(array[at : at + rows].reshape(len(segment.owners), packing.n_outputs, -1))
            at += rows
    return parts


def pack(parts: Sequence[Array], packing: Packing) -> tuple[Array, ...]:
    """The opposite of `unpack`."""
    return tuple(
        jnp.concatenate([part.reshape(-1, packing.tile) for part in parts[first:last]])
        for first, last in packing.groups
    )


def of_owners(values: Array, segment: Segment) -> Array:
    """The entries of a segment's owners, as slices of runs of neighbours: they fuse, where a gather would not."""
    return jnp.concatenate([values[run[0] : run[-1] + 1] for run in _runs(segment)])


def _runs(segment: Segment) -> list[np.ndarray]:
    """A segment's owners as runs of neighbours."""
    return np.split(segment.owners, np.flatnonzero(np.diff(segment.owners) != 1) + 1)
