from inspect import unwrap as unchecked  # the suite checks annotations, which nobody else does: see pyproject.toml

import numpy as np
import pytest
from helpers.shared import ROOT
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from jaxred.config import REPRESENTATIVES
from jaxred.errors import UserError
from jaxred.statistics.clustering import adjusted_rand_index, cluster_tree, representatives, window_histogram
from jaxred.statistics.moments import Moments
from jaxred.statistics.streaming import from_blocks

GOLDEN = ROOT / "tests" / "golden"
THRESHOLDS = [f"0.{i}" for i in range(1, 10)]
NAMES = ("clusters_0", "clusters_1", "clusters_2")

partitions = st.lists(st.integers(0, 8), min_size=1, max_size=40).map(
    lambda names: np.unique(names, return_inverse=True)[1] + 1
)


@pytest.fixture(scope="module", params=NAMES)
def original(request):
    """The original's clusters, and the correlations that jaxred finds."""
    with np.load(GOLDEN / f"{request.param}.npz") as file:
        golden = dict(file)
    return golden, Moments.of(from_blocks([golden["X"]]))


def same_clusters(one, other):
    pairs = len(set(zip(one.tolist(), other.tolist(), strict=True)))
    return pairs == len(set(one.tolist())) == len(set(other.tolist()))


def test_correlations_are_the_originals(original):
    golden, found = original
    np.testing.assert_allclose(found.correlation(), golden["corr"], rtol=0, atol=1e-6)


def test_constant_neurons_are_found_exactly(original):
    golden, found = original
    np.testing.assert_array_equal(found.constant, np.ptp(golden["X"], axis=0) == 0)


@pytest.mark.parametrize(("distance", "name"), [("absolute", "abs"), ("signed", "signed")])
def test_clusters_are_the_originals_up_to_their_numbers(original, distance, name):
    golden, found = original
    tree = cluster_tree(found.correlation(), distance)
    counts = []
    for threshold in THRESHOLDS:
        labels, expected = tree.cut(float(threshold)), golden[f"labels_{name}_{threshold}"]
        assert same_clusters(labels, expected)
        assert set(labels) == set(range(1, labels.max() + 1))
        counts.append(labels.max())
    assert counts[0] > counts[-1]


def correlation_of(seed=0, n_rows=50, n_neurons=12):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n_rows, n_neurons // 3)) @ draw.normal(size=(n_neurons // 3, n_neurons))
    return np.corrcoef((x + draw.normal(size=x.shape)).T).astype(np.float32)


@pytest.mark.parametrize("distance", ["absolute", "signed"])
def test_clusters_are_those_of_average_linkage_step_by_step(distance):
    correlation = correlation_of()
    apart = 1 - (np.abs(correlation) if distance == "absolute" else correlation).astype(np.float64)
    for threshold in (0.2, 0.5, 0.8, 1.1):
        clusters = [[neuron] for neuron in range(len(apart))]
        while len(clusters) > 1:
            pairs = [(a, b) for a in range(len(clusters)) for b in range(a)]
            between = [apart[np.ix_(clusters[a], clusters[b])].mean() for a, b in pairs]
            if min(between) > threshold:
                break
            a, b = pairs[int(np.argmin(between))]
            clusters[b] += clusters.pop(a)
        expected = np.zeros(len(apart), int)
        for number, members in enumerate(clusters):
            expected[members] = number
        assert same_clusters(cluster_tree(correlation, distance).cut(threshold), expected)


def test_opposite_neurons_are_one_cluster_in_absolute_distance_only():
    correlation = np.array([[1, -1, 0], [-1, 1, 0], [0, 0, 1]], np.float32)
    assert same_clusters(cluster_tree(correlation).cut(0.3), np.array([1, 1, 2]))
    assert same_clusters(cluster_tree(correlation, "signed").cut(0.3), np.array([1, 2, 3]))


def test_at_exactly_the_threshold_clusters_are_joined():
    correlation = np.array([[1, 0.5], [0.5, 1]], np.float32)
    assert cluster_tree(correlation).cut(0.5).tolist() == [1, 1]
    assert len(set(cluster_tree(correlation).cut(0.49))) == 2


def test_the_correlation_is_left_as_it_is():
    correlation = correlation_of()
    cluster_tree(correlation)
    cluster_tree(correlation, "signed")
    np.testing.assert_array_equal(correlation, correlation_of())


def test_a_single_neuron_is_one_cluster():
    tree = cluster_tree(np.ones((1, 1), np.float32))
    labels = tree.cut(0.3)
    assert labels.tolist() == [1]
    for rule in REPRESENTATIVES:
        assert representatives(labels, rule, np.ones((1, 1), np.float32), variance=np.ones(1)).tolist() == [0]
    assert window_histogram(labels, 1).tolist() == [1]


# Representatives


@given(labels=partitions, seed=st.integers(0, 2**32 - 1))
def test_random_representatives_are_the_originals_draws_in_label_order(labels, seed):
    draw = np.random.RandomState(seed)
    expected = [draw.choice(np.flatnonzero(labels == label)) for label in range(1, labels.max() + 1)]
    assert representatives(labels, seed=seed).tolist() == expected


