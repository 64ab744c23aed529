"""The kernel against a float64 reference: optax's Adam on the autodiff of the loss as the docstring writes it."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxred.probing import elastic_net
from jaxred.probing.elastic_net import Penalty
from jaxred.probing.layout import Batches, Packing, Params, Segment, WeightMap, outputs, unpack

N_ROWS, EPOCHS = 25, 4
SEGMENTS = (Segment(0, 4, (0, 1)), Segment(4, 7, (0, 1, 2)), Segment(7, 9, (2,)))
MASK = np.array([[False, True, True], [True, False, True], [False, False, True]])  # of the middle segment
MASKS = (np.ones((4, 2), bool), MASK, np.ones((2, 1), bool))
COLUMNS = ([0, 1, 2, 3, 5], [0, 1, 2, 3, 4], [4, 5, 6, 7, 8])  # what each probe owns
L1, L2, LEARNING_RATE = [0.0, 0.03, 0.005], [0.0, 0.02, 0.3], [0.02, 0.005, 0.01]


def random_problem(kind="classes", n_outputs=3, seed=0):
    draw = np.random.default_rng(seed)
    n_outputs = n_outputs if kind == "classes" else 1
    features = draw.normal(size=(N_ROWS, 9)).astype(np.float32)
    targets = draw.integers(0, n_outputs, N_ROWS) if kind == "classes" else draw.normal(size=N_ROWS) + features[:, 4]
    return SimpleNamespace(
        features=features,
        targets=targets.astype(np.int32 if kind == "classes" else np.float32),
        weights=[draw.uniform(-0.5, 0.5, (len(c), n_outputs)).astype(np.float32) for c in COLUMNS],
        bias=draw.uniform(-0.5, 0.5, (3, n_outputs)).astype(np.float32),
    )


def packing(problem):
    """Two arrays of weights: that of the first segment, and that of the others; rows of one column."""
    return Packing(SEGMENTS, ((0, 1), (1, 3)), 1, 3, problem.bias.shape[1])


def packed(arrays, problem):
    """Arrays [column, owner, output] of each segment, as the kernel holds them."""
    rows = [np.moveaxis(np.asarray(a, np.float32), 0, 2).reshape(-1, 1) for a in arrays]
    return tuple(np.concatenate(rows[a:b]) for a, b in packing(problem).groups)


def params(problem):
    arrays = [np.zeros((s.stop - s.start, len(s.owners), problem.bias.shape[1]), np.float32) for s in SEGMENTS]
    for probe, columns in enumerate(COLUMNS):
        for row, column in enumerate(columns):
            number = next(i for i, s in enumerate(SEGMENTS) if s.start <= column < s.stop)
            place = SEGMENTS[number].owners.index(probe)
            arrays[number][column - SEGMENTS[number].start, place] = problem.weights[probe][row]
    return Params(tuple(jnp.asarray(a) for a in packed(arrays, problem)), jnp.asarray(problem.bias))


def layout(problem, columns=None):
    everyone = [np.ones((s.stop - s.start, len(s.owners), problem.bias.shape[1])) for s in SEGMENTS]
    probes = [np.float32(s.owners)[:, None] * ones for s, ones in zip(SEGMENTS, everyone, strict=True)]
    owned = [mask[:, :, None] * ones for mask, ones in zip(MASKS, everyone, strict=True)]
    probes = tuple(jnp.asarray(rows[:, 0], jnp.int32) for rows in packed(probes, problem))
    first, second = packed(owned, problem)
    assert first.all()
    return WeightMap(None if columns is None else jnp.asarray(columns, jnp.int32), probes, (None, jnp.asarray(second)))


def unpacked(trained, probe):
    problem = SimpleNamespace(bias=trained.bias)
    dense = np.zeros((9, trained.bias.shape[1]), np.float32)
    for segment, weights in zip(SEGMENTS, unpack(trained.weights, packing(problem)), strict=True):
        if probe in segment.owners:
            dense[segment.start : segment.stop] = np.asarray(weights)[segment.owners.index(probe)].T
    return dense[COLUMNS[probe]]


def blocks_of(rows, batch_size):
    """[batch, column, row], the last batch filled up with what must not count."""
    n_batches = -(-len(rows) // batch_size)
    filled = np.full((n_batches * batch_size, *rows.shape[1:]), 7, rows.dtype)
    filled[: len(rows)] = rows
    return np.moveaxis(filled.reshape(n_batches, batch_size, -1), 1, 2)


def train(problem, batch_size=8, order=None, squared_l2=False, columns=None):
    batch_size = min(batch_size, N_ROWS)
    blocks, targets = blocks_of(problem.features, batch_size), blocks_of(problem.targets, batch_size)[:, 0]
    counts = np.minimum(N_ROWS - np.arange(len(blocks)) * batch_size, batch_size)
    if columns is not None:
        blocks = blocks[:, np.argsort(columns)]
    if order is not None:
        nobody = np.tile(np.arange(N_ROWS, blocks.shape[0] * batch_size), (EPOCHS, 1))
        order = jnp.asarray(np.concatenate([order, nobody], 1).reshape(EPOCHS, -1, batch_size), jnp.int32)
    penalty = Penalty(*(jnp.asarray(values, jnp.float32) for values in (L1, L2, LEARNING_RATE)))
    state, losses = elastic_net.train(
        elastic_net.start(params(problem)),
        Batches(*(jnp.asarray(a) for a in (blocks, targets, counts))),
        penalty,
        layout(problem, columns),
        order,
        packing=packing(problem),
        epochs=EPOCHS,
        squared_l2=squared_l2,
    )
    return state.params, losses / len(blocks)


def reference_loss(parameters, x, y, l1, l2, squared_l2):
    weights, bias = parameters
    outputs = x @ weights + bias
    if y.dtype.kind == "i":
        data = -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], axis=1))
    else:
        data = jnp.mean((outputs[:, 0] - y) ** 2)
    squares = jnp.sum(weights**2)
    return data + l1 * jnp.sum(jnp.abs(weights)) + l2 * jnp.where(squared_l2, squares, jnp.sqrt(squares))


@jax.jit
def reference_step(parameters, state, x, y, l1, l2, learning_rate, squared_l2):
    value, gradient = jax.value_and_grad(reference_loss)(parameters, x, y, l1, l2, squared_l2)
    updates, state = optax.adam(learning_rate).update(gradient, state)
    return optax.apply_updates(parameters, updates), state, value


def reference_probe(problem, probe, batch_size, order, squared_l2):
    """One probe alone, in float64: weights, bias and the mean batch loss of each epoch."""
    features = problem.features[:, COLUMNS[probe]].astype(np.float64)
    targets = problem.targets.astype(np.int64 if problem.targets.dtype.kind == "i" else np.float64)
    with jax.enable_x64(True):
        parameters = (problem.weights[probe].astype(np.float64), problem.bias[probe].astype(np.float64))
        state, losses = optax.adam(1.0).init(parameters), []
        for rows in np.tile(np.arange(N_ROWS), (EPOCHS, 1)) if order is None else order:
            losses.append([])
            for i in range(0, N_ROWS, batch_size):
                batch, settings = rows[i : i + batch_size], (L1[probe], L2[probe], LEARNING_RATE[probe], squared_l2)
                parameters, state, loss = reference_step(parameters, state, features[batch], targets[batch], *settings)
                losses[-1].append(float(loss))
        assert parameters[0].dtype == np.float64
        return np.asarray(parameters[0]), np.asarray(parameters[1]), np.mean(losses, axis=1)


def assert_equals_reference(problem, batch_size=8, order=None, squared_l2=False, columns=None):
    trained, losses = train(problem, batch_size, order, squared_l2, columns)
    for probe in range(3):
        weights, bias, mean_losses = reference_probe(problem, probe, batch_size, order, squared_l2)
        assert relative_error(unpacked(trained, probe), weights) < 1e-5
        np.testing.assert_allclose(trained.bias[probe], bias, rtol=0, atol=1e-5)
        np.testing.assert_allclose(losses[:, probe], mean_losses, rtol=1e-5)


def relative_error(values, reference):
    return np.linalg.norm(values - reference) / np.linalg.norm(reference)


@pytest.mark.parametrize("squared_l2", [False, True])
@pytest.mark.parametrize("kind", ["classes", "scores"])
def test_every_probe_is_trained_by_adam_on_the_written_loss_with_its_own_penalty(kind, squared_l2):
    assert_equals_reference(random_problem(kind), squared_l2=squared_l2)


@pytest.mark.parametrize("n_outputs", [2, 3])
@pytest.mark.parametrize("batch_size", [5, 1000])
def test_any_batch_size_gives_the_reference(batch_size, n_outputs):
    assert_equals_reference(random_problem(n_outputs=n_outputs), batch_size)


@pytest.mark.parametrize("squared_l2", [False, True])
def test_two_classes_of_which_only_the_difference_is_multiplied_are_trained_alike(squared_l2):
    assert_equals_reference(random_problem(n_outputs=2), squared_l2=squared_l2)


def test_an_order_of_the_rows_is_followed_epoch_by_epoch():
    order = np.stack([np.random.default_rng(seed).permutation(N_ROWS) for seed in range(EPOCHS)])
    assert_equals_reference(random_problem(), order=order)
    assert_equals_reference(random_problem(), order=order, columns=np.random.default_rng(9).permutation(9))


@pytest.mark.parametrize("n_outputs", [2, 3])
def test_columns_can_lie_in_any_order(n_outputs):
    columns = np.random.default_rng(9).permutation(9)
    assert_equals_reference(random_problem(n_outputs=n_outputs), columns=columns)


def test_masked_weights_stay_exactly_zero():
    problem = random_problem()
    trained, _ = train(problem)
    middle = np.asarray(unpack(trained.weights, packing(problem))[1])  # [owner, output, column]
    exists = np.broadcast_to(MASK.T[:, None], middle.shape)
    assert (middle[~exists] == 0).all()
    assert (middle[exists] != 0).all()


def test_zero_weights_have_no_gradient_from_the_norm():
    problem = random_problem()
    problem.weights = [np.zeros_like(w) for w in problem.weights]
    problem.features[:] = 0  # nothing else moves them
    trained, losses = train(problem)
    assert all((np.asarray(w) == 0).all() for w in trained.weights)
    assert np.isfinite(losses).all()


def test_large_outputs_do_not_overflow():
    problem = random_problem()
    problem.features *= 1e4
    trained, losses = train(problem)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((trained, losses)))


def test_renaming_the_classes_renames_the_outputs():
    problem, renamed, new_name = random_problem(), random_problem(), np.array([2, 0, 1])
    renamed.targets = new_name[problem.targets].astype(np.int32)
    renamed.weights = [w[:, np.argsort(new_name)] for w in problem.weights]
    renamed.bias = problem.bias[:, np.argsort(new_name)]
    trained, retrained = train(problem)[0], train(renamed)[0]
    for probe in range(3):
        assert relative_error(unpacked(retrained, probe)[:, new_name], unpacked(trained, probe)) < 1e-5


def test_outputs_are_x_w_plus_b():
    problem = random_problem()
    blocks = jnp.asarray(blocks_of(problem.features, 8))
    found = outputs(params(problem), blocks, None, packing=packing(problem))
    found = np.moveaxis(np.asarray(found), 3, 1).reshape(-1, 3, 3)[:N_ROWS]
    for probe, columns in enumerate(COLUMNS):
        expected = problem.features[:, columns] @ problem.weights[probe] + problem.bias[probe]
        np.testing.assert_allclose(found[:, probe], expected, rtol=0, atol=1e-6)


def test_all_products_are_true_float32():
    """Accelerators round the factors of a product to fewer bits unless told not to."""
    problem = random_problem()
    for squared_l2 in (False, True):
        jaxpr = jax.make_jaxpr(lambda squared_l2=squared_l2: train(problem, squared_l2=squared_l2))()
        precisions = [p for equation in dot_products(jaxpr.jaxpr) for p in equation.params["precision"] or [None]]
        assert len(precisions) > 6
        assert set(precisions) == {jax.lax.Precision.HIGHEST}


def dot_products(jaxpr):
    """Every matrix product of a program, inner programs included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from dot_products(inner)
