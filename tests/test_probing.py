import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxred import probing
from jaxred.config import ProbeConfig
from jaxred.kernels import elastic_net
from jaxred.kernels.elastic_net import Params
from jaxred.metrics import score, scores
from jaxred.probing import fit, layer_family, prefix_family, subset_family

GOLDEN = Path(__file__).parent / "golden"
N_ROWS, N_COLUMNS, N_CLASSES = 90, 64, 3
CONFIG = ProbeConfig(l1=1e-3, l2=1e-3, learning_rate=1e-2, epochs=3, batch_size=32)
STILL = ProbeConfig(learning_rate=1e-30, epochs=3, batch_size=32)  # leaves the initial weights as they are


def random_task(n_rows=N_ROWS, seed=0):
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(n_rows, N_COLUMNS)).astype(np.float32)
    return features, np.argmax(features[:, :N_CLASSES] + draw.normal(size=(n_rows, N_CLASSES)), axis=1)


def alone(columns, config=CONFIG):
    """A probe trained in no company, on columns in the order given."""
    return fit(prefix_family(columns, [len(columns)]), *random_task(), N_CLASSES, config).probe(0)


def together(family, config=CONFIG):
    return fit(family, *random_task(), N_CLASSES, config)


def relative_error(values, reference):
    return np.linalg.norm(values - reference) / np.linalg.norm(reference)


def assert_same_probe(one, other):
    np.testing.assert_array_equal(one.columns, other.columns)
    assert relative_error(one.weights, other.weights) <= 1e-6
    np.testing.assert_allclose(one.bias, other.bias, rtol=0, atol=1e-6)
    np.testing.assert_allclose(one.losses, other.losses, rtol=2e-6)


# The original's results


@pytest.fixture(scope="module", params=sorted(path.stem for path in GOLDEN.glob("probe_*.npz")))
def original(request):
    """What the original trained, and the same fit from the same initial weights."""
    with np.load(GOLDEN / f"{request.param}.npz") as file:
        golden = dict(file)
    n_columns = golden["X"].shape[1]
    start = Params((jnp.asarray(golden["W0"].T[:, None], jnp.float32),), jnp.asarray(golden["b0"][None], jnp.float32))
    names = ("l1", "l2", "learning_rate", "epochs", "batch_size")
    config = ProbeConfig(**{name: golden[name].item() for name in names})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probing, "_initial_params", lambda *_: start)
        family = prefix_family(np.arange(n_columns), [n_columns])
        fitted = fit(family, golden["X"], golden["y"], len(golden["b0"]), config)
    return request.param, golden, fitted


def test_trained_probes_are_the_originals(original):
    _, golden, fitted = original
    probe = fitted.probe(0)
    assert relative_error(probe.weights.T, golden["W"]) <= 1e-6
    assert relative_error(probe.bias, golden["b"]) <= 5e-5


