import itertools

import numpy as np
import pytest

from jaxred.statistics import cluster_map as module
from jaxred.statistics.cluster_map import cluster_map
from jaxred.statistics.clustering import cluster_tree

HIDDEN = 5


def correlation_of(n_neurons=35, seed=0):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(60, 6)) @ draw.normal(size=(6, n_neurons)) + draw.normal(size=(60, n_neurons))
    return np.corrcoef(x.T).astype(np.float32)


@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.6, 0.8])
def test_every_cluster_is_one_run_of_the_order(threshold):
    tree = cluster_tree(correlation_of())
    order = cluster_map(correlation_of(), tree, HIDDEN).order
    assert sorted(order) == list(range(35))
    labels = tree.cut(threshold)[order]
    assert np.sum(labels[1:] != labels[:-1]) == labels.max() - 1


@pytest.mark.parametrize("distance", ["absolute", "signed"])
def test_cells_are_means_over_pairs_of_different_neurons(distance, monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", 8)
    r = correlation_of()
    before = r.copy()
    found = cluster_map(r, cluster_tree(r, distance), HIDDEN, distance)
    np.testing.assert_array_equal(r, before)
    edges = np.linspace(0, 35, 9).astype(int)
    cells = [found.order[a:b] for a, b in itertools.pairwise(edges)]
    for i, one in enumerate(cells):
        for j, other in enumerate(cells):
            pairs = [r[a, b] for a in one for b in other if a != b]
            values = np.abs(pairs) if distance == "absolute" else pairs
            assert found.similarity[i, j] == pytest.approx(np.mean(values), abs=1e-6)
        shares = [np.mean(one // HIDDEN == layer) for layer in range(7)]
        np.testing.assert_allclose(found.layers[:, i], shares)


def test_brackets_are_scipys_dendrogram_up_to_the_side_of_a_part():
    from scipy.cluster.hierarchy import dendrogram

    tree = cluster_tree(correlation_of())
    found = cluster_map(correlation_of(), tree, HIDDEN)
    theirs = dendrogram(tree.linkage, no_plot=True)

    def heights(brackets):
        return sorted((b[1], *sorted((b[0], b[3]))) for b in brackets)

    np.testing.assert_allclose(heights(found.lines[:, :, 1].tolist()), heights(theirs["dcoord"]))
    bottoms = found.lines[:, [0, 3]].reshape(-1, 2)
    assert sorted(bottoms[bottoms[:, 1] == 0][:, 0]) == [place + 0.5 for place in range(35)]


def test_a_single_neuron_is_a_map():
    found = cluster_map(np.ones((1, 1), np.float32), cluster_tree(np.ones((1, 1), np.float32)), 1)
    assert found.similarity.tolist() == [[1]]
    assert found.order.tolist() == [0]
    assert found.lines.shape == (0, 4, 2)
