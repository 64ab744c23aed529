"""A family of linear elastic-net probes to the optimum: batched proximal gradient, accelerated and restarted.

The objective of a probe with weights W and bias b is

    mean loss(x W + b, y) + l1 * sum|W| + l2 * ||W||_F        (or + l2 * ||W||_F^2)

over all rows, with cross-entropy (classes) or squared error (scores). With `squared_l2` and n rows it equals
scikit-learn's `LogisticRegression(solver="saga")` at l1 = l1_ratio / (C n), l2 = (1 - l1_ratio) / (2 C n), and with two
classes, which there have one vector of logits v and here two columns -v/2 and v/2, at l2 = (1 - l1_ratio) / (C n); and
`ElasticNet` at l1 = 2 alpha l1_ratio, l2 = alpha (1 - l1_ratio).

A step moves against the gradient and applies the penalties' proximal operator in closed form: soft threshold, then a
shrinkage of the whole matrix. Points are extrapolated as in FISTA, and the momentum of a probe starts again where its
last step went against it. The solver works on centred columns, to which the bias is orthogonal: weights and bias then
have steps of their own, and the columns' means, which only the bias sees, do not shorten that of the weights.

Beck and Teboulle (2009), "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems"; O'Donoghue
and Candes (2015), "Adaptive Restart for Accelerated Gradient Schemes"; Boehning (1992) for the bound on the curvature
of the multinomial loss.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from jaxred.probing.layout import (
    HIGHEST,
    Batches,
    Packing,
    Params,
    WeightMap,
    loss_and_gradient,
    of_owners,
    pack,
    segment_columns,
    unpack,
)

INTERVAL = 10  # steps between two looks at the residuals

Rows = Batches | Callable[[], Iterator[Batches]]  # all rows: on the device, or what reads them chunk by chunk


class Problem(NamedTuple):
    """What is solved, in addition to the data."""

    l1: Float[Array, " probe"]
    l2: Float[Array, " probe"]
    mean: Float[Array, " column"]  # of each column, in the family's order
    step: Float[Array, " probe"]  # of the weights: 1 / (curvature * largest eigenvalue of the columns' covariance)
    bias_step: Float[Array, ""]  # 1 / curvature
    null_loss: Float[Array, ""]  # of the best constant outputs; residuals are relative to it
    n_rows: Float[Array, ""]


class State(NamedTuple):
    """Where the solver stands. Biases are those of centred columns."""

    params: Params  # the iterate, with exact zeros
    ahead: Params  # the extrapolated point, from which the next step is taken
    momentum: Float[Array, " probe"]
    iterations: Int[Array, " probe"]
    residual: Float[Array, " probe"]
    loss: Float[Array, " probe"]  # the objective


class Sums(NamedTuple):
    """Each probe's mean loss and its gradient, so far as the rows have been read."""

    loss: Float[Array, " probe"]
    gradient: Params


def curvature(classes: bool) -> float:
    """A bound on the second derivative of a row's loss in its outputs: 1/2 for cross-entropy, 2 for squared error.

    In the difference of two classes' outputs it is 1/4, of which each class's weights make half.
    """
    return 0.5 if classes else 2.0


def start(bias: Float[Array, "probe output"], weight_map: WeightMap, packing: Packing) -> State:
    """No weights, and this bias."""
    zeros = _zeros(weight_map, packing)
    n = bias.shape[0]
    unknown = jnp.full(n, jnp.inf, jnp.float32)
    params = Params(zeros, bias)
    return State(params, params, jnp.ones(n), jnp.zeros(n, jnp.int32), unknown, unknown)


def _zeros(weight_map: WeightMap, packing: Packing) -> tuple[Float[Array, "_weight_row tile"], ...]:
    """Weights of zero."""
    return tuple(jnp.zeros((len(rows), packing.tile), jnp.float32) for rows in weight_map.probes)


@functools.partial(jax.jit, static_argnames=("packing",), donate_argnames=("sums",))
def accumulate(
    sums: Sums | None, point: Params, data: Batches, problem: Problem, weight_map: WeightMap, *, packing: Packing
) -> Sums:
    """Adds some batches' part of the loss and the gradient at a point.

    Args:
        sums: of the batches before (given away: its buffers are reused), or None for the first.
        point: parameters, the bias that of centred columns.
        data: batches.
        problem: the problem.
        weight_map: where weights lie.
        packing: which probes own which columns.
    """
    if sums is None:
        sums = Sums(jnp.zeros(packing.n_probes), jax.tree.map(jnp.zeros_like, point))
    shift = _per_owner_products(point.weights, problem.mean, packing)
    point = Params(point.weights, point.bias - shift)

    def one(index, sums):
        x = segment_columns(data.blocks, index, weight_map.columns, packing)
        exists = jnp.arange(data.blocks.shape[2]) < data.counts[index]
        loss, gradient = loss_and_gradient(point, x, data.targets[index], exists / problem.n_rows, packing)
        return Sums(sums.loss + loss, jax.tree.map(jnp.add, sums.gradient, gradient))

    return jax.lax.fori_loop(0, data.blocks.shape[0], one, sums)


