import pickle
import warnings
from inspect import unwrap as unchecked  # the suite checks annotations, which nobody else does: see pyproject.toml
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.made_up_task import N_CLASSES, random_task
from sklearn.base import clone
from sklearn.linear_model import ElasticNet, LogisticRegression
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from jaxred.config import ProbeConfig
from jaxred.errors import UserError
from jaxred.probing import fit
from jaxred.probing.estimators import ElasticNetProbe, ElasticNetProbeRegressor, ProbeFamily
from jaxred.probing.estimators.base import ElasticNetBase
from jaxred.probing.families import layer_family, prefix_family
from jaxred.probing.ranking import rank_neurons

FAST = {"learning_rate": 1e-2, "epochs": 3, "batch_size": 32}
EXACT = {"solver": "fista", "tolerance": 1e-6, "max_iterations": 5000}


def named_task(n_rows=90, seed=0):
    features, ids = random_task(n_rows, seed)
    return features, np.array(["noun", "other", "verb"])[ids]


@pytest.fixture
def any_arguments(monkeypatch):
    """Constructors take anything, and fit refuses what is impossible, as scikit-learn wants it."""
    for estimator in (ElasticNetBase, ProbeFamily):
        monkeypatch.setattr(estimator, "__init__", unchecked(estimator.__init__))


def failures_expected(estimator):
    if isinstance(estimator, ProbeFamily):
        return {"check_pipeline_consistency": "it subtracts scores, and a family's score is one per probe, by name"}
    return {}


@parametrize_with_checks(
    [
        ElasticNetProbe(
            epochs=40, learning_rate=0.05
        ),  # 10 epochs of small steps, the default, learn little of 30 rows
        ElasticNetProbeRegressor(solver="fista"),
        ProbeFamily(ElasticNetProbe(epochs=2), n_layers=1),
    ],
    expected_failed_checks=failures_expected,
)
@pytest.mark.usefixtures("any_arguments")
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


# Numbers


@pytest.mark.parametrize(
    "settings", [FAST, {**FAST, "shuffle": True, "l1": 0.01, "squared_l2": True}, {**EXACT, "l1": 0.01}]
)
def test_a_probe_has_the_weights_of_fit(settings):
    features, labels = named_task()
    probe = ElasticNetProbe(**settings, random_state=7).fit(features, labels)
    ids = np.unique(labels, return_inverse=True)[1]
    config = ProbeConfig(**settings, seed=7)
    expected = fit(prefix_family(np.arange(64), [64]), features, ids, N_CLASSES, config).probe(0)
    np.testing.assert_array_equal(probe.coef_, expected.weights.T)
    np.testing.assert_array_equal(probe.intercept_, expected.bias)
    np.testing.assert_array_equal(probe.losses_, expected.losses)
    assert probe.converged_ == expected.converged
    assert probe.n_iter_ == (3 if expected.solution is None else expected.solution.iterations)
    assert probe.classes_.tolist() == ["noun", "other", "verb"]


