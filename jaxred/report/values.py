"""What tables are made of: a number with its spread, cells, Markdown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxred.errors import UserError
from jaxred.io.result_files import load_result
from jaxred.probing.metrics import OVERALL
from jaxred.report.visible_text import visible
from jaxred.runs.workdir import Workdir


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


def span(values: Sequence[float | int | None], form: str = ".2f") -> str:
    """The lowest to the highest of the values that there are, or the only one."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    ends = [format(end, form) for end in (min(known), max(known))]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def markdown(lines: Sequence[Sequence[str]], n_text: int = 1) -> str:
    """A Markdown table, whatever its cells hold; the first line is its head, and after the first columns, which are
    text, all are numbers.
    """
    table = [[_escaped(cell) for cell in line] for line in lines]
    widths = [max(3 if i < n_text else 4, *(len(line[i]) for line in table)) for i in range(len(table[0]))]
    rule = ["-" * width if i < n_text else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    padded = [
        [cell.ljust(width) if i < n_text else cell.rjust(width) for i, (cell, width) in enumerate(fitted)]
        for fitted in (list(zip(line, widths, strict=True)) for line in table)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (padded[0], rule, *padded[1:]))


def _escaped(cell: str) -> str:
    """The cell in one line, and its bars as no end of it; a backslash before a bar would take the bar's own away."""
    return re.sub(r"(\\*)\|", lambda bar: rf"{bar[1] * 2}\|", visible(cell))


def load(workdir: Workdir, name: str) -> dict[str, Any]:
    """The results of a study.

    Raises:
        UserError: if there are none.
    """
    content = load_result(workdir.result(name))
    if content is None:
        raise UserError(
            f"{workdir.path} holds no {name.replace('_', ' ')} results: run launch/{name}.py "
            f"workdir={str(workdir.path)!r} first."
        )
    return content
