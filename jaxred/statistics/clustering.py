"""Correlation clustering of neurons: one tree, cut at any threshold (Dalvi et al. 2020, section 5.2).

Neurons are numbered globally: layer * hidden_size + index.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxred.errors import UserError
from jaxred.statistics.agglomeration import agglomerate

FLOAT64_NEURONS = 16_384  # up to which trees are built in float64, 8 bytes per pair of neurons, twice


@dataclass(frozen=True)
class ClusterTree:
    """The average-linkage tree of the neurons; cutting it is cheap."""

    linkage: Float[np.ndarray, "merge 4"]  # SciPy's linkage matrix
    n_neurons: int

    def cut(self, threshold: float) -> Int[np.ndarray, " neuron"]:
        """Each neuron's cluster, numbered from 1, when clusters farther apart than the threshold are not merged."""
        if self.n_neurons == 1:
            return np.ones(1, np.int32)
        from scipy.cluster.hierarchy import fcluster  # here, because importing it takes a third of a second

        return fcluster(self.linkage, threshold, criterion="distance")


def cluster_tree(
    correlation: Float[np.ndarray, "neuron neuron"],
    distance: str = "absolute",
    linkage: str = "average",
    donate: bool = False,
) -> ClusterTree:
    """Agglomerative clustering over the distance 1 - |r| (absolute) or 1 - r (signed).

    Up to FLOAT64_NEURONS the tree is that of SciPy on distances in float64, to the last bit. Beyond, distances are
    float32: heights of average linkage are then off by some 1e-7, those of complete and single linkage are exact.

    Args:
        correlation: of all neurons; what is above the diagonal counts.
        distance: absolute or signed.
        linkage: average (the paper's), complete or single.
        donate: give up the correlation, so that more neurons than FLOAT64_NEURONS need no further memory; other
            numbers are left in it. It is read only by default.

    Raises:
        UserError: if the correlation is not square, or has values that are not finite.

    Example:
        >>> tree = cluster_tree(moments.correlation())
        >>> tree.cut(0.3).max()  # clusters at threshold 0.3
        6421
    """
    n_neurons = len(correlation)
    if correlation.shape != (n_neurons, n_neurons) or not n_neurons:
        raise UserError(f"Correlations are a square matrix of neurons, but these are of shape {correlation.shape}.")
    if n_neurons == 1:
        return ClusterTree(np.zeros((0, 4)), 1)
    exact = n_neurons <= FLOAT64_NEURONS
    if exact or not donate:
        distances = np.empty((n_neurons, n_neurons), np.float64 if exact else np.float32)
    else:
        distances = correlation
    for neuron in range(n_neurons):
        row = distances[neuron, neuron:]
        row[:] = correlation[neuron, neuron:]
        if not np.isfinite(row).all():
            raise UserError(
                f"The correlations of neuron {neuron} are not all finite: give constant neurons 0, as "
                "jaxred.statistics.moments.Moments.correlation does."
            )
        if distance == "absolute":
            np.abs(row, out=row)
        # Float32 would round 1 - |r|, but not -|r|; SciPy's bits are those of averages of 1 - |r|.
        np.subtract(1 if exact else 0, row, out=row)
    tree = agglomerate(distances, linkage)
    if not exact:
        tree[:, 2] += 1
    return ClusterTree(tree, n_neurons)


def adjusted_rand_index(one: Int[np.ndarray, " neuron"], other: Int[np.ndarray, " neuron"]) -> float:
    """How far two clusterings agree (Hubert and Arabie 1985): 1 if they are the same, about 0 if by chance."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(one, other))


def representatives(
    labels: Int[np.ndarray, " neuron"],
    rule: str = "random",
    correlation: Float[np.ndarray, "neuron neuron"] | None = None,
    seed: int = 42,
    variance: Float[np.ndarray, " neuron"] | None = None,
) -> Int[np.ndarray, " cluster"]:
    """One neuron for each cluster, clusters in the order of their labels.

    Args:
        labels: each neuron's cluster.
        rule: random (drawn with the seed, as in the original), medoid (the member with the largest mean |r| to its
            cluster), lowest_layer (the member with the smallest number), or highest_variance (the member that varies
            most; layers of a larger scale are so preferred). Of equals, the member with the smallest number.
        correlation: needed by medoid.
        seed: of the random draws.
        variance: needed by highest_variance.
    """
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels)[1:])[:-1])
    if rule == "random":
        draw = np.random.RandomState(seed)
        return np.array([draw.choice(cluster) for cluster in members])
    if rule == "lowest_layer":
        return np.array([cluster[0] for cluster in members])
    if rule == "medoid" and correlation is not None:
        return np.array([c[np.argmax(np.abs(correlation[np.ix_(c, c)]).sum(1))] for c in members])
    if rule == "highest_variance" and variance is not None:
        return np.array([cluster[np.argmax(variance[cluster])] for cluster in members])
    raise ValueError(
        f"rule {rule!r} is not random, lowest_layer, medoid (which needs the correlation) or highest_variance (which "
        "needs the variance)"
    )


def window_histogram(labels: Int[np.ndarray, " neuron"], hidden_size: int) -> Int[np.ndarray, " window"]:
    """How many clusters span how many layers: entry w - 1 counts clusters of window w.

    The window of a cluster is its highest layer - its lowest layer + 1 (the original's `cluster_analysis.py`).
    """
    layer = np.arange(len(labels)) // hidden_size
    n_layers = -(-len(labels) // hidden_size)
    lowest = np.full(labels.max(), n_layers)
    highest = np.zeros(labels.max(), int)
    np.minimum.at(lowest, labels - 1, layer)
    np.maximum.at(highest, labels - 1, layer)
    return np.bincount(highest - lowest, minlength=n_layers)
