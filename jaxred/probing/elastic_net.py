"""The training step of a family of linear elastic-net probes: one read of a batch serves every probe.

The loss of a probe with weights W and bias b on a batch is

    mean loss(x W + b, y) + l1 * sum|W| + l2 * ||W||_F

with cross-entropy (classes) or squared error (scores); the Frobenius norm is not squared unless asked, and the bias
is not penalised. Adam steps through the batches. This is the probe of Dalvi et al. (2020), section 4, as its
released code trains it.

The products and the layout of the weights are those of `jaxred.probing.layout`.
"""

import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxred.probing.layout import HIGHEST, Batches, Layout, Packing, Params, columns_of, loss_and_gradient

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Adam's, as in PyTorch's defaults


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
    probe_of_row = jnp.concatenate([*layout.probes, jnp.zeros(0, jnp.int32)])
    member = jnp.asarray(jnp.arange(packing.n_probes)[:, None] == probe_of_row, jnp.float32)
    ends = np.cumsum([0, *(len(p) for p in layout.probes)]).tolist()

    def of_rows(values):
        """Each probe's value in the rows of its weights, [weight_row, 1] of each group: one gather is soon compiled."""
        found = jax.lax.optimization_barrier(values[probe_of_row])[:, None]
        return [found[first:last] for first, last in itertools.pairwise(ends)]

    rates = [
        rate if owned is None else rate * owned
        for rate, owned in zip(of_rows(penalty.learning_rate), layout.owned, strict=True)
    ]

    def step(index, carry, rows):
        (params, first, second, count), losses = carry
        x, targets, valid = _batch(data, index, rows, layout.columns, packing)
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

        # Nobody without weights is penalised either way; but so the new weights depend on all that reads the old ones,
        # and XLA writes them in place instead of keeping a copy.
        l1 = jnp.where(absolutes > 0, penalty.l1, 0)

        count = count + 1
        size = 1 / -jnp.expm1(count * math.log(BETA_1))  # 1 - beta ** count, without its cancellation
        scale = jax.lax.rsqrt(-jnp.expm1(count * math.log(BETA_2)))

        def adam(value, first, second, gradient, rate):
            first = BETA_1 * first + (1 - BETA_1) * gradient
            second = BETA_2 * second + (1 - BETA_2) * gradient * gradient
            return value - size * rate * first / (jnp.sqrt(second) * scale + EPSILON), first, second

        moved, l1_of_rows, shrink_of_rows = [], of_rows(l1), of_rows(shrink)
        for group, weights in enumerate(params.weights):
            # The barrier keeps the packing of the products apart from Adam's pass, which is then one plain loop.
            gradient = jax.lax.optimization_barrier(gradients.weights[group])
            gradient += l1_of_rows[group] * jnp.sign(weights) + shrink_of_rows[group] * weights
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


def _batch(data, index, rows, columns, packing):
    """A batch's columns, segment by segment, its targets, and the weight of each of its rows."""
    size = data.blocks.shape[2]
    if rows is None:
        x = columns_of(data.blocks, index, columns, packing)
        targets, count = data.targets[index], data.counts[index]
        return x, targets, jnp.where(jnp.arange(size) < count, 1 / count, 0).astype(jnp.float32)
    batch, place = rows // size, rows % size
    wanted = jnp.arange(data.blocks.shape[1]) if columns is None else columns
    x = [data.blocks[batch[None], wanted[s.start : s.stop, None], place[None]] for s in packing.segments]
    exists = place < data.counts[batch]
    return x, data.targets[batch, place], exists / exists.sum()
