"""General redundancy of several tasks together: their curves, their windows summed, how far their clusters agree.

The paper's histogram of cluster windows is summed over its tasks. The tasks' encoders may differ in weights, as
fine-tuned ones do, but not in shape; where they are the same encoder, all rows are also pooled.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from jaxred.config import ClusteringConfig
from jaxred.statistics.clustering import adjusted_rand_index
from jaxred.statistics.moments import Sums
from jaxred.statistics.shared_clusters import same_clusters
from jaxred.studies.redundancy import Analysis, thresholds
from jaxred.studies.repeats import spread
from jaxred.studies.results import (
    GeneralRedundancy,
    MeanClustersAt,
    PairAt,
    PairOfTasks,
    SeveralTasks,
    TaskRedundancy,
)


def several_tasks(
    analyses: Mapping[str, Analysis],
    clustering: ClusteringConfig,
    pooled: GeneralRedundancy | None = None,
    why_not_pooled: str | None = None,
) -> SeveralTasks:
    """What the tasks have in common, and each pair of them.

    Args:
        analyses: of each task by its name, with clusterings made with the same settings.
        clustering: these settings.
        pooled: general redundancy of all rows together.
        why_not_pooled: why there is none.
    """
    results = [analysis.result for analysis in analyses.values()]
    first = results[0]
    return SeveralTasks(
        n_layers=first.n_layers,
        hidden_size=first.hidden_size,
        tasks=[TaskRedundancy(**vars(result), run=name) for name, result in zip(analyses, results, strict=True)],
        mean=[
            MeanClustersAt(
                entries[0].threshold,
                spread([entry.n_clusters for entry in entries]),
                spread([entry.redundant_share for entry in entries]),
            )
            for entries in zip(*(result.thresholds for result in results), strict=True)
        ],
        window_threshold=clustering.window_threshold,
        windows=np.sum([result.windows for result in results], axis=0),
        pairs=[
            _pair(names, [analyses[name] for name in names], clustering)
            for names in itertools.combinations(analyses, 2)
        ],
        pooled=pooled,
        why_not_pooled=why_not_pooled,
    )


def add_around(pooled: Sequence[Sums], halves: Sequence[Sums]) -> list[Sums]:
    """The halves of all rows together, around the shift of the first."""
    return [half + other.around(half.shift) for half, other in zip(pooled, halves, strict=True)]


def _pair(names: Sequence[str], pair: Sequence[Analysis], clustering: ClusteringConfig) -> PairOfTasks:
    one, other = pair
    moved = np.abs(one.result.cka - other.result.cka)
    moved = moved[np.triu_indices(len(moved), 1)]
    defined = moved[np.isfinite(moved)]
    return PairOfTasks(
        tasks=list(names),
        cka_differs_by=float(defined.max()) if len(defined) else None,
        cka_differs_by_on_average=float(defined.mean()) if len(defined) else None,
        thresholds=[
            PairAt(
                threshold,
                float(adjusted_rand_index(one.labels[threshold], other.labels[threshold])),
                *same_clusters(one.labels[threshold], other.labels[threshold]),
            )
            for threshold in thresholds(clustering)
        ],
    )
