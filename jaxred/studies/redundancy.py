"""General redundancy, whatever the task (Dalvi et al. 2020, section 5): similarity of layers, clusters of neurons.

One pass over the training rows gives both the linear CKA matrix of the layers and the correlations of all neurons.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxred.config import ClusteringConfig
from jaxred.statistics import unusual_neurons
from jaxred.statistics.clustering import adjusted_rand_index, cluster_tree, window_histogram
from jaxred.statistics.moments import Moments, Sums
from jaxred.studies.results import ClustersAt, GeneralRedundancy, Neuron, Twin

N_TWINS = 20  # pairs of neurons that are listed


class Analysis(NamedTuple):
    """General redundancy of some rows."""

    result: GeneralRedundancy
    labels: dict[float, Int[np.ndarray, " neuron"]]  # each neuron's cluster, by threshold


def general_redundancy(halves: Sequence[Sums], clustering: ClusteringConfig) -> Analysis:
    """General redundancy of both halves of the sentences together, and how far they differ.

    Args:
        halves: sums over two halves of the rows.
        clustering: how neurons are clustered.
    """
    whole = Moments.of(halves[0] + halves[1])
    hidden_size = whole.hidden_size
    correlation = whole.correlation()
    alike = unusual_neurons.twins(correlation, N_TWINS)
    by_threshold = clusterings(correlation, clustering)
    del correlation
    of_halves = []
    if min(half.n_rows for half in halves) >= 2:
        of_halves = [clusterings(Moments.of(half).correlation(), clustering) for half in halves]
    outliers = unusual_neurons.outliers(whole)
    cka, rest = whole.cka(), whole.without(outliers).cka()
    moved = np.abs(rest - cka)

    def named(neurons: np.ndarray) -> list[Neuron]:
        return [divmod(neuron, hidden_size) for neuron in neurons.tolist()]

    result = GeneralRedundancy(
        n_rows=whole.n_rows,
        n_layers=whole.n_layers,
        hidden_size=hidden_size,
        cka=cka,
        cka_debiased=whole.cka(debiased=True),
        cka_without_outliers=rest,
        outliers_move_cka_by=0.0 if np.isnan(moved).all() else float(np.nanmax(moved)),
        thresholds=[
            _clusters_at(threshold, by_threshold[threshold], [half[threshold] for half in of_halves], hidden_size)
            for threshold in thresholds(clustering)
        ],
        window_threshold=clustering.window_threshold,
        windows=window_histogram(by_threshold[clustering.window_threshold], hidden_size),
        twins=[Twin(named(pair), float(r)) for pair, r in zip(alike.pairs, alike.correlations, strict=True)],
        constant_neurons=named(np.flatnonzero(whole.constant)),
        nearly_constant_neurons=named(unusual_neurons.nearly_constant(whole)),
        outlier_neurons=named(outliers),
    )
    return Analysis(result, by_threshold)


def clusterings(
    correlation: Float[np.ndarray, "neuron neuron"], clustering: ClusteringConfig
) -> dict[float, Int[np.ndarray, " neuron"]]:
    """Each neuron's cluster, at every threshold and at that of the windows; the correlation is given up."""
    tree = cluster_tree(correlation, clustering.distance, clustering.linkage, donate=True)
    return {threshold: tree.cut(threshold) for threshold in [*thresholds(clustering), clustering.window_threshold]}


def thresholds(clustering: ClusteringConfig) -> list[float]:
    """Those of the sweep, without the one below 0, which is no clustering."""
    return [threshold for threshold in clustering.sweep_thresholds if threshold >= 0]


def _clusters_at(threshold: float, labels: np.ndarray, of_halves: list[np.ndarray], hidden_size: int) -> ClustersAt:
    sizes, windows = np.bincount(labels)[1:], window_histogram(labels, hidden_size)
    shares, agreement = None, None
    if of_halves:
        shares = [float(1 - half.max() / len(half)) for half in of_halves]
        agreement = float(adjusted_rand_index(*of_halves))
    return ClustersAt(
        threshold=threshold,
        n_clusters=len(sizes),
        redundant_share=1 - len(sizes) / len(labels),
        largest_cluster=int(sizes.max()),
        n_singletons=int(np.sum(sizes == 1)),
        n_across_layers=int(windows[1:].sum()),
        windows=windows,
        redundant_share_of_halves=shares,
        agreement_of_halves=agreement,
    )