def test_the_defaults_are_those_of_the_configuration():
    defaults = dict(vars(ProbeConfig()))
    defaults["random_state"] = defaults.pop("seed")
    for estimator in (ElasticNetProbe(), ElasticNetProbeRegressor()):
        assert estimator.get_params() == defaults


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_optimum_is_scikit_learns(n_classes):
    draw = np.random.default_rng(11)
    features = draw.normal(size=(240, 12)) + draw.normal(size=(240, 1))
    labels = np.argmax(features[:, :n_classes] + draw.normal(size=(240, n_classes)), axis=1)
    l1_ratio, strength = 0.6, 0.05  # strength: 1 / (C n)
    model = LogisticRegression(
        penalty="elasticnet", solver="saga", C=1 / (strength * 240), l1_ratio=l1_ratio, tol=1e-9, max_iter=20_000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model.fit(features, labels)
    l2 = (1 - l1_ratio) * strength / (1 if n_classes == 2 else 2)
    probe = ElasticNetProbe(l1_ratio * strength, l2, squared_l2=True, **EXACT).fit(features, labels)
    assert probe.converged_
    coef = probe.coef_[1:] - probe.coef_[:1] if n_classes == 2 else probe.coef_
    np.testing.assert_allclose(coef, model.coef_, rtol=0, atol=1e-4 * np.abs(model.coef_).max())
    np.testing.assert_array_equal(coef == 0, model.coef_ == 0)
    np.testing.assert_allclose(probe.predict_proba(features), model.predict_proba(features), atol=1e-4)
    assert probe.decision_function(features).shape == model.decision_function(features).shape


def test_the_regressions_optimum_is_scikit_learns():
    draw = np.random.default_rng(12)
    features = draw.normal(size=(200, 9))
    scores = features[:, 0] - 2 * features[:, 4] + draw.normal(size=200)
    model = ElasticNet(alpha=0.1, l1_ratio=0.7, tol=1e-10, max_iter=10_000).fit(features, scores)
    probe = ElasticNetProbeRegressor(2 * 0.1 * 0.7, 0.1 * 0.3, squared_l2=True, **EXACT).fit(features, scores)
    np.testing.assert_allclose(probe.coef_, model.coef_, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(probe.coef_ == 0, model.coef_ == 0)
    assert probe.score(features, scores) == pytest.approx(r2_score(scores, probe.predict(features)))
    assert isinstance(probe.intercept_, float)


@pytest.mark.parametrize("settings", [FAST, {**EXACT, "l1": 0.02}])
def test_standardised_training_gives_weights_of_the_neurons_as_they_are(settings):
    features, labels = named_task()
    features = features * np.linspace(0.5, 20, 64, dtype=np.float32) + 3
    features[:, 7] = 2.5
    mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    deviation[deviation == 0] = 1
    scaled = ((features - mean) / deviation).astype(np.float32)
    probe = ElasticNetProbe(**settings, standardize=True).fit(features, labels)
    plain = ElasticNetProbe(**settings).fit(scaled, labels)
    np.testing.assert_allclose(probe.predict_proba(features), plain.predict_proba(scaled), atol=1e-4)
    np.testing.assert_allclose(probe.coef_ * deviation, plain.coef_, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(probe.neurons(5), plain.neurons(5))


# Predictions


def test_predictions_probabilities_and_scores_belong_together():
    features, labels = named_task()
    probe = ElasticNetProbe(**FAST).fit(features, labels)
    outputs = features @ probe.coef_.T + probe.intercept_
    np.testing.assert_allclose(probe.decision_function(features), outputs, rtol=0, atol=1e-5)
    chosen = probe.predict_proba(features).argmax(1)
    np.testing.assert_array_equal(probe.predict(features), probe.classes_[chosen])
    np.testing.assert_allclose(probe.predict_proba(features).sum(1), 1)
    assert probe.score(features, labels) == accuracy_score(labels, probe.predict(features))


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: SimpleNamespace(matrix=lambda: x)])
def test_layers_and_what_has_a_matrix_are_taken(wrap):
    features, labels = named_task()
    flat = ElasticNetProbe(**FAST).fit(features, labels)
    probe = ElasticNetProbe(**FAST).fit(wrap(features.reshape(-1, 4, 16)), labels)
    np.testing.assert_array_equal(probe.coef_, flat.coef_)
    np.testing.assert_array_equal(probe.predict(wrap(features)), flat.predict(features.reshape(-1, 4, 16)))


def test_neurons_are_ranked_by_salience_and_those_without_weight_left_out():
    features, labels = named_task(300)
    probe = ElasticNetProbe(l1=0.05, **EXACT).fit(features, labels)
    used = np.flatnonzero((probe.coef_ != 0).any(0))
    assert 0 < len(used) < 64
    assert set(probe.neurons()) == set(used)
    np.testing.assert_array_equal(probe.neurons(2), rank_neurons(probe.coef_.T).order[:2])


def test_a_probe_lives_among_scikit_learns_tools():
    features, labels = named_task()
    search = GridSearchCV(ElasticNetProbe(**FAST), {"l1": [1e-4, 10.0]}, cv=2).fit(features, labels)
    assert search.best_params_ == {"l1": 1e-4}
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict(features), search.predict(features))
    assert clone(again).get_params() == again.get_params()


def test_a_repr_is_one_line_of_what_is_not_default():
    assert repr(ElasticNetProbe()) == "ElasticNetProbe()"
    assert repr(ElasticNetProbe(0.5, solver="fista")) == "ElasticNetProbe(l1=0.5, solver='fista')"
    family = ProbeFamily(ElasticNetProbe(0.5), [np.arange(999)] * 9)
    assert repr(family).startswith("ProbeFamily(probe=ElasticNetProbe(l1=0.5), sets=")
    assert "\n" not in repr(family)
    assert len(repr(family)) < 200


@pytest.mark.usefixtures("any_arguments")
def test_random_states_are_taken():
    features, labels = named_task()
    states = [np.random.RandomState(3), np.random.RandomState(3), np.random.RandomState(4), np.int64(5), 5]
    weights = [ElasticNetProbe(**FAST, random_state=state).fit(features, labels).coef_ for state in states]
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[3], weights[4])
    assert (weights[1] != weights[2]).all()


def test_impossible_settings_and_rows_are_refused_in_a_sentence():
    features, labels = named_task()
    with pytest.raises(UserError, match=r"l1=-1.0"):
        ElasticNetProbe(l1=-1.0).fit(features, labels)
    with pytest.raises(UserError, match=r"y holds one class, 'a'"):
        ElasticNetProbe().fit(features, ["a"] * 90)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ElasticNetProbe().fit(features, labels[:5])


# Families