@functools.partial(jax.jit, static_argnames=("packing", "squared_l2"))
def advance(
    state: State,
    gradient: Params,
    tolerance: Float[Array, ""],
    problem: Problem,
    weight_map: WeightMap,
    *,
    packing: Packing,
    squared_l2: bool = False,
) -> State:
    """A step of every probe whose residual is above the tolerance, from the gradient at `state.ahead`."""
    gradient = _centred(gradient, problem, weight_map, packing)
    total, rows = _totals(weight_map, packing), functools.partial(_rows, weight_map=weight_map)
    steps = rows(problem.step)
    soft = tuple(
        _soft(y - step * g, step * l1)
        for y, g, step, l1 in zip(state.ahead.weights, gradient.weights, steps, rows(problem.l1), strict=True)
    )
    if squared_l2:
        factor = 1 / (1 + 2 * problem.step * problem.l2)
    else:
        norm = jnp.sqrt(total([s * s for s in soft]))
        factor = jnp.where(norm > 0, jnp.maximum(1 - problem.step * problem.l2 / jnp.where(norm > 0, norm, 1), 0), 0)
    moved = Params(
        tuple(s * f for s, f in zip(soft, rows(factor), strict=True)),
        state.ahead.bias - problem.bias_step * gradient.bias,
    )
    change = jax.tree.map(jnp.subtract, moved, state.params)
    against = jax.tree.map(lambda y, new, change: (y - new) * change, state.ahead, moved, change)
    turned = total(against.weights) / problem.step + against.bias.sum(1) / problem.bias_step > 0
    momentum = jnp.where(turned, 1, state.momentum)
    next_momentum = (1 + jnp.sqrt(1 + 4 * momentum * momentum)) / 2
    extrapolation = (momentum - 1) / next_momentum
    ahead = Params(
        tuple(w + e * c for w, e, c in zip(moved.weights, rows(extrapolation), change.weights, strict=True)),
        moved.bias + extrapolation[:, None] * change.bias,
    )
    going = state.residual > tolerance

    def keep(new: Params, old: Params) -> Params:
        weights = zip(rows(going), new.weights, old.weights, strict=True)
        return Params(tuple(jnp.where(go, a, b) for go, a, b in weights), jnp.where(going[:, None], new.bias, old.bias))

    return state._replace(
        params=keep(moved, state.params),
        ahead=keep(ahead, state.ahead),
        momentum=next_momentum,
        iterations=state.iterations + going,
    )


@functools.partial(jax.jit, static_argnames=("packing", "squared_l2"))
def inspect(
    state: State, sums: Sums, problem: Problem, weight_map: WeightMap, *, packing: Packing, squared_l2: bool = False
) -> State:
    """Each probe's objective and residual, from the sums at `state.params`.

    The residual is the smallest subgradient of the objective, measured in the steps' metric and relative to the loss
    of the best constant: sqrt((step * ||s_W||^2 + bias_step * ||s_b||^2) / null_loss). It is 0 at the optimum alone,
    and does not depend on the units of columns and scores.
    """
    gradient = _centred(sums.gradient, problem, weight_map, packing)
    total, rows = _totals(weight_map, packing), functools.partial(_rows, weight_map=weight_map)
    weights, squares = state.params.weights, total([w * w for w in state.params.weights])
    norm = jnp.sqrt(squares)
    shrink = 2 * problem.l2 if squared_l2 else jnp.where(norm > 0, problem.l2 / jnp.where(norm > 0, norm, 1), 0)
    smallest = []
    for w, g, l1, l2 in zip(weights, gradient.weights, rows(problem.l1), rows(shrink), strict=True):
        slope = g + l2 * w
        smallest.append(jnp.where(w != 0, slope + l1 * jnp.sign(w), _soft(slope, l1)))
    distance = jnp.sqrt(total([s * s for s in smallest]))
    if not squared_l2:
        distance = jnp.where(norm > 0, distance, jnp.maximum(distance - problem.l2, 0))
    energy = problem.step * distance**2 + problem.bias_step * (gradient.bias**2).sum(1)
    penalties = problem.l1 * total([jnp.abs(w) for w in weights])
    penalties += problem.l2 * (squares if squared_l2 else norm)
    return state._replace(residual=jnp.sqrt(energy / problem.null_loss), loss=sums.loss + penalties)


