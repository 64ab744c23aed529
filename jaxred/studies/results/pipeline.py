"""What the pipeline finds: `jaxred.studies.pipeline`."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from jaxred.io.records import OPTIONAL
from jaxred.studies.results.base import Neuron
from jaxred.studies.results.probe_study import (
    ClassReport,
    EncoderSummary,
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
class LayerChoice:
    """The lowest layers that give up less than a delta."""

    delta: float  # percent of the oracle's dev score
    top_layer: int
    scores: ProbeScores


@dataclass(frozen=True)
class LayerChoiceOfRepeats:
    delta: float
    top_layer: Spread
    scores: MeanScores


@dataclass(frozen=True)
class NeuronChoice:
    """The minimal set among the neurons of layers 0..top_layer, clustered at a threshold."""

    delta_layers: float
    delta_neurons: float
    top_layer: int
    threshold: float  # -1: no clustering
    probe: str  # on all candidates
    n_candidates: int
    clusters: np.ndarray | None  # the cluster of every neuron of those layers
    candidates: np.ndarray  # numbered layer * hidden_size + index
    base: ProbeScores  # of the probe on all candidates
    ranking: np.ndarray  # the candidates, most salient first
    sizes: dict[int, ProbeScores]  # of the probes retrained on the first k of the ranking, by k
    minimal_probe: str
    n_minimal: int
    minimal_scores: ProbeScores
    minimal_neurons: list[Neuron]
    finding: bool  # whether it, its base and the oracle beat the best constant answer


@dataclass(frozen=True)
class NeuronChoiceOfRepeats:
    delta_layers: float
    delta_neurons: float
    threshold: float
    top_layer: Spread
    n_minimal: Spread
    n_candidates: Spread
    base: MeanScores
    minimal_scores: MeanScores
    findings: int  # in how many repeats
    neurons_by_layer: dict[int, float]  # mean number of neurons of each layer
    in_every_run: int  # neurons that are in the set of every repeat


@dataclass(frozen=True)
class PipelineClassesOfRepeats:
    oracle: ClassReport
    selection: list[ClassReport]


@dataclass(frozen=True)
class PipelineRepeats:
    """The pipeline's numbers over repeats."""

    n: int
    constant: dict[str, Spread] | None
    oracle: MeanScores
    independent: list[MeanScores]
    incremental: list[MeanScores]
    layer_selection: list[LayerChoiceOfRepeats]
    selection: list[NeuronChoiceOfRepeats]
    training: TrainingOfRepeats
    per_class: PipelineClassesOfRepeats | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class PipelineResult(ProbeStudy):
    """Oracle, layers, LayerSelector and correlation-clustered feature selection (LS + CCFS)."""

    name: ClassVar[str] = "pipeline"

    encoder: EncoderSummary
    independent: list[ProbeScores]  # of the probe on each layer alone
    incremental: list[ProbeScores]  # on layers 0..l; the last is the oracle
    layer_selection: list[LayerChoice]
    selection: list[NeuronChoice]
    per_class: dict[str, ClassReport] | None = field(default=None, metadata=OPTIONAL)
    repeats: PipelineRepeats | None = field(default=None, metadata=OPTIONAL)

    @property
    def oracle_probe(self) -> str:
        return f"layers-0-{len(self.incremental) - 1}"

    @property
    def shape(self) -> tuple[int, int]:
        return self.encoder.n_layers, self.encoder.hidden_size

    @property
    def minimal_sets(self) -> list[MinimalSet]:
        return [self._minimal_set(i) for i in range(len(self.selection))]

    def _minimal_set(self, number: int) -> MinimalSet:
        choice, classes = self.selection[number], (self.per_class or {}).get(self.selection[number].minimal_probe)
        deltas = [choice.delta_layers, choice.delta_neurons]
        if self.repeats is None:
            size, tops, mean, n_findings = one_run(choice.n_minimal), [choice.top_layer], None, int(choice.finding)
        else:
            of_repeats = self.repeats.selection[number]
            size, tops = of_repeats.n_minimal, [int(top) for top in of_repeats.top_layer.runs]
            mean, n_findings = of_repeats.minimal_scores, of_repeats.findings
            classes = None if self.repeats.per_class is None else self.repeats.per_class.selection[number]
        probe, neurons = choice.minimal_probe, choice.minimal_neurons
        return MinimalSet(size, tops, choice.minimal_scores, mean, n_findings, probe, neurons, deltas, classes)

    def rows(self) -> list[dict[str, Any]]:
        """Oracle, layers, and every minimal set, each with its scores (means with repeats)."""
        means, last = self.repeats, self.encoder.n_layers - 1
        hidden_size = self.encoder.hidden_size
        rows = [
            {
                **_row("oracle", last, None, None, None, self.encoder.n_neurons),
                **score_columns(self.oracle, means and means.oracle),
            }
        ]
        for part in ("independent", "incremental"):
            for layer, scores in enumerate(getattr(self, part)):
                n_neurons = hidden_size if part == "independent" else hidden_size * (layer + 1)
                mean = getattr(means, part)[layer] if means else None
                rows.append({**_row(part, layer, None, None, None, n_neurons), **score_columns(scores, mean)})
        for i, choice in enumerate(self.layer_selection):
            mean = means.layer_selection[i] if means else None
            top = mean.top_layer.mean if mean else choice.top_layer
            row = _row("LayerSelector", top, choice.delta, None, None, (top + 1) * hidden_size)
            rows.append({**row, **score_columns(choice.scores, mean and mean.scores)})
        for i, choice in enumerate(self.selection):
            mean = means.selection[i] if means else None
            top, size = (mean.top_layer.mean, mean.n_minimal.mean) if mean else (choice.top_layer, choice.n_minimal)
            threshold = None if choice.clusters is None else choice.threshold
            row = _row("LS + CCFS", top, choice.delta_layers, choice.delta_neurons, threshold, size)
            n_runs = means.n if means else 1
            finding = (mean.findings if mean else int(choice.finding)) == n_runs
            rows.append(
                {**row, **score_columns(choice.minimal_scores, mean and mean.minimal_scores), "finding": finding}
            )
        return rows


def _row(
    name: str,
    top_layer: float | int,
    delta_layers: float | None,
    delta_neurons: float | None,
    threshold: float | None,
    n_neurons: float | int,
) -> dict[str, Any]:
    return {
        "set": name,
        "top_layer": top_layer,
        "delta_layers": delta_layers,
        "delta_neurons": delta_neurons,
        "threshold": threshold,
        "n_neurons": n_neurons,
    }
