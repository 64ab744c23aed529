"""The kernel's pieces against NumPy, and its solution against the optimality conditions in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxred.probing import proximal
from jaxred.probing.layout import Batches, Packing, Segment, WeightMap, unpack

N_ROWS, N_COLUMNS = 40, 6
SEGMENTS = (Segment(0, 4, (0, 1)), Segment(4, 6, (1,)))
MASK = np.array([[1, 1], [1, 1], [1, 0], [1, 1]], np.float32)  # of the first segment: probe 1 has no column 2
OWNED = ([0, 1, 2, 3], [0, 1, 3, 4, 5])
L1, L2 = np.float32([0.01, 0.02]), np.float32([0.05, 0.01])


def a_problem(n_outputs, seed=0):
    draw = np.random.default_rng(seed)
    x = (draw.normal(size=(N_ROWS, N_COLUMNS)) + draw.normal(size=N_COLUMNS)).astype(np.float32)
    if n_outputs == 1:
        y = (x[:, 0] - x[:, 3] + draw.normal(size=N_ROWS)).astype(np.float32)
    else:
        y = np.argmax(x[:, :n_outputs] + draw.normal(size=(N_ROWS, n_outputs)), 1).astype(np.int32)
    packing = Packing(SEGMENTS, ((0, 1), (1, 2)), 2, 2, n_outputs)
    owned = jnp.asarray(np.repeat(MASK.T[:, None], n_outputs, 1).reshape(-1, 2))
    rows = (np.repeat([0, 1], 2 * n_outputs), np.ones(n_outputs, int))
    layout = WeightMap(None, tuple(jnp.asarray(r, jnp.int32) for r in rows), (owned, None))
    blocks = np.full((3, N_COLUMNS, 16), 7, np.float32)
    blocks[:, :, :] = np.moveaxis(np.concatenate([x, np.full((8, N_COLUMNS), 7, np.float32)]).reshape(3, 16, -1), 1, 2)
    targets = np.concatenate([y, np.zeros(8, y.dtype)]).reshape(3, 16)
    data = Batches(jnp.asarray(blocks), jnp.asarray(targets), jnp.asarray([16, 16, 8]))
    steps, curvature = [], proximal.curvature(n_outputs > 1)
    for columns in OWNED:
        steps.append(1 / (curvature * np.linalg.eigvalsh(np.cov(x[:, columns].T, bias=True))[-1]))
    numbers = jnp.float32(1 / curvature), jnp.float32(1), jnp.float32(N_ROWS)
    problem = proximal.Problem(
        jnp.asarray(L1), jnp.asarray(L2), jnp.asarray(x.mean(0)), jnp.asarray(steps, jnp.float32), *numbers
    )
    return x.astype(np.float64), y, data, problem, layout, packing


def solve(n_outputs, squared_l2, tolerance=1e-6, max_iterations=2000):
    x, y, data, problem, layout, packing = a_problem(n_outputs)
    looks = list(
        proximal.descend(
            proximal.start(jnp.zeros((2, n_outputs)), layout, packing),
            data,
            tolerance,
            problem,
            layout,
            packing=packing,
            max_iterations=max_iterations,
            squared_l2=squared_l2,
        )
    )
    state = looks[-1]
    params = proximal.finish(state, problem, packing=packing)
    found = []
    for probe, columns in enumerate(OWNED):
        dense = np.zeros((N_COLUMNS, n_outputs))
        for segment, part in zip(SEGMENTS, unpack(params.weights, packing), strict=True):
            if probe in segment.owners:
                dense[segment.start : segment.stop] = np.asarray(part)[segment.owners.index(probe)].T
        others = np.setdiff1d(np.arange(N_COLUMNS), columns)
        assert (dense[others] == 0).all()
        found.append((dense, np.asarray(params.bias[probe], np.float64)))
    return x, y, found, state, np.stack([look.loss for look in looks])


def loss_and_slopes(x, y, weights, bias):
    z = x @ weights + bias
    if y.dtype.kind == "f":
        error = 2 * (z - y[:, None])
        loss = np.mean((z[:, 0] - y) ** 2)
    else:
        log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
        error = np.exp(log_p) - np.eye(z.shape[1])[y]
        loss = -log_p[np.arange(len(y)), y].mean()
    return loss, x.T @ error / len(x), error.mean(0)


@pytest.mark.parametrize("squared_l2", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 2, 3])
def test_the_optimality_conditions_hold_in_float64(n_outputs, squared_l2):
    x, y, found, state, record = solve(n_outputs, squared_l2)
    assert (np.asarray(state.residual) <= 1e-6).all()
    for probe, (weights, bias) in enumerate(found):
        l1, l2 = float(L1[probe]), float(L2[probe])
        loss, slope, bias_slope = loss_and_slopes(x, y, weights, bias)
        norm = np.linalg.norm(weights)
        slope = slope + (2 * l2 * weights if squared_l2 else l2 * weights / norm)
        there = weights != 0
        np.testing.assert_allclose(bias_slope, 0, atol=3e-6)
        np.testing.assert_allclose(slope[there], -l1 * np.sign(weights[there]), rtol=0, atol=3e-6)
        mine = np.isin(np.arange(N_COLUMNS), OWNED[probe])[:, None] & ~there
        assert (np.abs(slope[mine]) <= l1 + 3e-6).all()
        objective = loss + l1 * np.abs(weights).sum() + l2 * (norm**2 if squared_l2 else norm)
        np.testing.assert_allclose(record[-1, probe], objective, rtol=1e-6)
        assert record[-1, probe] < record[0, probe]


def test_the_un_squared_norm_has_the_optimum_of_long_plain_proximal_gradient():
    x, y, found, _, _ = solve(3, False)
    for probe, columns in enumerate(OWNED):
        mine = x[:, columns] - x[:, columns].mean(0)
        weights, bias = np.zeros((len(columns), 3)), np.zeros(3)
        step = 2 / max(np.linalg.eigvalsh(mine.T @ mine / N_ROWS)[-1], 1)
        for _ in range(20000):
            _, slope, bias_slope = loss_and_slopes(mine, y, weights, bias)
            moved = weights - step * slope
            moved = np.sign(moved) * np.maximum(np.abs(moved) - step * float(L1[probe]), 0)
            weights = moved * max(0, 1 - step * float(L2[probe]) / np.linalg.norm(moved))
            bias = bias - step * bias_slope
        bias = bias - x[:, columns].mean(0) @ weights
        assert np.linalg.norm(found[probe][0][columns] - weights) < 1e-4 * np.linalg.norm(weights)
        np.testing.assert_array_equal(found[probe][0][columns] == 0, weights == 0)
        np.testing.assert_allclose(found[probe][1], bias, rtol=0, atol=1e-4)


def test_a_residual_above_the_tolerance_is_that_of_the_parameters_returned():
    _, _, _, state, record = solve(3, True, tolerance=1e-12, max_iterations=25)
    assert np.asarray(state.iterations).tolist() == [25, 25]
    assert len(record) == 4  # before, after 10, 20 and 25
    _, _, data, problem, layout, packing = a_problem(3)
    sums = proximal.accumulate(None, state.params, data, problem, layout, packing=packing)
    again = proximal.inspect(state, sums, problem, layout, packing=packing, squared_l2=True)
    np.testing.assert_allclose(again.residual, state.residual, rtol=1e-3)
    np.testing.assert_allclose(again.loss, record[-1], rtol=1e-6)


def test_a_probe_that_has_met_the_tolerance_moves_no_more():
    _, _, data, problem, layout, packing = a_problem(3)
    state = proximal.start(jnp.zeros((2, 3)), layout, packing)._replace(residual=jnp.float32([1e-9, 1]))
    sums = proximal.accumulate(None, state.ahead, data, problem, layout, packing=packing)
    moved = proximal.advance(state, sums.gradient, jnp.float32(1e-6), problem, layout, packing=packing)
    assert moved.iterations.tolist() == [0, 1]
    for values, before, rows in zip(moved.params.weights, state.params.weights, layout.probes, strict=True):
        same = np.asarray(values == before).all(1)
        assert same[np.asarray(rows) == 0].all()
        assert not same[np.asarray(rows) == 1].all()


def test_lanczos_finds_the_largest_eigenvalue_of_every_probes_covariance():
    x, _, data, problem, layout, packing = a_problem(3)
    layout, packing = proximal.one_output(layout, packing)
    draw = np.random.default_rng(1).normal(size=N_COLUMNS).astype(np.float32)
    process = proximal.lanczos_start(jnp.asarray(draw), layout, packing=packing)
    data = data._replace(targets=jnp.zeros((3, 16)))
    alphas, betas = [], []
    for _ in range(8):  # more than there are columns
        sums = proximal.accumulate(None, process.vector, data, problem, layout, packing=packing)
        process, alpha = proximal.lanczos_step(process, sums.gradient, problem, layout, packing=packing)
        alphas.append(np.asarray(alpha))
        betas.append(np.asarray(process.beta))
    for probe, columns in enumerate(OWNED):
        beside = [b[probe] for b in betas[:-1]]
        matrix = np.diag([a[probe] for a in alphas]) + np.diag(beside, 1) + np.diag(beside, -1)
        largest = np.linalg.eigvalsh(np.cov(x[:, columns].T, bias=True))[-1]
        np.testing.assert_allclose(np.linalg.eigvalsh(matrix)[-1], largest, rtol=1e-5)


def test_all_products_are_true_float32():
    """Accelerators round the factors of a product to fewer bits unless told not to."""
    _, _, data, problem, layout, packing = a_problem(3)
    state = proximal.start(jnp.zeros((2, 3)), layout, packing)

    def steps_and_look():
        return proximal.advance_and_inspect(state, data, 3, 1e-6, problem, layout, packing=packing)

    found = [p for e in dot_products(jax.make_jaxpr(steps_and_look)().jaxpr) for p in e.params["precision"] or [None]]
    assert len(found) > 6
    assert set(found) == {jax.lax.Precision.HIGHEST}


def dot_products(jaxpr):
    """Every matrix product of a program, inner programs included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from dot_products(inner)


def test_no_weights_are_the_optimum_where_the_penalty_is_large():
    _, y, data, problem, layout, packing = a_problem(3)
    for penalties in ({"l1": jnp.float32([9, 9])}, {"l2": jnp.float32([9, 9])}):
        *_, state = proximal.descend(
            proximal.start(jnp.zeros((2, 3)), layout, packing), data, 1e-6,
            problem._replace(**penalties), layout, packing=packing, max_iterations=100,
        )  # fmt: skip
        assert all((np.asarray(w) == 0).all() for w in state.params.weights)
        shares = np.bincount(y) / len(y)
        np.testing.assert_allclose(jax.nn.softmax(state.params.bias[0]), shares, atol=1e-5)
        assert (np.asarray(state.residual) <= 1e-6).all()
