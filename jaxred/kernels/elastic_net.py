"""The training step of a family of linear elastic-net probes: one read of a batch serves every probe.

The loss of a probe with weights W and bias b on a batch is

    mean loss(x W + b, y) + l1 * sum|W| + l2 * ||W||_F

with cross-entropy (classes) or squared error (scores); the Frobenius norm is not squared unless asked, and the bias
is not penalised. Adam steps through the batches. This is the probe of Dalvi et al. (2020), section 4, as its
released code trains it.

The columns of the matrix are cut into segments that the same probes own, so that a segment's part of every owner's
outputs is one matrix product, without a column that a probe does not own. All weights lie in a few arrays of rows of
one width (`Packing`), so that Adam is a few passes over memory however many segments there are. Two classes need half
of the products: only the difference of their outputs matters, and their gradients are opposite.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Adam's, as in PyTorch's defaults
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

    weights: tuple[Float[Array, "weight_row tile"], ...]  # one array a group of segments
    bias: Float[Array, "probe output"]


class State(NamedTuple):
    """The parameters and what Adam remembers."""

    params: Params
    first: Params
    second: Params
    count: Float[Array, ""]


class Penalty(NamedTuple):
    """What may differ between the probes of a family."""

    l1: Float[Array, " probe"]
    l2: Float[Array, " probe"]
    learning_rate: Float[Array, " probe"]


class Batches(NamedTuple):
    """The data, a batch a step: column by column, so that a run of columns or any choice of them is read at once."""

    blocks: Float[Array, "batch column row"]
    targets: Int[Array, "batch row"] | Float[Array, "batch row"]  # class ids (integers) or scores
    counts: Int[Array, " batch"]  # rows of each batch that exist; they come first


class Layout(NamedTuple):
    """Where the weights of a packing belong, as arrays."""

    columns: Int[Array, " column"] | None  # the matrix's columns in the family's order; None: as they lie
    probes: tuple[Int[Array, " weight_row"], ...]  # for each group: the probe of each row
    owned: tuple[Float[Array, "weight_row tile"] | None, ...]  # for each group: 1 where a weight exists; None: all


def start(params: Params) -> State:
    """Adam's state before the first step; what it remembers lies on the host until it is put on a device."""

    def zeros() -> Params:
        return jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), params)

    return State(params, zeros(), zeros(), jnp.float32(0))


@functools.partial(jax.jit, static_argnames=("packing", "epochs", "squared_l2"), donate_argnames=("state",))
def train(
    state: State,
    data: Batches,
    penalty: Penalty,
    layout: Layout,
    order: Int[Array, "epoch batch row"] | None = None,
    *,
    packing: Packing,
    epochs: int,
    squared_l2: bool = False,
) -> tuple[State, Float[Array, "epoch probe"]]:
    """Takes every probe of a family through the same batches.

    Args:
        state: where training stands (given away: its buffers are reused).
        data: the batches, in the order in which they are taken.
        penalty: l1, l2 and learning rate of every probe.
        layout: which weights exist, and whose they are; the others must start at zero and stay there.
        order: for each epoch, the rows of each batch (batch * batch size + place); without it, as they lie.
        packing: which probes own which columns.
        epochs: passes over the batches.
        squared_l2: penalise the squared norm.

    Returns:
        The state after the last step, and each probe's loss summed over the batches of each epoch, penalties
        included.
    """
    members = tuple(jnp.asarray(jnp.arange(packing.n_probes)[:, None] == p, jnp.float32) for p in layout.probes)
    l1 = tuple(penalty.l1[p][:, None] for p in layout.probes)
    rates = tuple(
        penalty.learning_rate[p][:, None] * (1 if owned is None else owned)
        for p, owned in zip(layout.probes, layout.owned, strict=True)
    )

    def step(index, carry, rows):
        (params, first, second, count), losses = carry
        x, targets, valid = _batch(data, index, rows, layout.columns, packing)
        data_loss, gradients = _loss_and_gradient(params, x, targets, valid, packing)

        norms = [(w * w).sum(1) for w in params.weights], [jnp.abs(w).sum(1) for w in params.weights]
        squares, absolutes = (sum(map(functools.partial(jnp.dot, precision=HIGHEST), members, n)) for n in norms)
        if squared_l2:
            shrink, l2_loss = 2 * penalty.l2, penalty.l2 * squares
        else:
            norm = jnp.sqrt(squares)
            shrink = jnp.where(norm > 0, penalty.l2 / jnp.where(norm > 0, norm, 1), 0)
            l2_loss = penalty.l2 * norm

        count = count + 1
        size = 1 / -jnp.expm1(count * math.log(BETA_1))  # 1 - beta ** count, without its cancellation
        scale = jax.lax.rsqrt(-jnp.expm1(count * math.log(BETA_2)))

        def adam(value, first, second, gradient, rate):
            first = BETA_1 * first + (1 - BETA_1) * gradient
            second = BETA_2 * second + (1 - BETA_2) * gradient * gradient
            return value - size * rate * first / (jnp.sqrt(second) * scale + EPSILON), first, second

        moved = []
        for group, weights in enumerate(params.weights):
            # The barrier keeps the packing of the products apart from Adam's pass, which is then one plain loop.
            gradient = jax.lax.optimization_barrier(gradients.weights[group])
            gradient += l1[group] * jnp.sign(weights) + shrink[layout.probes[group]][:, None] * weights
            moved.append(adam(weights, first.weights[group], second.weights[group], gradient, rates[group]))
        weights = tuple(zip(*moved, strict=True)) or ((), (), ())
        bias = adam(params.bias, first.bias, second.bias, gradients.bias, penalty.learning_rate[:, None])
        params, first, second = (Params(w, b) for w, b in zip(weights, bias, strict=True))
        return State(params, first, second, count), losses + data_loss + penalty.l1 * absolutes + l2_loss

    def epoch(state, rows):
        def body(index, carry):
            return step(index, carry, None if rows is None else rows[index])

        return jax.lax.fori_loop(0, data.blocks.shape[0], body, (state, jnp.zeros(packing.n_probes)))

    return jax.lax.scan(epoch, state, order, length=epochs)