@functools.partial(jax.jit, static_argnames=("packing", "squared_l2"))
def advance_and_inspect(
    state: State,
    data: Batches,
    n_steps: Int[ArrayLike, ""],
    tolerance: Float[ArrayLike, ""],
    problem: Problem,
    weight_map: WeightMap,
    *,
    packing: Packing,
    squared_l2: bool = False,
) -> State:
    """That many steps and a look, in one call, with all rows on the device."""

    def step(_, state):
        gradient = accumulate(None, state.ahead, data, problem, weight_map, packing=packing).gradient
        return advance(state, gradient, tolerance, problem, weight_map, packing=packing, squared_l2=squared_l2)

    state = jax.lax.fori_loop(0, n_steps, step, state)
    sums = accumulate(None, state.params, data, problem, weight_map, packing=packing)
    return inspect(state, sums, problem, weight_map, packing=packing, squared_l2=squared_l2)


def total_sums(rows: Rows, point: Params, problem: Problem, weight_map: WeightMap, *, packing: Packing) -> Sums:
    """Each probe's mean loss and its gradient at a point, over all rows."""
    if isinstance(rows, Batches):
        return accumulate(None, point, rows, problem, weight_map, packing=packing)
    sums = None
    for chunk in rows():
        sums = accumulate(sums, point, chunk, problem, weight_map, packing=packing)
    return jax.block_until_ready(sums)  # or chunks of the steps to come would fill the device


def descend(
    state: State,
    rows: Rows,
    tolerance: float,
    problem: Problem,
    weight_map: WeightMap,
    *,
    packing: Packing,
    max_iterations: int,
    squared_l2: bool = False,
) -> Iterator[State]:
    """Steps until every residual is at most the tolerance, or as often as allowed.

    A state may still be computed when it is yielded; it is waited for when the next is asked for.

    Args:
        state: where to start.
        rows: all rows; those that are not held on the device are read again for each step.
        tolerance: of the residual; a probe that meets it moves no more.
        problem: penalties and step sizes.
        weight_map: where weights lie; those that do not exist stay at zero.
        packing: which probes own which columns.
        max_iterations: steps at most.
        squared_l2: penalise the squared norm.

    Yields:
        The state before the first step, after every `INTERVAL` of steps and after the last, with the residuals and
        objectives of its parameters.
    """
    limit, left = np.float32(tolerance), max_iterations
    how: Any = {"packing": packing, "squared_l2": squared_l2}
    n_steps = 0  # the first look is before any step
    while True:
        if isinstance(rows, Batches):
            state = advance_and_inspect(state, rows, np.int32(n_steps), limit, problem, weight_map, **how)
        else:
            for _ in range(n_steps):
                gradient = total_sums(rows, state.ahead, problem, weight_map, packing=packing).gradient
                state = advance(state, gradient, limit, problem, weight_map, **how)
            sums = total_sums(rows, state.params, problem, weight_map, packing=packing)
            state = inspect(state, sums, problem, weight_map, **how)
        yield state
        left -= n_steps
        n_steps = min(INTERVAL, left)
        if n_steps == 0 or not (np.asarray(state.residual) > limit).any():
            return


@functools.partial(jax.jit, static_argnames=("packing",))
def finish(state: State, problem: Problem, *, packing: Packing) -> Params:
    """The parameters, with the bias of the columns as they are."""
    weights, bias = state.params
    return Params(weights, bias - _per_owner_products(weights, problem.mean, packing))


class Lanczos(NamedTuple):
    """The last two vectors of the Lanczos process on every probe's covariance."""

    before: Params
    vector: Params
    beta: Float[Array, " probe"]


