"""Figures of rankings: the score of the first k neurons of each, and how far they agree."""

import numpy as np
from matplotlib.figure import Figure

from jaxred.report.figures.style import GREY, INK, heat_map, many_colors, named, new_axes
from jaxred.studies.results import RankingsResult


def rankings(result: RankingsResult) -> Figure:
    """Test score against the number of neurons."""
    figure, axes = new_axes()
    for curve, color in zip(result.curves, many_colors(len(result.curves)), strict=True):
        color = GREY if curve.ranking == "random" else color
        sizes = [point.n_neurons for point in curve.points]
        axes.plot(
            sizes, [point.test for point in curve.points], color=color, marker="o", ms=3, label=named(curve.ranking)
        )
        low, high = ([point.interval[end] for point in curve.points] for end in (0, 1))
        axes.fill_between(sizes, low, high, color=color, alpha=0.1, linewidth=0)
    axes.axhline(result.oracle.overall("test"), color=INK, linewidth=1, label="oracle")
    constant = result.task.constant
    if constant is not None:
        axes.axhline(constant.scores["test"], color=GREY, linestyle=(0, (4, 3)), label="best constant answer")
    metric = result.task.metric.replace("_", " ")
    axes.set(xscale="log", xlabel="first neurons of the ranking (log)", ylabel=f"test {metric}", title="Rankings")
    axes.legend(fontsize=8)
    return figure


def ranking_overlap(result: RankingsResult) -> Figure:
    """AvgOverlap of each two rankings."""
    figure = heat_map(np.array(result.overlap), "", "", "AvgOverlap of two rankings")
    names = [named(curve.ranking.replace("_", " ")) for curve in result.curves]
    axes = figure.axes[0]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    return figure
