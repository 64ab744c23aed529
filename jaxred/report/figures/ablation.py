"""Figures of ablation: the model's score with growing sets of neurons and layers removed, and the probe's beside it."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from jaxred.report.figures.style import GREY, INK, many_colors, named, new_axes
from jaxred.studies.results import Ablated, AblationResult


def neurons(result: AblationResult) -> Figure:
    """The model with neurons removed, and probes that were trained again without them: over all shares, and over the
    last few neurons that are kept.
    """
    figure = Figure(figsize=(9.6, 3.9))
    removed, kept = figure.subplots(1, 2, sharey=True)
    _curves(removed, result, result.neurons)
    _curves(kept, result, result.neurons, of_kept=True)
    removed.set(xlabel=f"share of all neurons removed (each becomes {result.value})", title="Model and probe")
    removed.xaxis.set_major_formatter(PercentFormatter(1))
    kept.set(xscale="log", xlabel="share of all neurons kept (log)", ylabel="", title="The same by what is kept")
    kept.invert_xaxis()
    kept.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    handles, labels = removed.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def layers(result: AblationResult) -> Figure:
    """The model with layers skipped."""
    figure, axes = new_axes()
    _curves(axes, result, [entry for entry in result.layers if not entry.order.endswith(" alone")])
    axes.set(xlabel="share of transformer layers skipped", title="What the model can do without: layers")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(fontsize=8)
    return figure


def _curves(axes: Axes, result: AblationResult, entries: Sequence[Ablated], of_kept: bool = False) -> None:
    def at(share: float) -> float:
        return 1 - share if of_kept else share

    names = list(dict.fromkeys(entry.order for entry in entries))
    of_neurons = entries is result.neurons
    colors = many_colors(len(names) + 1)
    for name, color in zip(names, colors[1:], strict=True):
        curve = sorted((entry for entry in entries if entry.order == name), key=lambda entry: entry.share)
        shares = [at(entry.share) for entry in curve]
        label = f"model: {name}" if of_neurons else name
        axes.plot(shares, [entry.score for entry in curve], color=color, marker="o", ms=3, label=named(label))
        low, high = ([entry.interval[end] for entry in curve] for end in (0, 1))
        axes.fill_between(shares, low, high, color=color, alpha=0.13, linewidth=0)
    if of_neurons and result.probe:
        points = sorted(result.probe, key=lambda point: point.share)
        shares = [at(point.share) for point in points]
        style = {"color": colors[0], "linestyle": (0, (5, 2)), "linewidth": 1.8}
        axes.plot(shares, [point.score for point in points], label="probe, trained again on what is kept", **style)
        low, high = ([point.interval[end] for point in points] for end in (0, 1))
        axes.fill_between(shares, low, high, color=colors[0], alpha=0.13, linewidth=0)
    axes.axhline(result.whole, color=INK, linewidth=1, label="nothing removed")
    if result.constant is not None:
        axes.axhline(result.constant, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), label="best constant answer")
    axes.set(ylabel=f"test {result.metric.replace('_', ' ')}, the model's own head")
