"""Lines of cells as Markdown, CSV and LaTeX; the first line is the head."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from jaxred.io.result_files import plain
from jaxred.io.visible_text import visible

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "δ": r"$\delta$", "±": r"$\pm$", "–": "--",
}  # fmt: skip


def as_csv(lines: Iterable[Sequence[Any]]) -> str:
    """Lines of cells as CSV text; NaN and None are empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([plain(cell) for cell in line] for line in lines)
    return text.getvalue()


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


def latex(lines: Sequence[Sequence[str]], n_text: int = 1) -> str:
    """A LaTeX table for the package booktabs; after the first columns, which are text, all are numbers."""
    columns = "l" * n_text + "r" * (len(lines[0]) - n_text)
    head, *rest = ([_latex_cell(cell) for cell in line] for line in lines)
    rows = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rf"{' & '.join(head)} \\", r"\midrule"]
    rows += [rf"{' & '.join(line)} \\" for line in rest]
    return "\n".join([*rows, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_cell(cell: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in visible(cell))
