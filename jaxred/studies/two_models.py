"""Two models on the same rows: CKA between the layers of one and those of the other, and the clusters that they share.

One streaming pass over both stores gives the moments of all their neurons together.
"""

from collections.abc import Sequence

import numpy as np

from jaxred.config import ClusteringConfig
from jaxred.statistics.clustering import adjusted_rand_index
from jaxred.statistics.moments import Moments
from jaxred.statistics.shared_clusters import same_clusters
from jaxred.studies.redundancy import clusterings, thresholds
from jaxred.studies.results import ModelSummary, SharedAt, TwoModels


def two_models(
    moments: Sequence[Moments], real: np.ndarray, sizes: Sequence[tuple[int, int]], clustering: ClusteringConfig
) -> TwoModels:
    """Compares two models.

    Args:
        moments: of both models' neurons together, over all rows and, if there are enough, over two halves of them.
        real: which neurons a model has.
        sizes: layers and neurons per layer of either model.
        clustering: how neurons are clustered.
    """
    n_first = sizes[0][0]  # layers of the first model
    cka, debiased = moments[0].cka(), moments[0].cka(debiased=True)
    between = cka[:n_first, n_first:]
    correlation = moments[0].correlation()
    if not real.all():
        correlation = correlation[np.ix_(real, real)]
    n_neurons = sizes[0][0] * sizes[0][1]
    alone = None
    if sizes[0] == sizes[1]:  # neurons of the same number may then be of the same origin
        parts = correlation[:n_neurons, :n_neurons], correlation[n_neurons:, n_neurons:]
        alone = [clusterings(part.copy(), clustering) for part in parts]
    together = clusterings(correlation, clustering)
    entries = []
    for threshold in thresholds(clustering):
        first, second = together[threshold][:n_neurons], together[threshold][n_neurons:]
        common = np.intersect1d(first, second)
        shared = {}
        if alone is not None:
            pair = alone[0][threshold], alone[1][threshold]
            shared = {"agreement": float(adjusted_rand_index(*pair)), **same_clusters(*pair)._asdict()}
        entries.append(
            SharedAt(
                threshold=threshold,
                n_clusters=int(together[threshold].max()),
                n_shared=len(common),
                shared_share_of_neurons=[float(np.isin(labels, common).mean()) for labels in (first, second)],
                **shared,
            )
        )
    halves = [half.cka()[:n_first, n_first:] for half in moments[1:]]
    moved = np.abs(halves[0] - halves[1]) if len(halves) == 2 else np.array([np.nan])
    return TwoModels(
        n_rows=moments[0].n_rows,
        models=[
            ModelSummary(n_layers, hidden_size, cka[layers, layers], debiased[layers, layers])
            for (n_layers, hidden_size), layers in zip(sizes, (slice(n_first), slice(n_first, None)), strict=True)
        ],
        cka=between,
        cka_debiased=debiased[:n_first, n_first:],
        halves_move_cka_by=None if np.isnan(moved).all() else float(np.nanmax(moved)),
        most_alike=[_most_alike(row) for row in between],
        thresholds=entries,
    )


def _most_alike(row: np.ndarray) -> int | None:
    """The layer of the other model that is most like a layer; None for a constant layer."""
    return None if np.isnan(row).all() else int(np.nanargmax(row))
