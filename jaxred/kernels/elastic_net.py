"""The training step of a family of linear elastic-net probes: one read of a batch serves every probe.

The loss of a probe with weights W and bias b on a batch is

    mean loss(x W + b, y) + l1 * sum|W| + l2 * ||W||_F

with cross-entropy (classes) or squared error (scores); the Frobenius norm is not squared unless asked, and the bias
is not penalised. Adam steps through the batches. This is the probe of Dalvi et al. (2020), section 4, as its
released code trains it.

The columns of the matrix are cut into segments that the same probes own. A segment's weights lie side by side in one
array [column, owner, output], so that the segment's part of every owner's outputs is one matrix product. Where a
probe owns only some of a segment's columns, a mask keeps the other weights at exactly zero.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Adam's, as in PyTorch's defaults
HIGHEST = jax.lax.Precision.HIGHEST


class Segment(NamedTuple):
    """A run of columns and the probes that own it."""

    start: int
    stop: int
    owners: tuple[int, ...]


Masks = tuple[Bool[Array, "column owner"] | None, ...]  # which weights of a segment exist; None: all


class Params(NamedTuple):
    """The packed parameters of a family."""

    weights: tuple[Float[Array, "column owner output"], ...]  # one array a segment
    bias: Float[Array, "probe output"]


class Penalty(NamedTuple):
    """What may differ between the probes of a family."""

    l1: Float[Array, " probe"]
    l2: Float[Array, " probe"]
    learning_rate: Float[Array, " probe"]


@functools.partial(
    jax.jit, static_argnames=("segments", "batch_size", "epochs", "squared_l2"), donate_argnames=("params",)
)
def train(
    params: Params,
    features: Float[Array, "row column"],
    targets: Int[Array, " row"] | Float[Array, " row"],
    penalty: Penalty,
    masks: Masks,
    order: Int[Array, "epoch row"] | None = None,
    *,
    segments: tuple[Segment, ...],
    batch_size: int,
    epochs: int,
    squared_l2: bool = False,
) -> tuple[Params, Float[Array, "epoch probe"]]:
    """Trains every probe of a family on the same batches.

    Args:
        params: the initial parameters (given away: their buffers are reused).
        features: the matrix; columns in the family's order.
        targets: class ids (integers) or scores (floats; the probes then have one output).
        penalty: l1, l2 and learning rate of every probe.
        masks: for each segment, which of its weights exist; the others must start at zero and stay there.
        order: the rows in each epoch's order; without it every epoch goes through the rows as they lie.
        segments: which probes own which columns.
        batch_size: rows a step; the last batch of an epoch may be shorter.
        epochs: passes over the rows.
        squared_l2: penalise the squared norm.

    Returns:
        The trained parameters, and each probe's mean loss over the batches of each epoch, penalties included.
    """
    n_rows = features.shape[0]
    batch_size = min(batch_size, n_rows)
    n_batches = -(-n_rows // batch_size)
    starts = np.minimum(np.arange(n_batches) * batch_size, n_rows - batch_size)
    # The last batch begins early so that every batch has one shape; rows that the batch before it has used weigh
    # nothing.
    fresh = starts[:, None] + np.arange(batch_size) >= np.arange(n_batches)[:, None] * batch_size
    row_weights = jnp.asarray(fresh / fresh.sum(1, keepdims=True), features.dtype)
    starts = jnp.asarray(starts, jnp.int32)

    def step(state, batch):
        flat, first, second, count = state
        start, row_weight, rows = batch
        if rows is None:
            x = jax.lax.dynamic_slice_in_dim(features, start, batch_size)
            y = jax.lax.dynamic_slice_in_dim(targets, start, batch_size)
        else:
            x, y = features[rows], targets[rows]
        loss, gradient = _loss_and_gradient(unravel(flat), x, y, row_weight, penalty, masks, segments, squared_l2)
        gradient, _ = ravel_pytree(gradient)
        count = count + 1
        first = BETA_1 * first + (1 - BETA_1) * gradient
        second = BETA_2 * second + (1 - BETA_2) * gradient * gradient
        size = rates / -jnp.expm1(count * math.log(BETA_1))  # 1 - beta ** count, without its cancellation
        scale = jax.lax.rsqrt(-jnp.expm1(count * math.log(BETA_2)))
        flat = flat - size * first / (jnp.sqrt(second) * scale + EPSILON)
        return (flat, first, second, count), loss

    def epoch(state, rows):
        if rows is not None:
            rows = jax.vmap(lambda start: jax.lax.dynamic_slice_in_dim(rows, start, batch_size))(starts)
        state, losses = jax.lax.scan(step, state, (starts, row_weights, rows))
        return state, losses.mean(0)

    # Adam sees the whole family as one vector, with each probe's learning rate spread over its parameters.
    flat, unravel = ravel_pytree(params)
    owners = [_of_owners(penalty.learning_rate, s)[:, None] for s in segments]
    spread = [jnp.broadcast_to(rate, w.shape) for rate, w in zip(owners, params.weights, strict=True)]
    rates, _ = ravel_pytree(Params(tuple(spread), jnp.broadcast_to(penalty.learning_rate[:, None], params.bias.shape)))
    zeros = jnp.zeros_like(flat)
    state = (flat, zeros, zeros, jnp.zeros((), features.dtype))
    (flat, *_), losses = jax.lax.scan(epoch, state, order, length=epochs)
    return unravel(flat), losses


@functools.partial(jax.jit, static_argnames=("segments",))
def logits(
    params: Params, features: Float[Array, "row column"], *, segments: tuple[Segment, ...]
) -> Float[Array, "row probe output"]:
    """Every probe's outputs, x W + b."""
    n_probes, n_outputs = params.bias.shape
    n_rows = features.shape[0]
    parts = [
        jnp.dot(features[:, s.start : s.stop], w.reshape(s.stop - s.start, -1), precision=HIGHEST)
        for s, w in zip(segments, params.weights, strict=True)
    ]
    summed = _by_probe([part.reshape(n_rows, -1, n_outputs) for part in parts], segments, n_probes, axis=1)
    return summed + params.bias


