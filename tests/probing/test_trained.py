import functools
import json
from dataclasses import replace
from inspect import unwrap as unchecked  # the suite checks annotations, which nobody else does: see pyproject.toml

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.made_up_task import N_CLASSES, N_COLUMNS, N_ROWS, random_task, relative_error
from helpers.processes import run_program
from helpers.shared import ROOT

from jaxred import probing
from jaxred.activations import matrix
from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ProbeConfig
from jaxred.errors import UserError
from jaxred.probing import elastic_net, fit, parts
from jaxred.probing.families import layer_family, prefix_family, subset_family
from jaxred.probing.metrics import score, scores

GOLDEN = ROOT / "tests" / "golden"
CONFIG = ProbeConfig(l1=1e-3, l2=1e-3, learning_rate=1e-2, epochs=3, batch_size=32)
STILL = ProbeConfig(learning_rate=1e-30, epochs=3, batch_size=32)  # leaves the initial weights as they are


def alone(columns, config=CONFIG):
    """A probe trained in no company, on columns in the order given."""
    return fit(prefix_family(columns, [len(columns)]), *random_task(), N_CLASSES, config).probe(0)


def together(family, config=CONFIG):
    return fit(family, *random_task(), N_CLASSES, config)


def assert_same_probe(one, other):
    np.testing.assert_array_equal(one.columns, other.columns)
    assert relative_error(one.weights, other.weights) <= 1e-6
    np.testing.assert_allclose(one.bias, other.bias, rtol=0, atol=1e-6)
    np.testing.assert_allclose(one.losses, other.losses, rtol=2e-6)


# The original's results


def start(golden, family, packing, seeds):
    """The original's initial weights, packed."""
    return (np.float32(golden["W0"]).reshape(-1, packing.tile),), np.float32(golden["b0"][None])


@pytest.fixture(scope="module", params=sorted(path.stem for path in GOLDEN.glob("probe_*.npz")))
def original(request):
    """What the original trained, and the same fit from the same initial weights."""
    with np.load(GOLDEN / f"{request.param}.npz") as file:
        golden = dict(file)
    n_columns = golden["X"].shape[1]
    names = ("l1", "l2", "learning_rate", "epochs", "batch_size")
    config = ProbeConfig(**{name: golden[name].item() for name in names})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_initial_params", functools.partial(start, golden))
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
    part = fitted.parts[0]
    n_masked = 0
    for segment, mask, weights in zip(part.family.segments, part.family.masks, parts.unpacked(part), strict=True):
        exists = np.ones((segment.stop - segment.start, len(segment.owners)), bool) if mask is None else mask
        for place, owner in enumerate(segment.owners):
            mine = part.family.columns[segment.start : segment.stop][exists[:, place]]
            assert set(mine) <= set(subsets[owner])
        masked = np.broadcast_to(~exists.T[:, None], weights.shape)
        n_masked += masked.sum()
        assert (weights[masked] == 0).all()
        print((weights[~masked] != 0).mean(), weights[~masked].size)
        assert (weights[~masked] != 0).mean() > 0.999
    assert n_masked > 0


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


# Seeds, parts, devices, streams


