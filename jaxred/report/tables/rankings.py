"""The table of rankings: the smallest set that each finds, its scores at a few sizes, and how stable it is."""

import numpy as np

from jaxred.io.tables import markdown
from jaxred.studies.results import RankingCurve, RankingsResult

SHOWN = 5  # sizes of the grid


def ranking_lines(result: RankingsResult) -> list[tuple[list[list[str]], str]]:
    """Tables with their notes: rankings, and how far they agree."""
    sizes = [point.n_neurons for point in result.curves[0].points]
    shown = sorted({sizes[i] for i in np.linspace(0, len(sizes) - 1, SHOWN).round().astype(int)})
    metric = result.task.metric.replace("_", " ")
    head = ["ranking", "smallest set", "its test score", *(f"first {size:,}" for size in shown), "two halves agree"]
    lines = [head, *(_line(curve, shown, result.n_layers * result.hidden_size) for curve in result.curves)]
    low, high = result.oracle.interval
    note = (
        f"{metric} on test of the same probe, trained again on the first neurons of each ranking; the oracle, on all "
        f"{result.n_layers * result.hidden_size:,}, has {result.oracle.overall('test'):.3f} [{low:.3f}, {high:.3f}]. "
        f"The smallest set gives up less than {result.delta:g}% of the oracle's score on dev; \u2020: it does not beat "
        "the best constant answer. [ ]: 95% bootstrap interval, of random over its draws too. Two halves agree: "
        f"AvgOverlap of the rankings of two halves of the training rows, over the first 1 to {result.depth:,}; by "
        f"chance {result.depth / (2 * result.n_layers * result.hidden_size):.2f}."
    )
    names = [curve.ranking for curve in result.curves]
    overlap = [["AvgOverlap", *names]]
    overlap += [[name, *(f"{x:.2f}" for x in row)] for name, row in zip(names, result.overlap, strict=True)]
    return [(lines, note), (overlap, "How much of their first neurons two rankings have in common.")]


def rankings_table(result: RankingsResult) -> str:
    """The same as Markdown."""
    return "\n\n".join(f"{markdown(lines)}\n\n{note}" for lines, note in ranking_lines(result))


def _line(curve: RankingCurve, shown: list[int], n_neurons: int) -> list[str]:
    scores = {point.n_neurons: point for point in curve.points}
    cells = []
    for size in shown:
        low, high = scores[size].interval
        cells.append(f"{scores[size].test:.3f} [{low:.3f}, {high:.3f}]")
    name = curve.ranking if curve.n_draws == 1 else f"{curve.ranking} ({curve.n_draws} draws)"
    mark = "" if curve.finding else " \u2020"
    share = f"{curve.n_minimal:,} ({curve.n_minimal / n_neurons:.1%}){mark}"
    return [name, share, f"{curve.minimal_test:.3f}", *cells, f"{curve.stability:.2f}"]
