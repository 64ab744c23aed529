"""Ablation: what a model's own head scores with neurons and layers removed from its forward pass."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from jaxred.studies.results.base import Result
from jaxred.studies.results.probe_study import Interval


@dataclass(frozen=True)
class Ablated:
    """The model's score with one set removed; of random sets the mean over the draws."""

    order: str  # by which neurons or layers were removed
    n_removed: int  # neurons, or layers
    share: float  # of all neurons, or of all transformer layers
    score: float
    interval: Interval  # of the bootstrap of the test rows and, with several draws, over the draws
    difference: Interval  # of the score less the whole model's, on the same resamples
    n_draws: int  # 1 where the set is no random one
    spread: float | None  # the standard deviation over the draws


@dataclass(frozen=True)
class ProbeAt:
    """A probe that was trained again on the first neurons of a ranking, without the model."""

    share: float  # of all neurons, that it does without
    score: float
    interval: Interval


@dataclass(frozen=True)
class CanGo:
    """The largest share that can go, with all smaller ones, by one order."""

    order: str
    loss: float  # percent of the whole model's score that may be lost
    share: float
    interval: Interval  # over the bootstrap of the test rows and the draws


@dataclass(frozen=True, kw_only=True)
class AblationResult(Result):
    """What a model can do without, by its own head."""

    name: ClassVar[str] = "ablation"

    task: str
    metric: str
    value: str  # what takes a removed neuron's place
    n_layers: int  # with the embedding output
    hidden_size: int
    n_rows: int  # of test
    whole: float  # the score with nothing removed
    whole_interval: Interval
    constant: float | None  # the best constant answer's score on the same rows
    finding: bool  # the whole model beats the best constant answer: its interval is above it
    neurons: list[Ablated]
    sets: list[Ablated]  # the minimal set and what it leaves out, and random sets of the same sizes
    layers: list[Ablated]
    can_go: list[CanGo]  # of neurons; empty where the whole model is no finding
    layers_can_go: list[CanGo]
    probe: list[ProbeAt]  # on the first neurons of the ranking of the first order; empty where there is none
    encoder: str = ""

    def rows(self) -> list[dict[str, Any]]:
        """One row per set removed."""
        parts = {"neurons": self.neurons, "sets": self.sets, "layers": self.layers}
        return [{"what": what, **asdict(entry)} for what, entries in parts.items() for entry in entries]
