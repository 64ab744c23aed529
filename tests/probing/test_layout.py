"""How a family's weights lie, and what is computed with them, against probes as dense, masked matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ProbeConfig
from jaxred.probing import elastic_net, layout, parts
from jaxred.probing.families import Family, layer_family, prefix_family, subset_family
from jaxred.probing.layout import Batches, Segment

N_ROWS, N_COLUMNS, BATCH = 40, 24, 16
L1, L2, RATE = 1e-2, 2e-2, 1e-2


# The dense reference: every probe has its own whole weight matrix, and a mask of the columns that it owns.


def dense_outputs(weights, bias, mask, x):
    return jnp.einsum("rc,pco->pro", x, weights * mask[:, :, None], precision="highest") + bias[:, None]


def dense_loss(weights, bias, mask, x, y, rows, l1, l2):
    """Each probe's loss of a batch; `rows` weighs its rows: 0 where a row only fills the batch up."""
    weights = weights * mask[:, :, None]
    z = dense_outputs(weights, bias, mask, x)
    if y.dtype.kind == "f":
        loss = (z[:, :, 0] - y) ** 2
    else:
        loss = -jnp.take_along_axis(jax.nn.log_softmax(z), y[None, :, None], 2)[:, :, 0]
    squares = (weights**2).sum((1, 2))
    norm = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return (loss * rows).sum(1) + l1 * jnp.abs(weights).sum((1, 2)) + l2 * norm


@jax.jit
def dense_losses_and_gradients(*problem):
    def summed(weights, bias):
        losses = dense_loss(weights, bias, *problem[2:])
        return losses.sum(), losses

    (_, losses), gradients = jax.value_and_grad(summed, (0, 1), has_aux=True)(*problem[:2])
    return losses, gradients


def dense_training(params, mask, batches, epochs):
    """Adam; the parameters, and each probe's loss summed over the batches of each epoch."""
    first, second, count, record = [0, 0], [0, 0], 0, []
    for _ in range(epochs):
        record.append(0)
        for batch in batches:
            losses, gradients = dense_losses_and_gradients(*params, mask, *batch, L1, L2)
            record[-1] += np.asarray(losses)
            count += 1
            for i, gradient in enumerate(map(np.asarray, gradients)):
                first[i] = 0.9 * first[i] + 0.1 * gradient
                second[i] = 0.999 * second[i] + 0.001 * gradient**2
                mean, square = first[i] / (1 - 0.9**count), second[i] / (1 - 0.999**count)
                params[i] = params[i] - RATE * mean / (np.sqrt(square) + 1e-8)
    return params, np.stack(record)


# A random family of each kind


def random_family(kind, draw):
    if kind == "layers":
        return layer_family(*[(2, 12), (3, 8), (6, 4)][draw.integers(3)])
    if kind == "prefixes":
        sizes = np.sort(draw.choice(N_COLUMNS + 1, draw.integers(1, 8), replace=False))
        return prefix_family(draw.permutation(N_COLUMNS), sizes.tolist(), N_COLUMNS)
    return subset_family([draw.permutation(N_COLUMNS)[: draw.integers(0, 25)] for _ in range(5)], N_COLUMNS)


class Case:
    """A family, packed, and the same as dense matrices; small groups, so that there are several."""

    def __init__(self, kind, n_outputs, seed):
        draw = np.random.default_rng(seed)
        self.family = random_family(kind, draw)
        self.x = draw.normal(size=(N_ROWS, N_COLUMNS)).astype(np.float32)
        self.y = draw.integers(0, n_outputs, N_ROWS).astype(np.int32) if n_outputs > 1 else self.x[:, 3] - self.x[:, 9]
        config = ProbeConfig(l1=L1, l2=L2, learning_rate=RATE, batch_size=BATCH)
        (self.part,) = parts.all_parts(self.family, n_outputs, config, parts.settings_of(config, self.family.n_probes))
        matrix = FeatureMatrix.from_rows(self.x, BATCH)
        self.data = Batches(*(jnp.asarray(a) for a in (matrix.blocks, matrix.batched(self.y), matrix.counts)))
        self.batches = [self.batch(slice(i, i + BATCH)) for i in range(0, N_ROWS, BATCH)]
        self.mask = np.zeros((self.family.n_probes, N_COLUMNS), np.float32)
        for probe in range(self.family.n_probes):
            self.mask[probe, self.family.owned(probe)] = 1

    def batch(self, rows):
        """Rows, targets and weights of the rows, whose sum is 1; a last batch is filled up with ones that weigh 0."""
        x, y = self.x[rows], self.y[rows]
        n_missing = BATCH - len(x)
        weights = np.full(len(x), 1 / len(x), np.float32)
        x = np.pad(x, ((0, n_missing), (0, 0)), constant_values=1)
        return x, np.pad(y, (0, n_missing), constant_values=1), np.pad(weights, (0, n_missing))

    def dense(self, params):
        """Packed parameters as [probe, column, output] and bias."""
        weights = np.zeros((*self.mask.shape, params.bias.shape[1]), np.float32)
        arrays = parts.unpacked(self.part._replace(params=params))
        for segment, array in zip(self.part.packing.segments, arrays, strict=True):
            columns = self.part.family.columns[segment.start : segment.stop]
            for owner, values in zip(segment.owners, array, strict=True):
                weights[owner, columns] = np.asarray(values).T
        return [weights, np.asarray(params.bias)]

    def train(self, data, epochs):
        part = self.part
        copy = jax.tree.map(jnp.array, part.params)  # what is trained is given away
        state, losses = elastic_net.train(
            elastic_net.start(copy), data, part.penalty, part.weight_map, packing=part.packing, epochs=epochs
        )
        return self.dense(state.params), losses


