"""The correlations of all neurons in the order of their tree, small enough to be looked at."""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxred.statistics.clustering import ClusterTree

MOST_CELLS = 480  # of the map, each way


@dataclass(frozen=True)
class ClusterMap:
    """Neurons in the order of their tree; a cell stands for a run of them."""

    order: Int[np.ndarray, " neuron"]
    similarity: Float[np.ndarray, "cell cell"]  # mean |r| (or r) of the pairs of different neurons
    layers: Float[np.ndarray, "layer cell"]  # the share of a cell's neurons that are of each layer
    lines: Float[np.ndarray, "merge 4 2"]  # each merge as a bracket: (place in the order, height) of its corners


def cluster_map(
    correlation: Float[np.ndarray, "neuron neuron"], tree: ClusterTree, hidden_size: int, distance: str = "absolute"
) -> ClusterMap:
    """Orders the neurons by their tree and averages what is too fine to see.

    Args:
        correlation: of all neurons; it is read only, a few rows at a time.
        tree: of the same neurons.
        hidden_size: neurons per layer.
        distance: absolute for |r|, signed for r.
    """
    order, lines = _leaves(tree)
    n = tree.n_neurons
    edges = np.linspace(0, n, min(n, MOST_CELLS) + 1).astype(int)
    counts = np.diff(edges)
    similarity = np.empty((len(counts), len(counts)))
    for cell, (start, stop) in enumerate(itertools.pairwise(edges)):
        rows = correlation[order[start:stop]][:, order]
        if distance == "absolute":
            np.abs(rows, out=rows)
        rows[np.arange(stop - start), np.arange(start, stop)] = 0
        similarity[cell] = np.add.reduceat(rows.sum(0, dtype=np.float64), edges[:-1])
    n_pairs = np.outer(counts, counts) - np.diag(counts)
    similarity = np.divide(similarity, n_pairs, out=np.ones_like(similarity), where=n_pairs > 0)
    of_layer = order[None] // hidden_size == np.arange(-(-n // hidden_size))[:, None]
    layers = np.add.reduceat(of_layer.astype(float), edges[:-1], axis=1) / counts
    return ClusterMap(order, similarity, layers, lines)


def _leaves(tree: ClusterTree) -> tuple[Int[np.ndarray, " neuron"], Float[np.ndarray, "merge 4 2"]]:
    """The neurons from left to right, the larger part of every merge first, and the brackets of the merges."""
    n = tree.n_neurons
    children = tree.linkage[:, :2].astype(int)
    sizes = np.ones(2 * n - 1, int)
    for merge, pair in enumerate(children):
        sizes[n + merge] = sizes[pair].sum()
    start = np.zeros(2 * n - 1, int)
    for merge in range(n - 2, -1, -1):
        left, right = sorted(children[merge].tolist(), key=lambda node: -sizes[node])
        start[left], start[right] = start[n + merge], start[n + merge] + sizes[left]
        children[merge] = left, right
    order = np.argsort(start[:n])
    middle, height = np.zeros(2 * n - 1), np.zeros(2 * n - 1)
    middle[:n] = start[:n] + 0.5
    lines = np.empty((n - 1, 4, 2))
    for merge, (left, right) in enumerate(children.tolist()):
        top = tree.linkage[merge, 2]
        lines[merge] = [
            (middle[left], height[left]), (middle[left], top), (middle[right], top), (middle[right], height[right])
        ]  # fmt: skip
        middle[n + merge], height[n + merge] = (middle[left] + middle[right]) / 2, top
    return order, lines
