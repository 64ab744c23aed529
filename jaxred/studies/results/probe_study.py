"""What the results of the studies of probes share: scores, the task, and minimal sets."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxred.io.records import OPTIONAL, TRANSIENT, renamed
from jaxred.probing.metrics import OVERALL
from jaxred.studies.results.base import Neuron, Result

Interval = tuple[float, float]
ClassReport = dict[str, dict[str, Any]]  # by split: "classes", the scores of each, and "macro", their means


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


def score_columns(scores: ProbeScores, mean: MeanScores | None) -> dict[str, Any]:
    """A probe's scores as the columns of a table; means where there are repeats."""
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
