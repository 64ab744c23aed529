"""Rankings next to each other: planted neurons, known overlaps, and regression."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.made_up_features import planted

from jaxred.config import ProbeConfig, SelectionConfig
from jaxred.probing.families import prefix_family
from jaxred.studies.rankings import N_DRAWS, avg_overlap, compare_rankings
from jaxred.studies.results import RankingsResult
from jaxred.studies.scoring import fit_and_score

PROBE = ProbeConfig(epochs=6, batch_size=32, learning_rate=0.05)
SELECTION = SelectionConfig(fractions=(0.05, 0.1, 0.5, 1.0))


@pytest.fixture(scope="module")
def compared():
    features = planted(deciding=7)
    return features, compare_rankings(features, PROBE, SELECTION)


def test_a_ranking_that_finds_the_neuron_needs_it_alone_and_a_random_one_does_not(compared):
    _, result = compared
    curves = {curve.ranking: curve for curve in result.curves}
    assert [*curves] == ["weights", "probeless", "gaussian", "average_precision", "variance", "random"]
    for name in ("weights", "probeless", "gaussian", "average_precision"):
        assert curves[name].first[0] == (0, 7)
        assert curves[name].n_minimal == 1
        assert curves[name].finding
        assert curves[name].points[0].test > 0.95
    assert curves["random"].n_draws == N_DRAWS
    assert curves["random"].points[0].test < 0.9
    assert (curves["random"].points[0].spread or 0) > 0
    assert curves["random"].points[-1].test == pytest.approx(curves["weights"].points[-1].test, abs=0.05)
    assert RankingsResult.from_json(result.to_json()) == result


def test_points_are_probes_trained_again_on_the_first_neurons(compared):
    features, result = compared
    curve = next(curve for curve in result.curves if curve.ranking == "variance")
    variance = np.asarray(features.matrices["train"]).var(0)
    order = np.argsort(-variance, kind="stable")
    _, scored = fit_and_score(prefix_family(order, [1, 2, 12, 24], 24), features, PROBE)
    assert [point.test for point in curve.points] == [entry.overall("test") for entry in scored]
    assert [point.interval for point in curve.points] == [entry.interval for entry in scored]


def test_overlap_is_that_of_sets():
    random = np.random.default_rng(0)
    first, second = random.permutation(40), random.permutation(40)
    expected = np.mean([len({*first[:s]} & {*second[:s]}) / s for s in range(1, 16)])
    assert avg_overlap(first, second, 15) == pytest.approx(expected)
    assert avg_overlap(first, first, 40) == 1.0
    assert avg_overlap(np.arange(4), np.arange(4)[::-1], 2) == 0.0


def test_the_matrix_of_overlaps_is_symmetric_with_ones(compared):
    _, result = compared
    overlap = np.array(result.overlap)
    np.testing.assert_array_equal(overlap, overlap.T)
    np.testing.assert_array_equal(np.diag(overlap), 1)


def test_scores_have_the_rankings_that_need_no_classes():
    features = planted(seed=4)
    targets = {split: y.astype(np.float32) for split, y in features.targets.items()}
    result = compare_rankings(replace(features, targets=targets, classes=(), metric="pearson"), PROBE, SELECTION)
    assert [curve.ranking for curve in result.curves] == ["weights", "variance", "random"]
