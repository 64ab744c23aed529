"""What each study finds, as frozen dataclasses.

`to_json` gives what result files hold, `from_json` reads it, `to_frame` makes a pandas table. With repeats, a result is
that of the first one, and `repeats` has mean, standard deviation and every run of each of its numbers.
"""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import numpy as np

from jaxred.io import records
from jaxred.io.records import OPTIONAL, TRANSIENT, renamed
from jaxred.probing.metrics import OVERALL

Neuron = tuple[int, int]  # layer, and index in that layer
Interval = tuple[float, float]
R = TypeVar("R", bound="Result")

ClassReport = dict[str, dict[str, Any]]  # by split: "classes", the scores of each, and "macro", their means


class Result:
    """What all results have in common."""

    name: ClassVar[str]  # of the result file

    def to_json(self) -> dict[str, Any]:
        """What the result file holds."""
        return records.to_json(self)

    @classmethod
    def from_json(cls: type[R], content: dict[str, Any]) -> R:
        """The result that `to_json` gave.

        Raises:
            ValueError: a field is missing or of another type.
        """
        return records.from_json(cls, content)

    def rows(self) -> list[dict[str, Any]]:
        """The result as a table: one dictionary per row, by column."""
        raise NotImplementedError

    def to_frame(self) -> Any:
        """The result as a pandas DataFrame; needs the `frames` extra.

        Raises:
            UserError: pandas is not installed.
        """
        return frame(self.rows())


def frame(rows: list[dict[str, Any]]) -> Any:
    """Rows as a pandas DataFrame.

    Raises:
        UserError: pandas is not installed.
    """
    try:
        import pandas as pd  # here, because it is optional and takes half a second
    except ImportError:
        from jaxred.errors import UserError

        raise UserError("Frames need pandas, which is not installed: pip install 'jaxred[frames]'.") from None
    return pd.DataFrame(rows)


# Scores ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """The difference to the oracle's test score, with the interval of its paired bootstrap."""

    difference: float
    interval: Interval


@dataclass(frozen=True)
class ProbeScores:
    """The scores of a probe: by split the overall one and that of each class, and how sure they are."""

    train: dict[str, float]
    dev: dict[str, float]
    test: dict[str, float]
    standard_error: dict[str, float]  # of dev and of test
    interval: Interval  # bootstrap interval of the test score
    beats_constant: bool  # whether dev is above the best constant answer by more than the difference's uncertainty
    to_oracle: Difference | None = None
    draws: dict[str, np.ndarray] = field(
        default_factory=dict, compare=False, repr=False, metadata=TRANSIENT
    )  # [resample] of dev and of test

    def overall(self, split: str) -> float:
        """The score over all rows of a split."""
        return getattr(self, split)[OVERALL]


@dataclass(frozen=True)
class Spread:
    """A number over repeats."""

    mean: float
    sd: float  # of a sample; 0 for one run
    runs: list[float]


def one_run(value: int) -> Spread:
    """The `Spread` of a number without repeats."""
    return Spread(float(value), 0.0, [float(value)])


@dataclass(frozen=True)
class MeanScores:
    """The overall score of a probe over repeats, on each split, with what `ProbeScores` holds of their mean."""

    train: Spread
    dev: Spread
    test: Spread
    interval: Interval
    standard_error: dict[str, float]
    beats_constant: int  # in how many repeats
    to_oracle: Difference | None = None


@dataclass(frozen=True)
class Training:
    """How a probe was trained."""

    losses: np.ndarray  # [epoch]: mean loss of each, penalties included
    converged: bool


@dataclass(frozen=True)
class TrainingOfRepeats:
    """How many probes of all repeats there are, and how many had not converged."""

    probes: int
    not_converged: int


# What is studied ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Majority:
    """Train's most frequent class, and its share of each split's rows."""

    label: str = field(metadata=renamed("class"))
    accuracy: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ConstantAnswer:
    """The class that scores best on dev as every row's answer, and its score on each split."""

    label: str = field(metadata=renamed("class"))
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskSummary:
    """A task, its rows, and what always saying the same would score (classification)."""

    name: str
    kind: str
    metric: str
    rows: dict[str, int]
    classes: list[str] = field(default_factory=list, metadata=OPTIONAL)  # by number; empty for regression
    class_counts: dict[str, dict[str, int]] = field(default_factory=dict, metadata=OPTIONAL)
    majority: Majority | None = field(default=None, metadata=OPTIONAL)
    fallbacks: dict[str, int] | None = field(default=None, metadata=OPTIONAL)  # rows of unseen classes
    targets: dict[str, dict[str, float]] | None = field(
        default=None, metadata=OPTIONAL
    )  # regression: mean, deviation, lowest, highest
    constant: ConstantAnswer | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class EncoderSummary:
    """The encoder whose activations were studied."""

    path: str
    n_layers: int  # the embedding output and every transformer layer
    hidden_size: int
    parameters: list[int] | None  # of the encoder cut after each layer; None where it is not known

    @property
    def n_neurons(self) -> int:
        return self.n_layers * self.hidden_size


