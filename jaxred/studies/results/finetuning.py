"""Fine-tuning: how an encoder was trained on the task, and what of its redundancy changed by that."""

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from jaxred.studies.results.base import Result
from jaxred.studies.results.layer_measures import OfHalves
from jaxred.studies.results.probe_study import Interval


@dataclass(frozen=True)
class SetOfOne:
    """A set of neurons that a pipeline selects, under one encoder."""

    top_layer: float  # a mean with repeats
    n_neurons: float
    share: float  # of all neurons
    dev: float
    test: float
    interval: Interval
    finding: bool


@dataclass(frozen=True)
class SetOfBoth:
    """What one rule selects before and after fine-tuning."""

    rule: str  # such as LS + CCFS
    delta: str  # of the rule; empty where it has none
    clustering: str  # of the rule: no clustering, or clustering with its threshold; empty where it has none
    before: SetOfOne
    after: SetOfOne


@dataclass(frozen=True)
class MeasureOfBoth:
    """A measure of each layer without labels, or of a layer and the one before it, under both encoders."""

    before: OfHalves  # [layer]
    after: OfHalves


@dataclass(frozen=True, kw_only=True)
class BeforeAfter(Result):
    """What the same pipeline finds in an encoder before and after it is fine-tuned."""

    name: ClassVar[str] = "before_after"

    task: str
    metric: str
    sets: list[SetOfBoth]
    layers: dict[str, list[float]]  # before, after: the test score of each layer alone
    constant: float | None  # the best constant answer's test score
    measures: dict[str, MeasureOfBoth] = field(default_factory=dict)  # empty where layers were not measured

    def rows(self) -> list[dict[str, Any]]:
        """One row per rule and side."""
        return [
            {
                "set": entry.rule,
                "delta": entry.delta,
                "clustering": entry.clustering,
                "encoder": side,
                **asdict(getattr(entry, side)),
            }
            for entry in self.sets
            for side in ("before", "after")
        ]


@dataclass(frozen=True, kw_only=True)
class FineTuningResult(Result):
    """How an encoder with a head was trained, and how well it does."""

    name: ClassVar[str] = "finetuning"

    task: str
    kind: str
    metric: str
    classes: list[str]  # by number; empty for regression
    encoder: str  # the path of what was trained
    n_layers: int  # transformer layers
    n_parameters: int
    n_rows: dict[str, int]  # by split: sentences, or words
    n_steps: int
    loss_steps: list[int]  # the step that ends each stretch of steps
    losses: list[float]  # the mean over each stretch
    dev: list[float]  # after every epoch
    best_epoch: int  # counted from 1
    test: float | None = None  # of the best epoch's weights; None where there is no test split
    test_interval: Interval | None = None  # of its bootstrap
    constant: dict[str, float] = field(default_factory=dict)  # the best constant answer's score, by split

    def rows_of_epochs(self) -> list[tuple[int, float, float]]:
        """Epoch, mean loss, and score on dev."""
        per_epoch, n_epochs = self.n_steps // len(self.dev), len(self.dev)
        table = []
        for epoch in range(1, n_epochs + 1):
            ends = zip(self.loss_steps, self.losses, strict=True)
            losses = [loss for end, loss in ends if (epoch - 1) * per_epoch < end <= epoch * per_epoch]
            table.append((epoch, sum(losses) / max(len(losses), 1), self.dev[epoch - 1]))
        return table

    def rows(self) -> list[dict[str, Any]]:
        """One row per epoch."""
        return [
            {"epoch": epoch, "loss": loss, "dev": dev, "kept": epoch == self.best_epoch}
            for epoch, loss, dev in self.rows_of_epochs()
        ]