def test_the_default_is_random_with_seed_42():
    labels = np.repeat([2, 1, 3], 20)
    np.testing.assert_array_equal(representatives(labels), representatives(labels, "random", seed=42))
    draws = {tuple(representatives(labels, seed=seed)) for seed in range(20)}
    assert len(draws) > 10


@given(labels=partitions)
def test_the_lowest_layer_is_the_smallest_number(labels):
    expected = [min(np.flatnonzero(labels == label)) for label in range(1, labels.max() + 1)]
    assert representatives(labels, "lowest_layer").tolist() == expected


@given(labels=partitions, seed=st.integers(0, 100))
def test_the_medoid_has_the_largest_mean_correlation_to_its_cluster(labels, seed):
    draw = np.random.default_rng(seed).uniform(-1, 1, (len(labels), len(labels)))
    correlation = ((draw + draw.T) / 2).astype(np.float32)
    np.fill_diagonal(correlation, 1)
    found = representatives(labels, "medoid", correlation)
    assert len(found) == labels.max()
    for label, medoid in enumerate(found, start=1):
        members = np.flatnonzero(labels == label)
        means = {a: np.mean([abs(correlation[a, b]) for b in members]) for a in members}
        assert medoid in means
        assert means[medoid] >= max(means.values()) - 1e-6


@given(labels=partitions, seed=st.integers(0, 100))
def test_of_the_highest_variance_is_the_member_that_varies_most_the_first_of_equals(labels, seed):
    variance = np.random.default_rng(seed).integers(0, 4, len(labels)).astype(float)
    found = representatives(labels, "highest_variance", variance=variance)
    expected = [
        max(np.flatnonzero(labels == label), key=lambda neuron: (variance[neuron], -neuron))
        for label in range(1, labels.max() + 1)
    ]
    assert found.tolist() == expected


@pytest.mark.parametrize("rule", ["medoid", "highest_variance", "first"])
def test_an_unknown_rule_or_one_without_what_it_needs_is_refused(rule):
    with pytest.raises(ValueError, match=f"rule '{rule}' is not random, lowest_layer, medoid"):
        representatives(np.array([1, 1, 2]), rule)


@given(labels=partitions)
def test_every_cluster_has_one_representative_in_label_order(labels):
    correlation = np.eye(len(labels), dtype=np.float32)
    for rule in REPRESENTATIVES:
        chosen = representatives(labels, rule, correlation, variance=np.ones(len(labels)))
        assert labels[chosen].tolist() == list(range(1, labels.max() + 1))


# Windows


@given(labels=partitions, hidden_size=st.integers(1, 10))
def test_windows_are_counted_by_the_layers_that_clusters_span(labels, hidden_size):
    n_layers = -(-len(labels) // hidden_size)
    expected = [0] * n_layers
    for label in set(labels.tolist()):
        layers = [neuron // hidden_size for neuron in range(len(labels)) if labels[neuron] == label]
        expected[max(layers) - min(layers)] += 1
    assert window_histogram(labels, hidden_size).tolist() == expected


def test_a_window_counts_the_layers_between():
    labels = np.array([1, 2, 3, 2, 4, 1])  # three layers of two: cluster 1 spans three, 2 spans two
    assert window_histogram(labels, 2).tolist() == [2, 1, 1]


# Linkage


@pytest.mark.parametrize("linkage", ["average", "complete", "single"])
def test_trees_are_scipys_of_that_linkage(linkage):
    correlation = np.corrcoef(np.random.default_rng(0).normal(size=(30, 60)))
    for distance, apart in (("absolute", 1 - np.abs(correlation)), ("signed", 1 - correlation)):
        np.fill_diagonal(apart, 0)
        expected = hierarchy.linkage(squareform(apart, checks=False), linkage)
        before = correlation.copy()
        np.testing.assert_allclose(cluster_tree(correlation, distance, linkage).linkage, expected, rtol=1e-12)
        np.testing.assert_array_equal(correlation, before)


def test_agreement_is_1_up_to_renaming_and_near_0_by_chance():
    draw = np.random.default_rng(0)
    one = draw.integers(1, 6, 2000)
    assert adjusted_rand_index(one, 7 - one) == 1
    assert abs(adjusted_rand_index(one, draw.permutation(one))) < 0.02


@pytest.mark.parametrize(
    ("correlation", "words"),
    [
        (np.full((3, 3), np.nan), "neuron 0 are not all finite"),
        (np.array([[1, 0.1, 0], [0.1, 1, np.inf], [0, np.inf, 1]]), "neuron 1 are not all finite"),
        (np.ones((3, 2)), r"of shape \(3, 2\)"),
        (np.ones((0, 0)), r"of shape \(0, 0\)"),
    ],
)
def test_what_are_no_correlations_is_refused(correlation, words):
    with pytest.raises(UserError, match=words):
        unchecked(cluster_tree)(correlation)
