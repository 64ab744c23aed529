"""What one neuron of each cluster scores: `jaxred.studies.cluster_sweep`."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from jaxred.io.records import OPTIONAL
from jaxred.studies.results.probe_study import (
    MeanScores,
    ProbeScores,
    ProbeStudy,
    Spread,
    TrainingOfRepeats,
    score_columns,
)


@dataclass(frozen=True)
class SweepEntry:
    """A probe on one neuron of each cluster."""

    threshold: float
    n_clusters: int
    scores: ProbeScores
    clusters: np.ndarray  # of every neuron
    neurons: np.ndarray  # that stand for the clusters


@dataclass(frozen=True)
class SweepEntryOfRepeats(MeanScores):
    n_clusters: Spread = field(kw_only=True)


@dataclass(frozen=True)
class ClusterSweepRepeats:
    """The cluster sweep's numbers over repeats."""

    n: int
    constant: dict[str, Spread] | None
    oracle: MeanScores
    thresholds: list[SweepEntryOfRepeats]
    training: TrainingOfRepeats


@dataclass(frozen=True, kw_only=True)
class ClusterSweepResult(ProbeStudy):
    """One neuron of each correlation cluster of all layers, at every threshold."""

    name: ClassVar[str] = "cluster_sweep"

    n_layers: int
    hidden_size: int
    thresholds: list[SweepEntry]
    repeats: ClusterSweepRepeats | None = field(default=None, metadata=OPTIONAL)

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_layers, self.hidden_size

    @property
    def oracle_probe(self) -> str:
        return "no-clustering"

    def rows(self) -> list[dict[str, Any]]:
        """All neurons, and the clusters at every threshold."""
        means = self.repeats
        rows = [{"threshold": None, "n_neurons": self.n_layers * self.hidden_size}]
        rows[0] |= score_columns(self.oracle, means and means.oracle)
        for i, entry in enumerate(self.thresholds):
            mean = means.thresholds[i] if means else None
            size = mean.n_clusters.mean if mean else entry.n_clusters
            rows.append({"threshold": entry.threshold, "n_neurons": size, **score_columns(entry.scores, mean)})
        return rows