def test_a_family_of_layers_is_that_of_fit():
    features, labels = named_task()
    ids = np.unique(labels, return_inverse=True)[1]
    family = ProbeFamily(ElasticNetProbe(**FAST)).fit(features.reshape(-1, 4, 16), labels)
    expected = fit(layer_family(4, 16), features, ids, N_CLASSES, ProbeConfig(**FAST))
    assert list(family.probes) == [f"layer-{i}" for i in range(4)] + [f"layers-0-{i}" for i in range(4)]
    for number, probe in enumerate(family.probes.values()):
        other = expected.probe(number)
        np.testing.assert_array_equal(probe.columns_, other.columns)
        np.testing.assert_array_equal(probe.coef_[:, probe.columns_], other.weights.T)
        assert (np.delete(probe.coef_, probe.columns_, 1) == 0).all()
    scores = family.score(features, labels)
    assert list(scores) == list(family.probes)
    for number, (name, probe) in enumerate(family.probes.items()):
        assert scores[name] == accuracy_score(labels, probe.classes_[expected.predict(features)[:, number]])
    assert family.predict(features).shape == (90, 8)
    flat = ProbeFamily(ElasticNetProbe(**FAST), n_layers=4).fit(features, labels)
    np.testing.assert_array_equal(flat.probes["layer-2"].coef_, family.probes["layer-2"].coef_)


def test_prefixes_and_sets_are_named_and_see_their_neurons():
    features, labels = named_task()
    order = np.random.default_rng(0).permutation(64)
    prefixes = ProbeFamily(ElasticNetProbe(**FAST), "prefixes", order=order, sizes=[0, 5, 40]).fit(features, labels)
    assert {name: set(probe.columns_) for name, probe in prefixes.probes.items()} == {
        "first-0": set(), "first-5": set(order[:5]), "first-40": set(order[:40])
    }  # fmt: skip
    sets = {"few": [9, 3], "many": range(30)}
    chosen = ProbeFamily(ElasticNetProbeRegressor(**FAST), sets).fit(features, features[:, 3])
    assert {name: probe.columns_.tolist() for name, probe in chosen.probes.items()} == {
        "few": [3, 9], "many": list(range(30))
    }  # fmt: skip
    assert set(chosen.probes["few"].neurons()) == {3, 9}
    assert list(ProbeFamily(ElasticNetProbe(**FAST), [[1], [2]]).fit(features, labels).probes) == ["0", "1"]


@pytest.mark.parametrize(
    ("family", "words"),
    [
        (ProbeFamily(), "n_layers is None: pass X as"),
        (ProbeFamily(n_layers=5), "64 neurons, and n_layers is 5"),
        (ProbeFamily(sets="prefixes"), "needs sizes"),
        (ProbeFamily(sets="prefixes", sizes=[5, 65]), r"at most the 64 neurons"),
        (ProbeFamily(sets="prefixes", sizes=[5], order=[1, 1, 2, 3, 4]), "order must hold"),
        (ProbeFamily(sets="pairs"), "sets='pairs' is not known"),
        (ProbeFamily(sets={"a": [64]}), r"sets\['a'\] must hold numbers of neurons from 0 to 63"),
        (ProbeFamily(sets=[[0.5]]), r"sets\[0\] must hold"),
    ],
)
def test_sets_that_do_not_fit_are_refused(family, words):
    with pytest.raises(UserError, match=words):
        family.fit(*named_task())


# Files


@pytest.mark.parametrize("standardize", [False, True])
def test_a_saved_probe_predicts_the_same(tmp_path, standardize):
    features, labels = named_task()
    probe = ElasticNetProbe(**FAST, standardize=standardize).fit(features, labels)
    probe.save(tmp_path / "probe.safetensors")
    again = ElasticNetProbe.load(tmp_path / "probe.safetensors")
    assert repr(again) == repr(probe)
    np.testing.assert_array_equal(again.predict_proba(features), probe.predict_proba(features))
    np.testing.assert_array_equal(again.predict(features), probe.predict(features))
    np.testing.assert_array_equal(again.neurons(), probe.neurons())
    assert (again.converged_, again.n_iter_) == (probe.converged_, probe.n_iter_)
    np.testing.assert_array_equal(again.losses_, probe.losses_)
    with pytest.raises(UserError, match="holds a ElasticNetProbe, but ElasticNetProbeRegressor is expected"):
        ElasticNetProbeRegressor.load(tmp_path / "probe.safetensors")


@pytest.mark.parametrize("model", [ElasticNetProbe(**FAST), ElasticNetProbeRegressor(**FAST)])
def test_a_saved_family_predicts_the_same(tmp_path, model):
    features, targets = random_task()
    family = ProbeFamily(model, {"a": [1, 2], "b": [], "c": range(40)}).fit(features, targets)
    family.save(tmp_path / "family.safetensors")
    again = ProbeFamily.load(tmp_path / "family.safetensors")
    np.testing.assert_array_equal(again.predict(features), family.predict(features))
    assert again.score(features, targets) == family.score(features, targets)
    assert repr(again.probe) == repr(model)