def test_losses_are_the_originals_to_its_4_decimals(original):
    _, golden, fitted = original
    n_rows = len(golden["X"])
    n_batches = -(-n_rows // golden["batch_size"].item())
    per_instance = fitted.probe(0).losses.astype(np.float64) * n_batches / n_rows
    np.testing.assert_allclose(per_instance, golden["mean_loss_per_instance"], rtol=0, atol=5.5e-5)


def test_scores_and_predictions_are_the_originals(original):
    name, golden, fitted = original
    predictions = fitted.predict(golden["X"])[:, 0]
    if "regression" in name:
        np.testing.assert_allclose(predictions, golden["predictions"], rtol=0, atol=5e-5)
        for metric in ("pearson", "spearman"):
            assert score(metric, predictions, golden["y"]) == pytest.approx(golden[metric].item(), rel=0, abs=5e-6)
    else:
        expected = json.loads((GOLDEN / f"{name}.json").read_text())["scores"]
        assert scores("accuracy", predictions, golden["y"], [f"c{i}" for i in range(len(golden["b0"]))]) == expected


def test_all_originals_are_there():
    assert len(list(GOLDEN.glob("probe_classification_*.npz"))) == 5
    assert len(list(GOLDEN.glob("probe_regression_*.npz"))) == 2


# Alone and together


def test_a_probe_is_the_same_alone_and_among_50_prefixes():
    order = np.random.default_rng(1).permutation(N_COLUMNS)
    sizes = [0, *range(15, N_COLUMNS)]
    family = prefix_family(order, sizes)
    assert family.n_probes == 50
    assert any(mask is not None for mask in family.masks)
    fitted = together(family)
    for size in (16, 32, 48):
        assert_same_probe(fitted.probe(sizes.index(size)), alone(order[:size]))
    for probe, size in enumerate(sizes):
        np.testing.assert_array_equal(fitted.probe(probe).columns, order[:size])
        assert fitted.probe(probe).weights.shape == (size, N_CLASSES)


def test_a_probe_is_the_same_alone_and_among_50_subsets():
    draw = np.random.default_rng(2)
    subsets = [draw.permutation(N_COLUMNS)[: (0, 16, 32, 48)[i % 4]] for i in range(50)]
    family = subset_family(subsets, N_COLUMNS)
    fitted = together(family)
    for probe in (1, 6, 26, 47):
        assert_same_probe(fitted.probe(probe), alone(np.sort(subsets[probe])))
    for probe, columns in enumerate(subsets):
        np.testing.assert_array_equal(fitted.probe(probe).columns, np.sort(columns))


def test_a_probe_is_the_same_alone_and_among_layers_and_prefixes_of_layers():
    n_layers, hidden_size = 4, 16
    family = layer_family(n_layers, hidden_size)
    fitted = together(family)
    for layer in range(n_layers):
        assert_same_probe(fitted.probe(layer), alone(np.arange(layer * 16, layer * 16 + 16)))
    for layer in (0, 1, 2):
        assert_same_probe(fitted.probe(n_layers + layer), alone(np.arange((layer + 1) * 16)))
    np.testing.assert_array_equal(family.owned(7), np.arange(64))


def test_the_place_in_the_family_does_not_matter():
    draw = np.random.default_rng(3)
    subsets = [draw.permutation(N_COLUMNS)[: (0, 16, 32, 48)[i % 4]] for i in range(50)]
    forwards = together(subset_family(subsets, N_COLUMNS))
    backwards = together(subset_family(subsets[::-1], N_COLUMNS))
    for probe in range(1, 50):
        if len(subsets[probe]):
            assert_same_probe(backwards.probe(49 - probe), forwards.probe(probe))


def test_weights_of_columns_that_a_probe_does_not_own_are_exactly_zero():
    subsets = [np.arange(i, N_COLUMNS, 2 + i % 5) for i in range(50)]
    fitted = together(subset_family(subsets, N_COLUMNS))
    weights, mask = np.asarray(fitted.params.weights[0]), fitted.family.masks[0]
    for probe, columns in enumerate(subsets):
        assert set(np.flatnonzero(mask[:, probe])) == set(columns)
    assert (weights[~mask] == 0).all()
    assert (weights[mask] != 0).mean() > 0.999


def test_a_probe_without_columns_learns_the_classes_shares():
    features, _ = random_task()
    targets = np.repeat([2, 0, 1], [60, 20, 10])[np.random.default_rng(0).permutation(N_ROWS)]
    config = ProbeConfig(learning_rate=0.1, epochs=40, batch_size=N_ROWS)
    fitted = fit(prefix_family(np.arange(4), [0, 4]), features, targets, N_CLASSES, config)
    probe = fitted.probe(0)
    assert probe.weights.shape == (0, N_CLASSES)
    assert len(probe.columns) == 0
    shares = np.exp(probe.bias) / np.exp(probe.bias).sum()
    np.testing.assert_allclose(shares, [20 / 90, 10 / 90, 60 / 90], atol=0.02)
    assert (fitted.predict(features)[:, 0] == 2).all()


@pytest.mark.parametrize("sizes", [[0], []])
def test_a_family_without_any_columns_can_be_trained(sizes):
    features, targets = random_task()
    fitted = fit(prefix_family(np.arange(4), sizes), features, targets, N_CLASSES, CONFIG)
    assert fitted.predict(features).shape == (N_ROWS, len(sizes))


# Families


def test_a_layer_family_owns_each_layer_and_each_prefix_of_layers():
    family = layer_family(3, 2)
    expected = [[0, 1], [2, 3], [4, 5], [0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]
    assert [family.owned(probe).tolist() for probe in range(6)] == expected
    assert family.n_probes == 6


@given(data=st.data())
def test_a_prefix_family_owns_the_first_columns_of_the_order(data):
    order = np.array(data.draw(st.permutations(range(20))))
    sizes = sorted(data.draw(st.sets(st.integers(0, 20), min_size=1)))
    family = prefix_family(order, sizes)
    assert family.n_probes == len(sizes)
    for probe, size in enumerate(sizes):
        np.testing.assert_array_equal(family.owned(probe), order[:size])
        assert len(family.owned(probe)) == size


@given(subsets=st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=8))
def test_a_subset_family_owns_the_subsets_in_ascending_order(subsets):
    family = subset_family([np.array(list(s), int) for s in subsets], 10)
    assert [family.owned(probe).tolist() for probe in range(len(subsets))] == [sorted(s) for s in subsets]


# Where prefixes are cut into segments


def cost_of_cuts(sizes, cuts):
    """Masked columns, and the share of all owned columns that one more segment costs."""
    masked = sum(min(cut for cut in cuts if cut >= size) - size for size in sizes if size > 0)
    return masked + probing.SEGMENT_OVERHEAD * sum(sizes) * len(cuts)


sizes_of_prefixes = st.lists(st.integers(0, 10_000) | st.integers(5_000, 5_010), max_size=40).map(sorted)


@given(sizes=sizes_of_prefixes)
def test_cuts_cover_every_size_and_waste_little(sizes):
    cuts = probing._merged_cuts(sizes)
    assert cuts == sorted(set(cuts))
    assert set(cuts) <= set(sizes) - {0}
    if not any(sizes):
        assert cuts == []
        return
    assert cuts[-1] == max(sizes)
    no_better = [sorted(set(sizes) - {0}), [max(sizes)]]  # a segment for each size, and one for all
    assert all(cost_of_cuts(sizes, cuts) <= cost_of_cuts(sizes, other) * (1 + 1e-12) for other in no_better)


@given(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=7).map(sorted).filter(any))
def test_no_other_cuts_are_better(sizes):
    cost = cost_of_cuts(sizes, probing._merged_cuts(sizes))
    *inner, last = sorted(set(sizes) - {0})
    for chosen in range(2 ** len(inner)):
        other = [size for i, size in enumerate(inner) if chosen >> i & 1] + [last]
        assert cost <= cost_of_cuts(sizes, other) + 1e-9


