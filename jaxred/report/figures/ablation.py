"""Figures of ablation: the model's score with growing sets of neurons and layers removed."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxred.report.figures.style import GREY, INK, many_colors, named, new_axes
from jaxred.studies.results import Ablated, AblationResult


def neurons(result: AblationResult) -> Figure:
    figure, axes = new_axes()
    _curves(axes, result, result.neurons)
    axes.set(xlabel=f"share of all neurons removed ({result.value})", title="What the model can do without: neurons")
    return figure


def layers(result: AblationResult) -> Figure:
    figure, axes = new_axes()
    _curves(axes, result, [entry for entry in result.layers if not entry.order.endswith(" alone")])
    axes.set(xlabel="share of transformer layers skipped", title="What the model can do without: layers")
    return figure


def _curves(axes: Axes, result: AblationResult, entries: Sequence[Ablated]) -> None:
    names = list(dict.fromkeys(entry.order for entry in entries))
    for name, color in zip(names, many_colors(len(names)), strict=True):
        curve = sorted((entry for entry in entries if entry.order == name), key=lambda entry: entry.share)
        shares = [entry.share for entry in curve]
        axes.plot(shares, [entry.score for entry in curve], color=color, marker="o", ms=3.5, label=named(name))
        ends = zip(*(entry.interval for entry in curve), strict=True)
        axes.fill_between(shares, *ends, color=color, alpha=0.15, linewidth=0)
    axes.axhline(result.whole, color=INK, linewidth=1, label="nothing removed")
    if result.constant is not None:
        axes.axhline(result.constant, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), label="best constant answer")
    axes.set(ylabel=f"test {result.metric.replace('_', ' ')}, the model's own head")
    axes.legend(fontsize=8)
