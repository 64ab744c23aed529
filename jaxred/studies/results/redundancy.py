"""General redundancy: `jaxred.studies.redundancy`."""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from jaxred.io.records import OPTIONAL
from jaxred.studies.results.base import Neuron, Result


@dataclass(frozen=True)
class ClustersAt:
    """The clusters of all neurons at a threshold."""

    threshold: float
    n_clusters: int
    redundant_share: float  # of the neurons that one of each cluster leaves over
    largest_cluster: int
    n_singletons: int
    n_across_layers: int
    windows: np.ndarray  # [window - 1]: clusters that span so many layers
    redundant_share_of_halves: list[float] | None = field(default=None, metadata=OPTIONAL)
    agreement_of_halves: float | None = field(default=None, metadata=OPTIONAL)  # adjusted Rand index


@dataclass(frozen=True)
class Twin:
    """Two neurons that are much alike."""

    neurons: list[Neuron]
    r: float


@dataclass(frozen=True, kw_only=True)
class GeneralRedundancy(Result):
    """Similarity of layers and clusters of neurons, whatever the task."""

    name: ClassVar[str] = "redundancy"

    n_rows: int
    n_layers: int
    hidden_size: int
    cka: np.ndarray  # [layer, layer]; NaN for constant layers
    cka_debiased: np.ndarray
    cka_without_outliers: np.ndarray
    outliers_move_cka_by: float
    thresholds: list[ClustersAt]
    window_threshold: float
    windows: np.ndarray  # at that threshold
    twins: list[Twin]
    constant_neurons: list[Neuron]
    nearly_constant_neurons: list[Neuron]
    outlier_neurons: list[Neuron]

    def rows(self) -> list[dict[str, Any]]:
        """The clusters at every threshold."""
        return [
            {each.name: getattr(entry, each.name) for each in fields(entry) if each.name != "windows"}
            for entry in self.thresholds
        ]