@dataclass(frozen=True, kw_only=True)
class ProbeStudy(Result):
    """What the studies of probes have in common."""

    task: TaskSummary
    oracle: ProbeScores  # of the probe on all neurons
    solver: str
    training: dict[str, Training]  # by probe
    pooling: str | None = None  # how sentence vectors were made; None for words and imported activations
    extraction: dict[str, dict[str, Any]] = field(default_factory=dict)  # what extraction noted, by split

    repeats: Any = field(default=None, metadata=OPTIONAL)  # of each study's own type

    @property
    def shape(self) -> tuple[int, int]:
        """Layers, and neurons per layer."""
        raise NotImplementedError

    @property
    def oracle_probe(self) -> str:
        """The oracle's name among the probes."""
        return "oracle"

    @property
    def n_runs(self) -> int:
        """How often the study was run."""
        return 1 if self.repeats is None else self.repeats.n

    @property
    def mean_oracle(self) -> MeanScores | None:
        """The oracle's scores over repeats."""
        return None if self.repeats is None else self.repeats.oracle

    @property
    def oracle_class_report(self) -> ClassReport | None:
        """Every class's scores under the oracle; means with repeats, None where there are none."""
        of_repeats = None if self.repeats is None else getattr(self.repeats, "per_class", None)
        return of_repeats.oracle if of_repeats else (getattr(self, "per_class", None) or {}).get(self.oracle_probe)

    @property
    def minimal_sets(self) -> list["MinimalSet"]:
        """The minimal sets that the study selects; none in a study that selects none."""
        return []


@dataclass(frozen=True)
class MinimalSet:
    """A minimal set of neurons, however it was searched."""

    n_neurons: Spread  # over repeats; of one run without them
    top_layers: list[int] | None  # of each run; None for a set out of all layers
    scores: ProbeScores
    mean: MeanScores | None  # over repeats
    n_findings: int  # runs in which it is a finding
    probe: str
    neurons: list[Neuron]  # of the first run
    deltas: list[float]
    class_report: ClassReport | None  # means with repeats


# The pipeline ---------------------------------------------------------------------------------------------------------


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
                **_scores(self.oracle, means and means.oracle),
            }
        ]
        for part in ("independent", "incremental"):
            for layer, scores in enumerate(getattr(self, part)):
                n_neurons = hidden_size if part == "independent" else hidden_size * (layer + 1)
                mean = getattr(means, part)[layer] if means else None
                rows.append({**_row(part, layer, None, None, None, n_neurons), **_scores(scores, mean)})
        for i, choice in enumerate(self.layer_selection):
            mean = means.layer_selection[i] if means else None
            top = mean.top_layer.mean if mean else choice.top_layer
            row = _row("LayerSelector", top, choice.delta, None, None, (top + 1) * hidden_size)
            rows.append({**row, **_scores(choice.scores, mean and mean.scores)})
        for i, choice in enumerate(self.selection):
            mean = means.selection[i] if means else None
            top, size = (mean.top_layer.mean, mean.n_minimal.mean) if mean else (choice.top_layer, choice.n_minimal)
            threshold = None if choice.clusters is None else choice.threshold
            row = _row("LS + CCFS", top, choice.delta_layers, choice.delta_neurons, threshold, size)
            n_runs = means.n if means else 1
            finding = (mean.findings if mean else int(choice.finding)) == n_runs
            rows.append({**row, **_scores(choice.minimal_scores, mean and mean.minimal_scores), "finding": finding})
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


