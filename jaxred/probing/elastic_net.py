"""The training step of a family of linear elastic-net probes: one read of a batch serves every probe.

The loss of a probe with weights W and bias b on a batch is

    mean loss(x W + b, y) + l1 * sum|W| + l2 * ||W||_F

with cross-entropy (classes) or squared error (scores); the Frobenius norm is not squared unless asked, and the bias
is not penalised. Adam, or another optimizer, steps through the batches. This is the probe of Dalvi et al. (2020),
section 4, as its released code trains it.

The products and the layout of the weights are those of `jaxred.probing.layout`.
"""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxred.probing.adam import ADAM
from jaxred.probing.compiler import separate, where_any
from jaxred.probing.layout import HIGHEST, Batches, Packing, Params, WeightMap, loss_and_gradient, segment_columns


class State(NamedTuple):
    """The parameters and what the optimizer remembers."""

    params: Params
    memory: Any


class Penalty(NamedTuple):
    """What may differ between the probes of a family."""

    l1: Float[Array, " probe"]
    l2: Float[Array, " probe"]
    learning_rate: Float[Array, " probe"]


def start(params: Params, optimizer: Any = ADAM) -> State:
    """The state before the first step."""
    return State(params, optimizer.init(params))


@functools.partial(
    jax.jit, static_argnames=("packing", "epochs", "squared_l2", "optimizer"), donate_argnames=("state",)
)
def train(
    state: State,
    data: Batches,
    penalty: Penalty,
    weight_map: WeightMap,
    order: Int[Array, "epoch batch row"] | None = None,
    *,
    packing: Packing,
    epochs: int,
    squared_l2: bool = False,
    optimizer: Any = ADAM,
) -> tuple[State, Float[Array, "epoch probe"]]:
    """Takes every probe of a family through the same batches.

    Args:
        state: where training stands (given away: its buffers are reused).
        data: the batches, in the order in which they are taken.
        penalty: l1, l2 and learning rate of every probe.
        weight_map: which weights exist, and whose they are; the others must start at zero and stay there.
        order: for each epoch, the rows of each batch (batch * batch size + place); without it, as they lie.
        packing: which probes own which columns.
        epochs: passes over the batches.
        squared_l2: penalise the squared norm.
        optimizer: of `jaxred.probing.adam`; `state` began with it. Gradients include those of the penalties.

    Returns:
        The state after the last step, and each probe's loss summed over the batches of each epoch, penalties
        included.
    """
    probe_of_row = jnp.concatenate([*weight_map.probes, jnp.zeros(0, jnp.int32)])
    member = jnp.asarray(jnp.arange(packing.n_probes)[:, None] == probe_of_row, jnp.float32)
    ends = np.cumsum([0, *(len(p) for p in weight_map.probes)]).tolist()

    def of_rows(values):
        """Each probe's value in the rows of its weights, [weight_row, 1] of each group."""
        gathered = separate(values[probe_of_row])[:, None]
        return [gathered[first:last] for first, last in itertools.pairwise(ends)]

    of_weights = tuple(
        rate if owned is None else rate * owned
        for rate, owned in zip(of_rows(penalty.learning_rate), weight_map.owned, strict=True)
    )
    rates = Params(of_weights, penalty.learning_rate[:, None])

    def step(index, carry, rows):
        (params, memory), losses = carry
        x, targets, valid = _batch(data, index, rows, weight_map.columns, packing)
        data_loss, gradients = loss_and_gradient(params, x, targets, valid, packing)

        norms = [(w * w).sum(1) for w in params.weights], [jnp.abs(w).sum(1) for w in params.weights]
        squares, absolutes = (
            jnp.dot(member, jnp.concatenate([*norm, jnp.zeros(0)]), precision=HIGHEST) for norm in norms
        )
        if squared_l2:
            shrink, l2_loss = 2 * penalty.l2, penalty.l2 * squares
        else:
            norm = jnp.sqrt(squares)
            shrink = jnp.where(norm > 0, penalty.l2 / jnp.where(norm > 0, norm, 1), 0)
            l2_loss = penalty.l2 * norm

        penalties = zip(of_rows(where_any(absolutes, penalty.l1)), of_rows(shrink), strict=True)
        penalised = tuple(
            separate(gradient) + l1 * jnp.sign(weights) + l2 * weights
            for gradient, weights, (l1, l2) in zip(gradients.weights, params.weights, penalties, strict=True)
        )
        updates, memory = optimizer.update(Params(penalised, gradients.bias), memory, params, rates=rates)
        params = jax.tree.map(jnp.add, params, updates)
        return State(params, memory), losses + data_loss + penalty.l1 * absolutes + l2_loss

    def epoch(state, rows):
        def body(index, carry):
            return step(index, carry, None if rows is None else rows[index])

        return jax.lax.fori_loop(0, data.blocks.shape[0], body, (state, jnp.zeros(packing.n_probes)))

    return jax.lax.scan(epoch, state, order, length=epochs)


def _batch(data, index, rows, columns, packing):
    """A batch's columns, segment by segment, its targets, and the weight of each of its rows."""
    size = data.blocks.shape[2]
    if rows is None:
        x = segment_columns(data.blocks, index, columns, packing)
        targets, count = data.targets[index], data.counts[index]
        return x, targets, jnp.where(jnp.arange(size) < count, 1 / count, 0).astype(jnp.float32)
    batch, offset = rows // size, rows % size
    chosen = jnp.arange(data.blocks.shape[1]) if columns is None else columns
    x = [data.blocks[batch[None], chosen[s.start : s.stop, None], offset[None]] for s in packing.segments]
    exists = offset < data.counts[batch]
    return x, data.targets[batch, offset], exists / exists.sum()