@functools.partial(jax.jit, static_argnames=("packing",))
def outputs(
    params: Params,
    blocks: Float[Array, "batch column row"],
    columns: Int[Array, " column"] | None,
    *,
    packing: Packing,
) -> Float[Array, "batch probe output row"]:
    """Every probe's outputs, x W + b."""

    def one(index):
        return _products(_unpack(params.weights, packing), _columns(blocks, index, columns, packing), packing)

    return jax.lax.map(one, jnp.arange(blocks.shape[0])) + params.bias[:, :, None]


@functools.partial(jax.jit, static_argnames=("packing", "regression"))
def predict(
    params: Params,
    blocks: Float[Array, "batch column row"],
    columns: Int[Array, " column"] | None,
    *,
    packing: Packing,
    regression: bool,
) -> Float[Array, "batch probe row"] | Int[Array, "batch probe row"]:
    """Every probe's score, or the class with the largest output."""
    found = outputs(params, blocks, columns, packing=packing)
    return found[:, :, 0] if regression else jnp.argmax(found, axis=2)


def _batch(data, index, rows, columns, packing):
    """A batch's columns, segment by segment, its targets, and the weight of each of its rows."""
    size = data.blocks.shape[2]
    if rows is None:
        x = _columns(data.blocks, index, columns, packing)
        targets, count = data.targets[index], data.counts[index]
        return x, targets, jnp.where(jnp.arange(size) < count, 1 / count, 0).astype(jnp.float32)
    batch, place = rows // size, rows % size
    wanted = jnp.arange(data.blocks.shape[1]) if columns is None else columns
    x = [data.blocks[batch[None], wanted[s.start : s.stop, None], place[None]] for s in packing.segments]
    exists = place < data.counts[batch]
    return x, data.targets[batch, place], exists / exists.sum()


def _columns(blocks, index, columns, packing):
    """The columns of each segment in one batch, as [column, row]."""
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


def _loss_and_gradient(params, x, targets, valid, packing):
    """Each probe's mean loss over the rows, and its gradient, packed like the parameters."""
    contrast = packing.n_outputs == 2
    weights, bias = _unpack(params.weights, packing), params.bias
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
        mine = _of_owners(error, segment)
        product = jax.lax.dot_general(
            mine.reshape(-1, mine.shape[2]), columns, (((1,), (1,)), ((), ())), precision=HIGHEST
        )
        product = product.reshape(*mine.shape[:2], -1)
        gradients.append(jnp.concatenate([-product, product], 1) if contrast else product)
    bias_gradient = error.sum(2)
    if contrast:
        bias_gradient = jnp.concatenate([-bias_gradient, bias_gradient], 1)
    return loss, Params(_pack(gradients, packing), bias_gradient)


def _products(weights, x, packing):
    """The products x W of every probe, [probe, output, row]: one a segment, summed over those of each probe."""
    if not packing.segments:
        return jnp.zeros((packing.n_probes, 1, 1))
    n_outputs, size = weights[0].shape[1], x[0].shape[1]
    parts = [
        jnp.dot(w.reshape(-1, w.shape[2]), columns, precision=HIGHEST).reshape(-1, n_outputs * size)
        for w, columns in zip(weights, x, strict=True)
    ]
    owners = np.concatenate([segment.owners for segment in packing.segments])
    member = jnp.asarray(np.arange(packing.n_probes)[:, None] == owners, jnp.float32)
    return jnp.dot(member, jnp.concatenate(parts), precision=HIGHEST).reshape(-1, n_outputs, size)


def _unpack(weights: Sequence[Array], packing: Packing) -> list[Array]:
    """The weights of each segment, [owner, output, column]."""
    parts = []
    for (first, last), array in zip(packing.groups, weights, strict=True):
        at = 0
        for segment in packing.segments[first:last]:
            rows = packing.n_rows(segment)
            parts.append(array[at : at + rows].reshape(len(segment.owners), packing.n_outputs, -1))
            at += rows
    return parts


def _pack(parts: Sequence[Array], packing: Packing) -> tuple[Array, ...]:
    """The opposite of `_unpack`."""
    return tuple(
        jnp.concatenate([part.reshape(-1, packing.tile) for part in parts[first:last]])
        for first, last in packing.groups
    )


def _of_owners(values: Array, segment: Segment) -> Array:
    """The entries of a segment's owners, as slices of runs of neighbours: they fuse, where a gather would not."""
    runs = np.split(segment.owners, np.flatnonzero(np.diff(segment.owners) != 1) + 1)
    return jnp.concatenate([values[run[0] : run[-1] + 1] for run in runs])
