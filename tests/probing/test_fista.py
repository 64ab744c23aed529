"""Probes at their optimum (`probe.solver=fista`), against scikit-learn's."""

import warnings

import numpy as np
import pytest
from helpers.made_up_task import N_CLASSES, N_COLUMNS, N_ROWS, random_task, relative_error
from sklearn.linear_model import ElasticNet, LogisticRegression

from jaxred.activations import matrix
from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ProbeConfig
from jaxred.probing import fit, parts
from jaxred.probing.families import prefix_family

OPTIMUM = ProbeConfig(l1=3e-3, l2=2e-3, batch_size=32, solver="fista", tolerance=1e-6, max_iterations=3000)


def optimum(family, **changes):
    config = ProbeConfig(**{**vars(OPTIMUM), **changes})
    features, targets = random_task(300)
    return fit(family, features, targets, N_CLASSES, config)


@pytest.mark.parametrize("n_outputs", [1, 2, 3])
def test_the_optimum_is_scikit_learns(n_outputs):
    features, _ = random_task(300)
    features = (features[:, :24] - features[:, :24].mean(0)) / features[:, :24].std(0)
    noise = np.random.default_rng(1).normal(size=(300, n_outputs))
    if n_outputs == 1:
        targets, l1, l2 = features[:, 0] + noise[:, 0], 2 * 0.05 * 0.6, 0.05 * 0.4
        model = ElasticNet(alpha=0.05, l1_ratio=0.6, tol=1e-10, max_iter=10_000)
    else:
        targets = np.argmax(features[:, :n_outputs] + noise, axis=1)
        l1, l2 = 0.6 / (0.2 * 300), 0.4 / ((1 if n_outputs == 2 else 2) * 0.2 * 300)
        model = LogisticRegression(
            penalty="elasticnet", solver="saga", C=0.2, l1_ratio=0.6, tol=1e-9, max_iter=10_000, random_state=0
        )
    config = ProbeConfig(**{**vars(OPTIMUM), "l1": l1, "l2": l2, "squared_l2": True})
    fitted = fit(prefix_family(np.arange(24), [5, 24]), features, targets, n_outputs, config)
    for index, size in enumerate((5, 24)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model.fit(features[:, :size].astype(np.float64), targets)
        probe, expected = fitted.probe(index), np.atleast_2d(model.coef_).T
        weights = probe.weights[:, 1:] - probe.weights[:, :1] if n_outputs == 2 else probe.weights
        assert probe.converged
        assert relative_error(weights, expected) < 1e-4
        np.testing.assert_array_equal(weights == 0, expected == 0)
        if size == 24:
            assert (weights == 0).any()
        if n_outputs == 2:
            np.testing.assert_array_equal(probe.weights[:, 0], -probe.weights[:, 1])


def test_an_optimum_is_the_same_alone_cut_and_streamed(monkeypatch, tmp_path):
    features, targets = random_task(300)
    order, sizes = np.random.default_rng(1).permutation(N_COLUMNS), [0, 3, 17, 64]
    family = prefix_family(order, sizes)
    whole = optimum(family)
    assert all(whole.probe(i).converged for i in range(4))
    shares = np.bincount(targets) / 300
    np.testing.assert_allclose(np.exp(whole.probe(0).bias) / np.exp(whole.probe(0).bias).sum(), shares, rtol=1e-5)
    others = [(2, optimum(prefix_family(order[:17], [17])).probe(0))]
    monkeypatch.setattr(parts, "PART_BYTES", 8000)
    cut = optimum(family)
    assert len(cut.parts) > 1
    others += [(i, cut.probe(i)) for i in range(4)]
    monkeypatch.undo()
    streamed, space = FeatureMatrix.allocate(300, N_COLUMNS, 32, scratch=tmp_path)
    space[:300] = features
    streamed.arrange()
    monkeypatch.setattr(matrix, "CHUNK_BYTES", 4 * 128 * N_COLUMNS)
    assert len(streamed.chunks()) > 1
    from_chunks = fit(family, streamed, targets, N_CLASSES, OPTIMUM)
    assert from_chunks.losses.shape == whole.losses.shape
    others += [(i, from_chunks.probe(i)) for i in range(4)]
    for index, probe in others:
        expected = whole.probe(index)
        np.testing.assert_array_equal(probe.columns, expected.columns)
        np.testing.assert_allclose(probe.weights, expected.weights, rtol=0, atol=3e-5)
        np.testing.assert_allclose(probe.bias, expected.bias, rtol=0, atol=3e-5)
        np.testing.assert_allclose(probe.losses[-1], expected.losses[-1], rtol=1e-5)
        assert probe.converged


def test_the_optimum_is_below_what_adam_reaches():
    family = prefix_family(np.arange(N_COLUMNS), [64])
    features, targets = random_task(300)
    adam = fit(family, features, targets, N_CLASSES, ProbeConfig(**{**vars(OPTIMUM), "solver": "adam", "epochs": 30}))
    assert optimum(family).losses[-1, 0] < adam.losses[-1, 0]
    assert adam.probe(0).solution is None


def test_what_has_not_converged_says_so():
    probe = optimum(prefix_family(np.arange(N_COLUMNS), [64]), max_iterations=12).probe(0)
    assert not probe.converged
    assert probe.solution.residual > OPTIMUM.tolerance
    assert probe.solution.iterations == 12
    assert len(probe.losses) == 3  # before the first step, after 10 and after 12


def test_a_large_penalty_and_a_constant_column_leave_exact_zeros():
    features, targets = random_task(300)
    features[:, 5] = 0.1
    family = prefix_family(np.arange(N_COLUMNS), [5, 64])
    for changes in ({"l1": 1.0}, {"l2": 5.0}):
        fitted = fit(family, features, targets, N_CLASSES, ProbeConfig(**{**vars(OPTIMUM), **changes}))
        assert all((fitted.probe(i).weights == 0).all() and fitted.probe(i).converged for i in (0, 1))
    unpenalised = ProbeConfig(**{**vars(OPTIMUM), "l1": 0.0, "l2": 0.01})
    weights = fit(family, features, targets, N_CLASSES, unpenalised).probe(1).weights
    assert (weights[5] == 0).all()
    assert (np.delete(weights, 5, 0) != 0).all()


def test_a_family_without_any_columns_has_an_optimum():
    features, targets = random_task()
    for sizes in ([0], []):
        fitted = fit(prefix_family(np.arange(4), sizes), features, targets, N_CLASSES, OPTIMUM)
        assert fitted.predict(features).shape == (N_ROWS, len(sizes))
        assert all(fitted.probe(i).converged for i in range(len(sizes)))