def test_nearly_equal_sizes_share_a_segment_and_far_ones_do_not():
    assert probing._merged_cuts([3000, 5000, 5001, 5002, 9984]) == [3000, 5002, 9984]
    assert probing._merged_cuts([9, 19, 29, 9984]) == [29, 9984]


# Initial weights


def initial(size, seed=42):
    config = ProbeConfig(**{**vars(STILL), "seed": seed})
    return together(prefix_family(np.arange(size), [size]), config).probe(0)


@pytest.mark.parametrize("size", [16, 48])
def test_initial_weights_are_uniform_within_the_bound(size):
    probe, bound = initial(size), 1 / np.sqrt(size)
    values = np.concatenate([probe.weights.ravel(), probe.bias])
    assert (np.abs(values) <= bound).all()
    assert np.abs(probe.weights).max() > 0.9 * bound
    assert np.std(probe.weights) == pytest.approx(bound / np.sqrt(3), rel=0.15)
    assert abs(np.mean(probe.weights)) < 0.2 * bound
    assert len(set(values.tolist())) == values.size


def test_initial_weights_depend_on_the_seed():
    one, same, other = initial(16), initial(16), initial(16, seed=43)
    np.testing.assert_array_equal(one.weights, same.weights)
    np.testing.assert_array_equal(one.bias, same.bias)
    assert (one.weights != other.weights).all()
    assert (one.bias != other.bias).all()


# Shuffling


def test_shuffled_training_follows_the_seeds_permutations():
    features, targets = random_task()
    family, settings = prefix_family(np.arange(16), [16]), {**vars(CONFIG), "epochs": 1}
    rows = np.random.default_rng(CONFIG.seed).permutation(N_ROWS)
    shuffled = fit(family, features, targets, N_CLASSES, ProbeConfig(**{**settings, "shuffle": True})).probe(0)
    permuted = fit(family, features[rows], targets[rows], N_CLASSES, ProbeConfig(**settings)).probe(0)
    assert_same_probe(shuffled, permuted)