def _loss_and_gradient(params, x, y, row_weight, penalty, masks, segments, squared_l2):
    outputs = logits(params, x, segments=segments)
    n_probes, n_outputs = params.bias.shape
    if jnp.issubdtype(y.dtype, jnp.integer):
        log_probabilities = jax.nn.log_softmax(outputs)
        target = jax.nn.one_hot(y, n_outputs, dtype=outputs.dtype)[:, None]
        data_loss = -jnp.einsum("b,bpc->p", row_weight, log_probabilities * target, precision=HIGHEST)
        error = (jnp.exp(log_probabilities) - target) * row_weight[:, None, None]
    else:
        residual = outputs - y[:, None, None]
        data_loss = jnp.einsum("b,bpc->p", row_weight, residual * residual, precision=HIGHEST)
        error = 2 * residual * row_weight[:, None, None]

    squares = _by_probe([jnp.sum(w * w, axis=(0, 2)) for w in params.weights], segments, n_probes)
    absolutes = _by_probe([jnp.sum(jnp.abs(w), axis=(0, 2)) for w in params.weights], segments, n_probes)
    if squared_l2:
        shrink, l2_loss = 2 * penalty.l2, penalty.l2 * squares
    else:
        norm = jnp.sqrt(squares)
        shrink = jnp.where(norm > 0, penalty.l2 / jnp.where(norm > 0, norm, 1), 0)
        l2_loss = penalty.l2 * norm
    loss = data_loss + penalty.l1 * absolutes + l2_loss

    gradients = []
    for s, w, mask in zip(segments, params.weights, masks, strict=True):
        own_error = _of_owners(error, s, axis=1).reshape(x.shape[0], -1)
        data = jnp.dot(x[:, s.start : s.stop].T, own_error, precision=HIGHEST).reshape(w.shape)
        gradient = data + _of_owners(penalty.l1, s)[:, None] * jnp.sign(w) + _of_owners(shrink, s)[:, None] * w
        gradients.append(gradient if mask is None else jnp.where(mask[:, :, None], gradient, 0))
    return loss, Params(tuple(gradients), jnp.sum(error, axis=0))


def _by_probe(parts: Sequence[Array], segments: Sequence[Segment], n_probes: int, axis: int = 0) -> Array:
    """Sums what each segment has for its owners, along the axis of the owners, into one entry a probe."""
    if not parts:
        return jnp.zeros(n_probes) if axis == 0 else jnp.zeros((1, n_probes, 1))
    owners = np.concatenate([np.array(s.owners) for s in segments])
    membership = jnp.asarray(owners[:, None] == np.arange(n_probes), parts[0].dtype)
    summed = jnp.tensordot(jnp.concatenate(parts, axis=axis), membership, ((axis,), (0,)), precision=HIGHEST)
    return jnp.moveaxis(summed, -1, axis)


def _of_owners(values: Array, segment: Segment, axis: int = 0) -> Array:
    """The entries of a segment's owners, as slices of runs of neighbours: they fuse, where a gather would not."""
    runs = np.split(segment.owners, np.flatnonzero(np.diff(segment.owners) != 1) + 1)
    return jnp.concatenate([jax.lax.slice_in_dim(values, run[0], run[-1] + 1, axis=axis) for run in runs], axis=axis)