@pytest.fixture(params=[(k, n, s) for k in ("layers", "prefixes", "subsets") for n, s in ((1, 0), (2, 1), (3, 2))])
def case(request, monkeypatch):
    monkeypatch.setattr(parts, "GROUP_WEIGHTS", {"cpu": 60})
    return Case(*request.param)


def assert_close(found, expected, atol):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def test_products_are_those_of_dense_masked_matrices(case):
    part, (weights, bias) = case.part, case.dense(case.part.params)
    assert (np.asarray(weights)[case.mask == 0] == 0).all()
    found = layout.outputs(part.params, case.data.blocks, part.weight_map.columns, packing=part.packing)
    found = np.moveaxis(np.asarray(found), 3, 1).reshape(-1, *bias.shape)[:N_ROWS]
    assert_close(np.moveaxis(found, 1, 0), dense_outputs(weights, bias, case.mask, case.x), 1e-5)


def test_losses_and_gradients_are_those_of_dense_masked_matrices(case):
    part, dense = case.part, case.dense(case.part.params)
    for index, (x, y, rows) in enumerate(case.batches):
        columns = layout.segment_columns(case.data.blocks, jnp.int32(index), part.weight_map.columns, part.packing)
        loss, gradient = layout.loss_and_gradient(
            part.params, columns, case.data.targets[index], jnp.asarray(rows), part.packing
        )
        expected_loss, expected = dense_losses_and_gradients(*dense, case.mask, x, y, rows, 0.0, 0.0)
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
        weights, bias = case.dense(gradient)  # also of weights that do not exist; their rates are 0
        assert_close((weights * case.mask[:, :, None], bias), expected, 1e-6)


def test_a_step_of_adam_is_that_of_dense_masked_matrices(case):
    first = Batches(*(a[:1] for a in case.data))
    found, losses = case.train(first, 1)
    expected, record = dense_training(case.dense(case.part.params), case.mask, case.batches[:1], 1)
    assert_close(found, expected, 2e-6)
    np.testing.assert_allclose(losses, record, rtol=1e-5)


def test_training_is_that_of_dense_masked_matrices(case):
    found, losses = case.train(case.data, 3)
    expected, record = dense_training(case.dense(case.part.params), case.mask, case.batches, 3)
    assert_close(found, expected, 1e-5)
    np.testing.assert_allclose(losses, record, rtol=1e-5)
    assert (np.asarray(found[0])[case.mask == 0] == 0).all()


# The figure


def test_the_figure_is_what_is_packed(monkeypatch):
    monkeypatch.setattr(parts, "GROUP_WEIGHTS", {"cpu": 20})
    segments = Segment(0, 2, (0, 1, 2)), Segment(2, 4, (1, 2)), Segment(4, 6, (2,))
    masks = (None, np.array([[True, True], [True, False]]), None)
    family = Family(np.arange(6), np.arange(6), segments, masks, 3)
    assert [family.owned(i).tolist() for i in range(3)] == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 4, 5]]
    config = ProbeConfig()
    (part,) = parts.all_parts(family, 2, config, parts.settings_of(config, 3))
    assert (part.packing.tile, part.packing.groups) == (2, ((0, 2), (2, 3)))
    figure = [line for line in layout.__doc__.splitlines() if line.startswith("    ")]
    cells = [line.split() for line in figure if line.split()[0].isdigit()]
    left, right = [row[:7] for row in cells], [row[7:] for row in cells if len(row) > 7]
    columns = [np.concatenate([np.arange(s.start, s.stop)[None]] * len(s.owners) * 2) for s in segments]
    groups = np.concatenate(columns[:2]), columns[2]
    for rows, probes, owned, its_columns in zip(
        (left, right), part.weight_map.probes, part.weight_map.owned, groups, strict=True
    ):
        table = np.array(rows, int)
        np.testing.assert_array_equal(table[:, 0], np.arange(len(probes)))
        np.testing.assert_array_equal(table[:, 1], probes)
        np.testing.assert_array_equal(table[:, 2], np.arange(len(probes)) % 2)
        np.testing.assert_array_equal(table[:, 3:5], its_columns)
        np.testing.assert_array_equal(table[:, 5:], np.ones((len(probes), 2)) if owned is None else owned)
