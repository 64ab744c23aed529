"""What tables are made of: a number with its spread, cells, Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxred.studies.results import MeanScores, ProbeScores, ProbeStudy, Spread


@dataclass(frozen=True)
class Value:
    """A number, or the mean of its repeats with their standard deviation; and its interval."""

    mean: float | int
    sd: float | int | None = None
    interval: tuple[float, float] | None = None

    def text(self, decimals: int = 3) -> str:
        spread = "" if self.sd is None else f" ± {self.sd:,.{decimals}f}"
        ends = "" if self.interval is None else " [{:.{n}f}, {:.{n}f}]".format(*self.interval, n=decimals)
        return f"{self.mean:,.{decimals}f}{spread}{ends}"


def value(scores: ProbeScores, mean: MeanScores | None, split: str) -> Value:
    """The score of a split over all its rows, or the mean of its repeats; of test, with its interval."""
    interval = (scores if mean is None else mean).interval if split == "test" else None
    if mean is None:
        return Value(scores.overall(split), None, interval)
    spread = getattr(mean, split)
    return Value(spread.mean, spread.sd, interval)


def to_oracle(scores: ProbeScores, mean: MeanScores | None) -> Value:
    """The difference to the oracle's test score, with its interval."""
    difference = (scores if mean is None else mean).to_oracle
    assert difference is not None, "every score of a study is compared with its oracle's"
    return Value(difference.difference, None, difference.interval)


def of_spread(spread: Spread, n_runs: int) -> Value:
    """A number, with its standard deviation where there are repeats."""
    return Value(spread.mean, spread.sd if n_runs > 1 else None)


def of_repeats(study: ProbeStudy) -> str:
    """A sentence to end a note with, where the numbers are means."""
    return f" Mean ± standard deviation of {study.n_runs} repeats." if study.repeats is not None else ""


def span(values: Sequence[float | int | None], form: str = ".2f") -> str:
    """The lowest to the highest of the values that there are, or the only one."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "–"
    ends = [format(end, form) for end in (min(numbers), max(numbers))]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
