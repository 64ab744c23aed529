"""Rankings of neurons next to each other: what the same probe scores on the first neurons of each."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxred.studies.results.base import Result
from jaxred.studies.results.probe_study import Interval, ProbeScores, TaskSummary


@dataclass(frozen=True)
class RankedAt:
    """The probe that was trained again on the first neurons of a ranking; of random ones the mean of several."""

    n_neurons: int
    dev: float
    test: float
    interval: Interval  # of the bootstrap of the test rows and, of several draws, over these
    spread: float | None  # the standard deviation of the test score over draws; None: there is one


@dataclass(frozen=True)
class RankingCurve:
    """A ranking."""

    ranking: str
    n_draws: int
    points: list[RankedAt]
    n_minimal: int  # the smallest size of the grid that the rule accepts; else all neurons
    minimal_test: float
    finding: bool  # whether the probe on these beats the best constant answer, as the oracle does
    stability: float  # AvgOverlap of the rankings of two halves of the training rows
    first: list[tuple[int, int]]  # its first neurons: layer, and index in that layer


@dataclass(frozen=True, kw_only=True)
class RankingsResult(Result):
    """All rankings of one task."""

    name: ClassVar[str] = "rankings"

    task: TaskSummary
    n_layers: int
    hidden_size: int
    oracle: ProbeScores
    delta: float  # percent of the oracle's dev score that a minimal set may give up
    depth: int  # AvgOverlap is the mean over s = 1..depth of the share of the first s in common
    curves: list[RankingCurve]
    overlap: list[list[float]]  # AvgOverlap of each two of them, in their order; of random ones the first draw

    def rows(self) -> list[dict[str, Any]]:
        """One row per ranking and size."""
        return [
            {
                "ranking": curve.ranking,
                "n_neurons": point.n_neurons,
                "dev": point.dev,
                "test": point.test,
                "test_low": point.interval[0],
                "test_high": point.interval[1],
                "spread": point.spread,
            }
            for curve in self.curves
            for point in curve.points
        ]
