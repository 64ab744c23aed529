import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from jaxred.statistics import agglomeration, clustering
from jaxred.statistics.agglomeration import LINKAGES, agglomerate
from jaxred.statistics.clustering import cluster_tree

THRESHOLDS = np.arange(1, 10) / 10
DISTANCES = {"absolute": lambda r: 1 - np.abs(r), "signed": lambda r: 1 - r}

linkages = st.sampled_from(LINKAGES)
seeds = st.integers(0, 2**32 - 1)


def square(seed, n_points, n_values=None):
    """Symmetric; of few different values, where their number is given, so that most are tied."""
    draw = np.random.default_rng(seed)
    full = draw.random((n_points, n_points)) if n_values is None else draw.integers(0, n_values, (n_points, n_points))
    return np.triu(full, 1) + np.triu(full, 1).T


def by_scipy(apart, linkage):
    return hierarchy.linkage(squareform(apart.astype(np.float64), checks=False), linkage)


def correlations(seed, n_neurons, n_rows=40):
    """Of neurons that share factors, with twins, opposites and constants among them, as in real activations."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n_rows, 4)) @ draw.normal(size=(4, n_neurons)) + draw.normal(size=(n_rows, n_neurons))
    for kind, scale in ((0, 1.0), (1, -3.0), (2, 0.0)):  # twins, opposites, constants
        chosen = np.flatnonzero(draw.random(n_neurons) < 0.1)
        x[:, chosen] = scale * x[:, draw.integers(0, n_neurons, len(chosen))] + kind
    with np.errstate(all="ignore"):
        found = np.nan_to_num(np.corrcoef(x.T)).astype(np.float32)
    found = np.clip((found + found.T) / 2, -1, 1)
    np.fill_diagonal(found, 1)
    return found


def same_clusters(one, other):
    pairs = len(set(zip(one.tolist(), other.tolist(), strict=True)))
    return pairs == len(set(one.tolist())) == len(set(other.tolist()))


# Against SciPy


@settings(deadline=None)
@given(seed=seeds, n_points=st.integers(2, 60), linkage=linkages)
def test_in_float64_trees_are_scipys_to_the_last_bit(seed, n_points, linkage):
    apart = square(seed, n_points)
    expected = by_scipy(apart, linkage)
    np.testing.assert_array_equal(agglomerate(apart, linkage), expected)


@settings(deadline=None)
@given(seed=seeds, n_points=st.integers(2, 60), n_values=st.integers(1, 5), linkage=linkages)
def test_ties_are_broken_as_scipy_breaks_them(seed, n_points, n_values, linkage):
    apart = square(seed, n_points, n_values).astype(np.float64)
    expected = by_scipy(apart, linkage)
    np.testing.assert_array_equal(agglomerate(apart, linkage), expected)


@settings(deadline=None)
@given(seed=seeds, n_points=st.integers(2, 60), linkage=st.sampled_from(["complete", "single"]))
def test_in_float32_linkages_that_only_compare_are_exact(seed, n_points, linkage):
    apart = square(seed, n_points).astype(np.float32)
    expected = by_scipy(apart, linkage)
    np.testing.assert_array_equal(agglomerate(apart, linkage), expected)


@settings(deadline=None)
@given(seed=seeds, n_points=st.integers(2, 60), linkage=linkages)
def test_only_what_is_above_the_diagonal_counts(seed, n_points, linkage):
    apart = square(seed, n_points)
    expected = by_scipy(apart, linkage)
    apart[np.tril_indices(n_points)] = np.random.default_rng(seed).normal(size=n_points * (n_points + 1) // 2)
    np.testing.assert_array_equal(agglomerate(apart, linkage), expected)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_squares_of_several_strips_are_mirrored_whole(monkeypatch, linkage):
    monkeypatch.setattr(agglomeration, "MIRRORED", 7)
    for n_points in (7, 14, 20):
        apart = square(n_points, n_points)
        expected = by_scipy(apart, linkage)
        np.testing.assert_array_equal(agglomerate(np.triu(apart), linkage), expected)


def test_other_linkages_are_refused():
    with pytest.raises(ValueError, match="'ward' is not one of"):
        agglomerate(np.zeros((2, 2)), "ward")


# Trees of correlations


@settings(deadline=None)
@given(seed=seeds, n_neurons=st.integers(2, 80), linkage=linkages, distance=st.sampled_from([*DISTANCES]))
def test_few_neurons_have_scipys_tree(seed, n_neurons, linkage, distance):
    correlation = correlations(seed, n_neurons)
    expected = by_scipy(DISTANCES[distance](correlation.astype(np.float64)), linkage)
    for donate in (False, True):
        np.testing.assert_array_equal(cluster_tree(correlation, distance, linkage, donate).linkage, expected)


def in_float32(correlation, distance, linkage):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clustering, "FLOAT64_NEURONS", 1)
        return cluster_tree(correlation, distance, linkage)


@settings(deadline=None)
@given(seed=seeds, n_neurons=st.integers(2, 80), linkage=linkages, distance=st.sampled_from([*DISTANCES]))
def test_many_neurons_have_scipys_clusters_where_none_are_tied(seed, n_neurons, linkage, distance):
    correlation = (2 * square(seed, n_neurons) - 1).astype(np.float32)
    expected = by_scipy(DISTANCES[distance](correlation.astype(np.float64)), linkage)
    tree = in_float32(correlation, distance, linkage)
    np.testing.assert_allclose(tree.linkage[:, 2], expected[:, 2], rtol=0, atol=1e-6)
    for threshold in THRESHOLDS:
        if np.abs(expected[:, 2] - threshold).min() > 1e-6:
            assert same_clusters(tree.cut(threshold), hierarchy.fcluster(expected, threshold, "distance"))


@settings(max_examples=50, deadline=None)
@given(seed=seeds, n_neurons=st.integers(2, 40), linkage=linkages, distance=st.sampled_from([*DISTANCES]))
def test_many_neurons_merge_the_closest_though_some_are_tied(seed, n_neurons, linkage, distance):
    """Every merge, made again in float64, is of two clusters than which none were closer."""
    correlation = correlations(seed, n_neurons)
    single = DISTANCES[distance](correlation.astype(np.float64))
    of_pairs = {"average": np.mean, "complete": np.max, "single": np.min}[linkage]
    clusters = {neuron: [neuron] for neuron in range(n_neurons)}
    apart = {(a, b): single[a, b] for b in clusters for a in range(b)}
    tree = in_float32(correlation, distance, linkage).linkage
    for number, (one, other, height, size) in enumerate(tree, n_neurons):
        assert abs(apart[int(one), int(other)] - height) < 1e-6
        assert height < min(apart.values()) + 1e-6
        merged = clusters.pop(int(one)) + clusters.pop(int(other))
        assert len(merged) == size
        apart = {pair: far for pair, far in apart.items() if not {one, other} & set(pair)}
        apart |= {(name, number): of_pairs(single[np.ix_(mine, merged)]) for name, mine in clusters.items()}
        clusters[number] = merged
    assert list(clusters) == [2 * n_neurons - 2]


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("distance", DISTANCES)
def test_only_a_donated_correlation_is_built_in(monkeypatch, linkage, distance):
    monkeypatch.setattr(clustering, "FLOAT64_NEURONS", 1)
    correlation = correlations(0, 50)
    before = correlation.copy()
    tree = cluster_tree(correlation, distance, linkage)
    np.testing.assert_array_equal(correlation, before)
    again = cluster_tree(correlation, distance, linkage, donate=True)
    np.testing.assert_array_equal(again.linkage, tree.linkage)
    assert not np.array_equal(correlation, before)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_a_donated_correlation_takes_no_memory_beside_it(monkeypatch, linkage):
    monkeypatch.setattr(clustering, "FLOAT64_NEURONS", 1)
    correlation = correlations(0, 600)
    tracemalloc.start()
    cluster_tree(correlation, linkage=linkage, donate=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < correlation.nbytes / 2
