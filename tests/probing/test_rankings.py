"""Rankings of neurons against plain float64 computations, scikit-learn and SciPy, and planted neurons."""

import itertools

import jax
import numpy as np
import pytest
from helpers.made_up_features import made_up_features, planted
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.metrics import average_precision_score

from jaxred.activations.matrix import FeatureMatrix
from jaxred.probing import gaussian, rankings
from jaxred.probing.gaussian import gaussian_order


@pytest.fixture(params=["random", "rare class", "ties and constants", "two rows"])
def data(request):
    random = np.random.default_rng(5)
    n = 2 if request.param == "two rows" else 97
    rows = random.normal(size=(n, 70)).astype(np.float32) + 10 * random.normal(size=70).astype(np.float32)
    targets = random.integers(0, 3, n).astype(np.int32)
    if request.param == "rare class":
        targets = np.where(np.arange(n) == 13, 2, targets % 2).astype(np.int32)
    if request.param == "ties and constants":
        rows = np.round(rows)
        rows[:, 3] = 4.5
        rows[:, 5] = rows[:, 6]
        rows[50:60] = rows[40:50]
    return rows, targets


def test_probeless_is_the_sum_over_pairs_of_classes(data):
    rows, targets = data
    means = [rows[targets == c].mean(0, dtype=np.float64) for c in np.unique(targets)]
    expected = sum((np.abs(a - b) for a, b in itertools.combinations(means, 2)), np.zeros(rows.shape[1]))
    found = rankings.probeless(FeatureMatrix.from_rows(rows, 16), targets, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * np.abs(rows).max())


def test_average_precision_is_scikit_learns_of_the_better_sign_and_class(data):
    rows, targets = data
    found = rankings.average_precision(FeatureMatrix.from_rows(rows, 16), targets, 3)
    expected = [
        max(average_precision_score(targets == c, sign * x) for c in np.unique(targets) for sign in (1, -1))
        for x in rows.T
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_scores_order_columns_best_first_and_those_without_one_last():
    scores = np.array([1.0, np.nan, 3.0, 1.0, -np.inf])
    np.testing.assert_array_equal(rankings.best_first(scores), [2, 0, 3, 4, 1])


@pytest.mark.parametrize("name", ["probeless", "gaussian", "average_precision"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_neuron_that_decides_the_label_is_first(name, n_classes):
    features = planted(deciding=7, n_classes=n_classes)
    found = rankings.order(features, name)
    assert found[0] == 7
    np.testing.assert_array_equal(np.sort(found), np.arange(features.n_neurons))


def test_variance_and_random_are_what_they_say():
    features = planted()
    variance = np.asarray(features.matrices["train"]).var(0)
    np.testing.assert_array_equal(rankings.order(features, "variance"), np.argsort(-variance, kind="stable"))
    draws = [rankings.order(features, "random", seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
    np.testing.assert_array_equal(np.sort(draws[2]), np.arange(features.n_neurons))


def test_greedy_gaussians_are_those_of_scipy(monkeypatch):
    """Without shrinkage each step is the exact likelihood of full Gaussians."""
    monkeypatch.setattr(gaussian, "PRIOR_ROWS", 0.0)
    monkeypatch.setattr(gaussian, "SHRINKAGE", 0.0)
    jax.clear_caches()
    random = np.random.default_rng(2)
    targets = {"train": random.integers(0, 3, 300)}
    centres, mixing = random.normal(size=(3, 9)), random.normal(size=(3, 9, 9))
    rows = {
        split: np.stack([centres[c] + mixing[c] @ random.normal(size=9) for c in y]) for split, y in targets.items()
    }
    found = gaussian_order(made_up_features(rows, targets), n_greedy=5)
    fitted, held = gaussian.held_out(300)
    assert (len(fitted), len(held), len({*fitted, *held})) == (240, 60, 300)
    x, y = rows["train"][fitted], targets["train"][fitted]
    prior = np.log((np.bincount(y) + 1) / (240 + 3))

    def likelihood(columns: list[int]) -> float:
        joint = np.empty((3, 60))
        for c in range(3):
            own = x[y == c][:, columns]
            covariance = np.cov(own.T, bias=True).reshape(len(columns), len(columns))
            joint[c] = prior[c] + multivariate_normal.logpdf(rows["train"][held][:, columns], own.mean(0), covariance)
        return float(np.mean(joint[targets["train"][held], np.arange(60)] - logsumexp(joint, axis=0)))

    chosen: list[int] = []
    for _ in range(5):
        left = [column for column in range(9) if column not in chosen]
        chosen.append(max(left, key=lambda column: likelihood([*chosen, column])))
    np.testing.assert_array_equal(found[:5], chosen)
    rest = sorted(set(range(9)) - set(chosen), key=lambda column: -likelihood([column]))
    np.testing.assert_array_equal(found[5:], rest)
    jax.clear_caches()


def test_copies_constants_and_a_class_of_one_row_do_not_look_certain():
    features = planted(deciding=7, seed=3)
    rows = {split: np.asarray(matrix) for split, matrix in features.matrices.items()}
    targets = {split: y.copy() for split, y in features.targets.items()}
    for x in rows.values():
        x[:, 8] = x[:, 7]  # a copy of the one that decides
        x[:, 9] = 2.5
    targets["train"][0] = 2
    found = gaussian_order(made_up_features(rows, targets), n_greedy=6).tolist()
    assert found[0] in (7, 8)
    assert not {7, 8} <= set(found[:2])  # the copy adds nothing
    assert found[-1] == 9
    assert sorted(found) == list(range(24))


def test_samples_and_candidates_bound_what_is_looked_at(monkeypatch):
    monkeypatch.setattr(gaussian, "CANDIDATES", 5)
    monkeypatch.setattr(gaussian, "TRAIN_ROWS", 120)
    monkeypatch.setattr(gaussian, "HELD_ROWS", 30)
    found = gaussian_order(planted(deciding=11))
    assert found[0] == 11
    np.testing.assert_array_equal(np.sort(found), np.arange(24))
