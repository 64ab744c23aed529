"""The minimal set out of all neurons: `jaxred.studies.minimal_neurons`."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from jaxred.io.records import OPTIONAL
from jaxred.studies.results.base import Neuron
from jaxred.studies.results.probe_study import (
    ClassReport,
    MeanScores,
    MinimalSet,
    ProbeScores,
    ProbeStudy,
    Spread,
    TrainingOfRepeats,
    one_run,
    score_columns,
)


@dataclass(frozen=True)
class MinimalClassesOfRepeats:
    oracle: ClassReport
    minimal: ClassReport


@dataclass(frozen=True)
class MinimalNeuronsRepeats:
    """The minimal set's numbers over repeats."""

    n: int
    constant: dict[str, Spread] | None
    oracle: MeanScores
    n_minimal: Spread
    minimal_scores: MeanScores
    findings: int
    neurons_by_layer: dict[int, float]
    in_every_run: int
    training: TrainingOfRepeats
    per_class: MinimalClassesOfRepeats | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class MinimalNeuronsResult(ProbeStudy):
    """The minimal set out of all neurons of all layers."""

    name: ClassVar[str] = "minimal_neurons"

    n_layers: int
    hidden_size: int
    delta: float
    n_candidates: int
    ranking: np.ndarray
    sizes: dict[int, ProbeScores]
    minimal_probe: str
    n_minimal: int
    minimal_scores: ProbeScores
    minimal_neurons: list[Neuron]
    finding: bool
    per_class: dict[str, ClassReport] | None = field(default=None, metadata=OPTIONAL)
    repeats: MinimalNeuronsRepeats | None = field(default=None, metadata=OPTIONAL)

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_layers, self.hidden_size

    @property
    def minimal_sets(self) -> list[MinimalSet]:
        size, mean, n_findings = one_run(self.n_minimal), None, int(self.finding)
        classes = (self.per_class or {}).get(self.minimal_probe)
        if self.repeats is not None:
            size, mean, n_findings = self.repeats.n_minimal, self.repeats.minimal_scores, self.repeats.findings
            classes = None if self.repeats.per_class is None else self.repeats.per_class.minimal
        probe, neurons = self.minimal_probe, self.minimal_neurons
        return [MinimalSet(size, None, self.minimal_scores, mean, n_findings, probe, neurons, [self.delta], classes)]

    def rows(self) -> list[dict[str, Any]]:
        """The oracle, the minimal set, and every size that was tried (in the first repeat)."""
        means = self.repeats
        size = means.n_minimal.mean if means else self.n_minimal
        rows = [
            {"set": "oracle", "n_neurons": self.n_candidates, **score_columns(self.oracle, means and means.oracle)},
            {"set": "minimal", "n_neurons": size, **score_columns(self.minimal_scores, means and means.minimal_scores)},
        ]
        return rows + [
            {"set": "tried", "n_neurons": k, **score_columns(s, None)} for k, s in sorted(self.sizes.items())
        ]