def _scores(scores: ProbeScores, mean: MeanScores | None) -> dict[str, Any]:
    """The columns of a probe's scores."""
    either = scores if mean is None else mean
    columns: dict[str, Any] = {}
    for split in ("train", "dev", "test"):
        columns[split] = scores.overall(split) if mean is None else getattr(mean, split).mean
        if mean is not None:
            columns[f"{split}_sd"] = getattr(mean, split).sd
    columns["test_low"], columns["test_high"] = either.interval
    if either.to_oracle is not None:
        columns["to_oracle"] = either.to_oracle.difference
        columns["to_oracle_low"], columns["to_oracle_high"] = either.to_oracle.interval
    return {**columns, "beats_constant": either.beats_constant}


# One neuron of each cluster, and the minimal set out of all -----------------------------------------------------------


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
        rows[0] |= _scores(self.oracle, means and means.oracle)
        for i, entry in enumerate(self.thresholds):
            mean = means.thresholds[i] if means else None
            size = mean.n_clusters.mean if mean else entry.n_clusters
            rows.append({"threshold": entry.threshold, "n_neurons": size, **_scores(entry.scores, mean)})
        return rows


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
            {"set": "oracle", "n_neurons": self.n_candidates, **_scores(self.oracle, means and means.oracle)},
            {"set": "minimal", "n_neurons": size, **_scores(self.minimal_scores, means and means.minimal_scores)},
        ]
        return rows + [{"set": "tried", "n_neurons": k, **_scores(s, None)} for k, s in sorted(self.sizes.items())]


# General redundancy ---------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True, kw_only=True)
class TaskRedundancy(GeneralRedundancy):
    """General redundancy of one of several tasks."""

    run: str = field(metadata=renamed("name"))
    workdir: str = ""
    task: str = ""


@dataclass(frozen=True)
class MeanClustersAt:
    """The mean over tasks at a threshold."""

    threshold: float
    n_clusters: Spread
    redundant_share: Spread


@dataclass(frozen=True)
class PairAt:
    """Two tasks' clusterings at a threshold."""

    threshold: float
    agreement: float  # adjusted Rand index
    n_same: int
    n_same_of_several: int
    share_of_several: float | None


@dataclass(frozen=True)
class PairOfTasks:
    tasks: list[str]
    cka_differs_by: float | None
    cka_differs_by_on_average: float | None
    thresholds: list[PairAt]


@dataclass(frozen=True, kw_only=True)
class SeveralTasks(Result):
    """General redundancy of several tasks together."""

    name: ClassVar[str] = "tasks"

    n_layers: int
    hidden_size: int
    tasks: list[TaskRedundancy]
    mean: list[MeanClustersAt]
    window_threshold: float
    windows: np.ndarray
    pairs: list[PairOfTasks]
    pooled: GeneralRedundancy | None = None
    why_not_pooled: str | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Each task's clusters at every threshold."""
        return [{"task": task.run, **row} for task in self.tasks for row in task.rows()]


@dataclass(frozen=True)
class ModelSummary:
    """One of two models."""

    n_layers: int
    hidden_size: int
    cka: np.ndarray
    cka_debiased: np.ndarray
    name: str = ""
    workdir: str = ""
    encoder: str = ""


@dataclass(frozen=True)
class SharedAt:
    """The clusters of two models' neurons together at a threshold."""

    threshold: float
    n_clusters: int
    n_shared: int
    shared_share_of_neurons: list[float]  # of either model
    agreement: float | None = field(default=None, metadata=OPTIONAL)  # these, where the models are of one shape
    n_same: int | None = field(default=None, metadata=OPTIONAL)
    n_same_of_several: int | None = field(default=None, metadata=OPTIONAL)
    share_of_several: float | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class TwoModels(Result):
    """Two models on the same rows."""

    name: ClassVar[str] = "models"

    n_rows: int
    models: list[ModelSummary]
    cka: np.ndarray  # [layer of the first, layer of the second]
    cka_debiased: np.ndarray
    halves_move_cka_by: float | None
    most_alike: list[int | None]  # the layer of the second that is most like each of the first
    thresholds: list[SharedAt]

    def rows(self) -> list[dict[str, Any]]:
        """The CKA of every pair of layers."""
        return [
            {"layer_of_first": int(i), "layer_of_second": int(j), "cka": self.cka[i, j], "cka_debiased": debiased}
            for (i, j), debiased in np.ndenumerate(self.cka_debiased)
        ]


RESULTS: dict[str, type[Result]] = {
    kind.name: kind
    for kind in (PipelineResult, ClusterSweepResult, MinimalNeuronsResult, GeneralRedundancy, SeveralTasks, TwoModels)
}