def test_probes_of_a_family_start_from_their_own_seeds():
    family = subset_family([np.arange(size) for size in (16, 48, 16, 48)], N_COLUMNS)
    settings = probing.settings_of(CONFIG, 4)._replace(seed=CONFIG.seed + np.array([0, 0, 1, 1]))
    together = fit(family, *random_task(), N_CLASSES, CONFIG, settings)
    for probe, size in enumerate((16, 48, 16, 48)):
        config = ProbeConfig(**{**vars(CONFIG), "seed": CONFIG.seed + probe // 2})
        assert_same_probe(together.probe(probe), alone(np.arange(size), config))


def test_every_probe_has_its_own_penalty():
    family = subset_family([np.arange(48), np.arange(48)], N_COLUMNS)
    settings = probing.Settings(*(np.float32([0.0, v]) for v in (0.5, 0.5)), np.float32([1e-2, 1e-3]), np.array([1, 2]))
    together = fit(family, *random_task(), N_CLASSES, CONFIG, settings)
    for probe in range(2):
        l1, l2, rate, seed = (values[probe].item() for values in settings)
        config = ProbeConfig(**{**vars(CONFIG), "l1": l1, "l2": l2, "learning_rate": rate, "seed": seed})
        assert_same_probe(together.probe(probe), alone(np.arange(48), config))


def assert_same_fit(one, other):
    for probe in range(one.family.n_probes):
        a, b = one.probe(probe), other.probe(probe)
        np.testing.assert_array_equal(a.columns, b.columns)
        np.testing.assert_allclose(a.weights, b.weights, rtol=0, atol=1e-5 * max(np.abs(b.weights).max(initial=0), 1))
        np.testing.assert_allclose(a.losses, b.losses, rtol=1e-5)


@pytest.mark.parametrize("kind", ["layers", "prefixes", "subsets"])
def test_a_family_cut_to_a_memory_budget_gives_the_same(monkeypatch, kind):
    draw = np.random.default_rng(4)
    family = {
        "layers": layer_family(4, 16),
        "prefixes": prefix_family(draw.permutation(N_COLUMNS), [0, 3, 17, 40, 64]),
        "subsets": subset_family([draw.permutation(N_COLUMNS)[:k] for k in (30, 50, 0, 7)], N_COLUMNS),
    }[kind]
    whole = together(family)
    monkeypatch.setattr(parts, "PART_BYTES", 3000)
    cut = together(family)
    assert len(whole.parts) == 1 < len(cut.parts)
    assert_same_fit(cut, whole)
    np.testing.assert_array_equal(cut.predict(random_task()[0]), whole.predict(random_task()[0]))


@pytest.mark.parametrize("n_classes", [1, 2, 3])
def test_a_streamed_matrix_gives_the_same(monkeypatch, tmp_path, n_classes):
    features, targets = random_task()
    targets = targets.astype(np.float32) if n_classes == 1 else targets % n_classes
    family = prefix_family(np.random.default_rng(1).permutation(N_COLUMNS), [3, 17, 64])
    whole = fit(family, features, targets, n_classes, CONFIG)
    streamed, space = FeatureMatrix.allocate(N_ROWS, N_COLUMNS, CONFIG.batch_size, scratch=tmp_path)
    space[:N_ROWS] = features
    streamed.arrange()
    assert not streamed.in_memory
    monkeypatch.setattr(matrix, "CHUNK_BYTES", 4 * 32 * N_COLUMNS)  # a batch
    assert len(streamed.chunks()) == 3
    assert_same_fit(fit(family, streamed, targets, n_classes, CONFIG), whole)


def test_names_of_classes_are_refused_with_what_gives_their_numbers():
    rows = np.zeros((4, 3), np.float32)
    family = layer_family(1, 3)
    for labels in (np.array(["yes", "no", "no", "yes"]), ["yes", "no", "no", "yes"]):
        with pytest.raises(
            UserError, match=r"such as \['yes'\], .* jaxred\.probing\.features\.class_ids\(labels\) gives"
        ):
            unchecked(fit)(family, rows, labels, 2, ProbeConfig())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targets": np.zeros(N_ROWS - 1, int)}, "but the features have"),
        ({"targets": np.full(N_ROWS, 3)}, "class ids from 3 to 3, but n_outputs is 3"),
        ({"targets": np.full(N_ROWS, -1)}, "class ids from -1 to -1"),
        ({"targets": np.zeros(N_ROWS)}, "take one output, but n_outputs is 3"),
        ({"features": np.zeros((N_ROWS, 3), np.float32)}, "columns up to 9"),
        ({"config": replace(CONFIG, solver="sgd")}, "probe.solver='sgd'"),
        ({"config": replace(CONFIG, learning_rate=-1.0)}, "probe.learning_rate"),
        (
            {"features": np.full((N_ROWS, 10), np.nan, np.float32)},
            r"The loss of 2 of 2 probes \(first-4 is the first\) is not a finite number after epoch 1",
        ),
        (
            {"features": np.full((N_ROWS, 10), 3e38, np.float32)},
            r"first-10 is the first.*config\.probe\.learning_rate is",
        ),
        ({"config": replace(CONFIG, learning_rate=1e30)}, r"learning_rate=1e\+30 is not possible.*at most 10"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_reason(change, words):
    x, _ = random_task()
    given = {"features": x[:, :10], "targets": np.arange(N_ROWS) % 3, "config": CONFIG} | change
    family = prefix_family(np.arange(10), [4, 10])
    with pytest.raises(UserError, match=words):
        unchecked(fit)(family, given["features"], given["targets"], 3, given["config"])


def test_a_probe_that_is_none_is_named():
    x, y = random_task()
    fitted = fit(prefix_family(np.arange(10), [4, 10]), x[:, :10], y, 3, CONFIG)
    for index in (-1, 2):
        with pytest.raises(IndexError, match=f"no probe {index}: the family has probes 0 to 1"):
            fitted.probe(index)


def test_a_streamed_matrix_cannot_be_shuffled(monkeypatch, tmp_path):
    streamed, _ = FeatureMatrix.allocate(N_ROWS, N_COLUMNS, 32, scratch=tmp_path)
    monkeypatch.setattr(matrix, "CHUNK_BYTES", 4 * 32 * N_COLUMNS)
    config = ProbeConfig(**{**vars(CONFIG), "shuffle": True})
    with pytest.raises(UserError, match=r"config\.probe\.shuffle.*does not fit in memory.*leave shuffle off"):
        fit(prefix_family(np.arange(4), [4]), streamed, random_task()[1], N_CLASSES, config)


def test_eight_devices_give_the_same_as_one(tmp_path):
    """In a process of its own, since the number of devices is fixed when JAX starts."""
    program = """
import sys, jax, numpy as np
jax.config.update("jax_platforms", "cpu")
from jaxred.config import ProbeConfig
from jaxred.probing.families import layer_family
from jaxred.probing import fit, parts
draw = np.random.default_rng(0)
x, y = draw.normal(size=(90, 64)).astype(np.float32), draw.integers(0, 3, 90)
fitted = fit(layer_family(4, 16), x, y, 3, ProbeConfig(epochs=3, batch_size=32))
assert len(fitted.parts) == min(len(jax.devices()), 8)
np.savez(sys.argv[1], predictions=fitted.predict(x), **{str(p): fitted.probe(p).weights for p in range(8)})
"""
    found = []
    for n_devices in (1, 8):
        file = tmp_path / f"{n_devices}.npz"
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={n_devices}"}
        done = run_program(program, str(file), environment=flags)
        assert done.returncode == 0, done.stderr
        with np.load(file) as arrays:
            found.append(dict(arrays))
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, rtol=0, atol=1e-6)


def test_a_probe_has_converged_when_its_loss_hardly_falls():
    assert not probing.Probe(None, None, None, np.float32([1.0])).converged
    assert not probing.Probe(None, None, None, np.float32([1.0, 0.8])).converged
    assert probing.Probe(None, None, None, np.float32([1.0, 0.5, 0.498])).converged


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

    def spy(state, data, penalty, layout, order, **settings):
        orders.append(None if order is None else np.asarray(order).reshape(CONFIG.epochs, -1)[:, :N_ROWS])
        return state, jnp.zeros((settings["epochs"], 1))

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

    def spy(state, data, penalty, layout, order, **settings):
        seen.update(settings, penalty=[np.asarray(values).tolist() for values in penalty], batch=data.blocks.shape[2])
        return state, jnp.zeros((settings["epochs"], 2))

    monkeypatch.setattr(elastic_net, "train", spy)
    config = ProbeConfig(l1=0.25, l2=0.5, learning_rate=0.125, epochs=7, batch_size=11, squared_l2=True)
    family = prefix_family(np.arange(8), [2, 8])
    fit(family, *random_task(), N_CLASSES, config)
    assert seen["penalty"] == [[0.25, 0.25], [0.5, 0.5], [0.125, 0.125]]
    assert (seen["epochs"], seen["batch"], seen["squared_l2"]) == (7, 11, True)
    assert seen["packing"].segments == family.segments


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


# Single probes


@pytest.mark.parametrize("solver", ["adam", "fista"])
def test_a_probe_predicts_what_its_family_predicts_by_name_and_when_loaded(tmp_path, solver):
    features, targets = random_task()
    family, names = prefix_family(np.random.default_rng(5).permutation(N_COLUMNS), [0, 17]), ("a", "b", "c")
    fitted = fit(family, features, targets, N_CLASSES, replace(CONFIG, solver=solver), classes=names)
    probe = fitted.probe(1)
    expected = np.array(names)[fitted.predict(features)[:, 1]]
    np.testing.assert_array_equal(probe.predict(features), expected)
    np.testing.assert_array_equal(probe.predict(features.reshape(-1, 4, 16)), expected)
    np.testing.assert_array_equal(probe._replace(classes=None).predict(features), fitted.predict(features)[:, 1])
    np.testing.assert_array_equal(probe.predict_proba(features).argmax(1), fitted.predict(features)[:, 1])
    assert probe.score(features, np.array(names)[targets]) == np.mean(fitted.predict(features)[:, 1] == targets)
    probe.save(tmp_path / "probe.safetensors")
    again = probing.Probe.load(tmp_path / "probe.safetensors")
    assert_same_probe(again, probe)
    assert (again.classes, again.converged, again.solution is None) == (names, probe.converged, solver == "adam")
    np.testing.assert_array_equal(again.predict_proba(features), probe.predict_proba(features))
    with pytest.raises(UserError, match=r"X is of shape \(90, 3\), but the probe reads columns up to"):
        probe.predict(features[:, :3])
    with pytest.raises(UserError, match="classes has 2 names, but n_outputs is 3"):
        fit(family, features, targets, N_CLASSES, CONFIG, classes=names[:2])


def test_a_regressions_probe_is_scored_by_r_squared():
    features, _ = random_task()
    targets = features[:, 3] - features[:, 40]
    fitted = fit(subset_family([np.array([3, 40])], N_COLUMNS), features, targets, 1, replace(CONFIG, solver="fista"))
    probe = fitted.probe(0)
    np.testing.assert_allclose(probe.predict(features), fitted.predict(features)[:, 0], rtol=0, atol=1e-5)
    assert probe.score(features, targets) > 0.99
    assert probe.score(features, -targets) < 0
