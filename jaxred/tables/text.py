"""What tables are made of: a number with its spread, cells, Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxred.errors import UserError
from jaxred.metrics import OVERALL
from jaxred.results import load_result
from jaxred.workdir import Workdir


@dataclass(frozen=True)
class Value:
    """A number, or the mean of its repeats with their standard deviation; and its interval."""

    mean: float
    sd: float | None = None
    interval: tuple[float, float] | None = None

    def text(self, decimals: int = 3) -> str:
        spread = "" if self.sd is None else f" ± {self.sd:,.{decimals}f}"
        ends = "" if self.interval is None else " [{:.{n}f}, {:.{n}f}]".format(*self.interval, n=decimals)
        return f"{self.mean:,.{decimals}f}{spread}{ends}"


def value(scores: dict[str, Any], spread: dict[str, Any] | None, split: str) -> Value:
    """The score of a split over all its rows, or the mean of its repeats; of test, with its interval."""
    holder = scores if spread is None else spread
    interval = tuple(holder["interval"]) if split == "test" else None
    if spread is None:
        return Value(scores[split][OVERALL], None, interval)
    return Value(spread[split]["mean"], spread[split]["sd"], interval)


def to_oracle(scores: dict[str, Any], spread: dict[str, Any] | None) -> Value:
    """The difference to the oracle's test score, with its interval."""
    found = (scores if spread is None else spread)["to_oracle"]
    return Value(found["difference"], None, tuple(found["interval"]))


def of_repeats(results: dict[str, Any]) -> str:
    """A sentence to end a note with, where the numbers are means."""
    return f" Mean ± standard deviation of {results['repeats']['n']} repeats." if "repeats" in results else ""


def span(values: Sequence[float | None], form: str = ".2f") -> str:
    """The lowest to the highest of the values that there are, or the only one."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    ends = [format(end, form) for end in (min(known), max(known))]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def markdown(lines: list[list[str]]) -> str:
    """A Markdown table; the first line is its head, the first column text, the others numbers."""
    rule = ["---", *["---:"] * (len(lines[0]) - 1)]
    table = [lines[0], rule, *lines[1:]]
    widths = [max(len(line[i]) for line in table) for i in range(len(rule))]
    return "\n".join(
        f"| {' | '.join(_fit(c, w, i) for i, (c, w) in enumerate(zip(line, widths, strict=True)))} |" for line in table
    )


def _fit(cell: str, width: int, column: int) -> str:
    if cell and set(cell) <= set("-:"):
        return "-" * width if column == 0 else "-" * (width - 1) + ":"
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def load(workdir: Workdir, name: str) -> dict[str, Any]:
    """The results of a study.

    Raises:
        UserError: if there are none.
    """
    content = load_result(workdir.result(name))
    if content is None:
        raise UserError(
            f"{workdir.path} holds no {name.replace('_', ' ')} results: run launch/{name}.py --workdir={workdir.path} "
            "first."
        )
    return content