def test_shuffled_training_is_repeatable_and_not_the_plain_one():
    config = ProbeConfig(**{**vars(CONFIG), "shuffle": True})
    plain, shuffled, again = alone(np.arange(16)), alone(np.arange(16), config), alone(np.arange(16), config)
    np.testing.assert_array_equal(shuffled.weights, again.weights)
    assert relative_error(shuffled.weights, plain.weights) > 1e-3


def test_every_epoch_and_every_seed_has_its_own_row_order(monkeypatch):
    orders = []

    def spy(params, features, targets, penalty, masks, order, **settings):
        orders.append(None if order is None else np.asarray(order))
        return params, jnp.zeros((settings["epochs"], 1))

    monkeypatch.setattr(elastic_net, "train", spy)
    for settings in ({"shuffle": False}, {"shuffle": True}, {"shuffle": True, "seed": 7}):
        alone(np.arange(16), ProbeConfig(**{**vars(CONFIG), **settings}))
    assert orders[0] is None
    for order in orders[1:]:
        assert order.shape == (CONFIG.epochs, N_ROWS)
        assert (np.sort(order) == np.arange(N_ROWS)).all()
        assert len({tuple(rows) for rows in order}) == CONFIG.epochs
    assert (orders[1] != orders[2]).any()


# Settings and predictions


def test_every_setting_reaches_the_kernel(monkeypatch):
    seen = {}

    def spy(params, features, targets, penalty, masks, order, **settings):
        seen.update(settings, penalty=[np.asarray(values).tolist() for values in penalty])
        return params, jnp.zeros((settings["epochs"], 2))

    monkeypatch.setattr(elastic_net, "train", spy)
    config = ProbeConfig(l1=0.25, l2=0.5, learning_rate=0.125, epochs=7, batch_size=11, squared_l2=True)
    family = prefix_family(np.arange(8), [2, 8])
    fit(family, *random_task(), N_CLASSES, config)
    assert seen["penalty"] == [[0.25, 0.25], [0.5, 0.5], [0.125, 0.125]]
    assert (seen["epochs"], seen["batch_size"], seen["squared_l2"]) == (7, 11, True)
    assert seen["segments"] == family.segments


def test_predictions_are_the_largest_output_on_the_probes_columns():
    features, targets = random_task(n_rows=1500)  # more than are predicted at once, and not a multiple
    order = np.random.default_rng(5).permutation(N_COLUMNS)
    sizes = [0, 1, 17, 18, 60]
    fitted = fit(prefix_family(order, sizes), features[:N_ROWS], targets[:N_ROWS], N_CLASSES, CONFIG)
    predictions = fitted.predict(features)
    assert predictions.shape == (1500, len(sizes))
    assert predictions.dtype == np.int32
    for index in range(len(sizes)):
        probe = fitted.probe(index)
        outputs = features[:, probe.columns] @ probe.weights + probe.bias
        top_two = np.sort(outputs)[:, -2:]
        clear = top_two[:, 1] - top_two[:, 0] > 1e-5
        assert clear.mean() > 0.99
        np.testing.assert_array_equal(predictions[clear, index], outputs.argmax(1)[clear])


def test_regression_predicts_the_one_output():
    features, _ = random_task(n_rows=1100)
    targets = (features[:, 3] - features[:, 40]).astype(np.float64)
    subsets = [np.array([3]), np.array([40, 3]), np.arange(64)]
    fitted = fit(subset_family(subsets, 64), features[:N_ROWS], targets[:N_ROWS], 1, CONFIG)
    predictions = fitted.predict(features)
    assert predictions.shape == (1100, 3)
    assert predictions.dtype == np.float32
    for index in range(3):
        probe = fitted.probe(index)
        outputs = features[:, probe.columns] @ probe.weights[:, 0] + probe.bias[0]
        np.testing.assert_allclose(predictions[:, index], outputs, rtol=0, atol=1e-5)


def test_no_rows_are_no_predictions():
    assert together(prefix_family(np.arange(16), [16])).predict(random_task()[0][:0]).shape == (0, 1)


def test_the_data_are_left_as_they_are():
    features, targets = random_task()
    fit(prefix_family(np.arange(16), [16]), features, targets, N_CLASSES, CONFIG).predict(features)
    np.testing.assert_array_equal(features, random_task()[0])
    np.testing.assert_array_equal(targets, random_task()[1])