def one_output(weight_map: WeightMap, packing: Packing) -> tuple[WeightMap, Packing]:
    """The same columns with one vector a probe."""
    packed = packing._replace(n_outputs=1)

    def first(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        return pack([part[:, :1] for part in unpack(arrays, packing)], packed)

    tiles = [jnp.broadcast_to(p[:, None], (len(p), packing.tile)) for p in weight_map.probes]
    owned = [jnp.ones(rows.shape) if mask is None else mask for rows, mask in zip(tiles, weight_map.owned, strict=True)]
    probes = tuple(rows[:, 0] for rows in first(tuple(tiles)))
    return WeightMap(weight_map.columns, probes, first(tuple(owned))), packed


@functools.partial(jax.jit, static_argnames=("packing",))
def lanczos_start(draw: Float[Array, " column"], weight_map: WeightMap, *, packing: Packing) -> Lanczos:
    """The process from the same draw for every probe, so far as it owns the columns. `packing` has one output."""
    parts = [jnp.broadcast_to(draw[s.start : s.stop], (len(s.owners), 1, s.stop - s.start)) for s in packing.segments]
    vector = _masked(pack(parts, packing), weight_map)
    norm = jnp.sqrt(_totals(weight_map, packing)([v * v for v in vector]))
    scale = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)
    zeros = jax.tree.map(jnp.zeros_like, vector)
    bias = jnp.zeros((packing.n_probes, 1))
    vector = tuple(v * s for v, s in zip(vector, _rows(scale, weight_map), strict=True))
    return Lanczos(Params(zeros, bias), Params(vector, bias), jnp.zeros(packing.n_probes))


@functools.partial(jax.jit, static_argnames=("packing",))
def lanczos_step(
    process: Lanczos, product: Params, problem: Problem, weight_map: WeightMap, *, packing: Packing
) -> tuple[Lanczos, Float[Array, " probe"]]:
    """One step, and the diagonal entry found.

    Args:
        process: where it stands.
        product: the gradient of the mean square of the vector's outputs, which is twice covariance times vector.
        problem: the problem.
        weight_map: that of one output.
        packing: that of one output.
    """
    total, rows = _totals(weight_map, packing), functools.partial(_rows, weight_map=weight_map)
    vector, before = process.vector.weights, process.before.weights
    image = [g / 2 for g in _centred(product, problem, weight_map, packing).weights]
    alpha = total([i * v for i, v in zip(image, vector, strict=True)])
    rest = [
        i - a * v - b * u for i, v, u, a, b in zip(image, vector, before, rows(alpha), rows(process.beta), strict=True)
    ]
    beta = jnp.sqrt(total([r * r for r in rest]))
    goes_on = beta > 1e-5 * jnp.abs(alpha)  # below, rounding alone is left of it
    scale = jnp.where(goes_on, 1 / jnp.where(goes_on, beta, 1), 0)
    fresh = tuple(r * s for r, s in zip(rest, rows(scale), strict=True))
    beta = jnp.where(goes_on, beta, 0)
    return Lanczos(process.vector, Params(fresh, process.vector.bias), beta), alpha


def _soft(values: Array, threshold: Array) -> Array:
    return jnp.sign(values) * jnp.maximum(jnp.abs(values) - threshold, 0)


def _totals(weight_map: WeightMap, packing: Packing) -> Callable[[Sequence[Array]], Array]:
    """What sums each probe's weights, [probe], of arrays packed like them."""
    members = [jnp.arange(packing.n_probes)[:, None] == p for p in weight_map.probes]

    def total(arrays: Sequence[Float[Array, "_weight_row tile"]]) -> Float[Array, " probe"]:
        groups = zip(members, arrays, strict=True)
        parts = [jnp.dot(m.astype(jnp.float32), a.sum(1), precision=HIGHEST) for m, a in groups]
        return functools.reduce(jnp.add, parts, jnp.zeros(packing.n_probes))

    return total


def _rows(values: Array, weight_map: WeightMap) -> list[Array]:
    """A value of each probe, for the rows of weights of each group."""
    return [values[p][:, None] for p in weight_map.probes]


def _masked(weights, weight_map: WeightMap) -> tuple[Array, ...]:
    return tuple(w if owned is None else w * owned for w, owned in zip(weights, weight_map.owned, strict=True))


def _centred(gradient: Params, problem: Problem, weight_map: WeightMap, packing: Packing) -> Params:
    """The gradient in the weights of centred columns, zero where a weight does not exist."""
    shifts = [of_owners(gradient.bias, s)[:, :, None] * problem.mean[s.start : s.stop] for s in packing.segments]
    moved = jax.tree.map(jnp.subtract, gradient.weights, pack(shifts, packing))
    return Params(_masked(moved, weight_map), gradient.bias)


def _per_owner_products(weights, vector: Array, packing: Packing) -> Array:
    """A vector of columns times the weights of every probe, [probe, output]."""
    total = jnp.zeros((packing.n_probes, packing.n_outputs))
    for segment, part in zip(packing.segments, unpack(weights, packing), strict=True):
        product = jnp.einsum("poc,c->po", part, vector[segment.start : segment.stop], precision=HIGHEST)
        total = total.at[np.array(segment.owners)].add(product)
    return total
