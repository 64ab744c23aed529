"""Figures of fine-tuning: the learning curve, and the layers before and after."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxred.report.figures.style import BLUE, GREY, ORANGE, new_axes
from jaxred.studies.results import BeforeAfter, FineTuningResult


def learning_curve(result: FineTuningResult) -> Figure:
    figure, axes = new_axes()
    steps, losses = np.asarray(result.loss_steps), np.asarray(result.losses)
    axes.plot(steps, losses, color=BLUE, linewidth=0.7, alpha=0.35)
    width = max(1, len(losses) // 10)
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    axes.plot(steps[width - 1 :], smooth, color=BLUE, linewidth=1.6, label="training loss (moving mean)")
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None), title="Fine-tuning")
    right = axes.twinx()
    per_epoch, metric = result.n_steps // len(result.dev), f"dev {result.metric.replace('_', ' ')}"
    ends = per_epoch * np.arange(1, len(result.dev) + 1)
    right.plot(ends, result.dev, color=ORANGE, marker="o", ms=4.5, label=metric)
    kept = result.best_epoch - 1
    right.plot(ends[kept], result.dev[kept], "o", ms=10, mfc="none", mec=ORANGE, label="kept")
    shown = [*result.dev]
    if result.constant:
        shown.append(result.constant["dev"])
        right.axhline(shown[-1], color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), label="best constant answer, dev")
    room = max(0.02, 0.15 * (max(shown) - min(shown)))  # so that a thousandth does not fill the figure
    right.set(ylabel=metric, ylim=(min(shown) - room, max(shown) + room))
    right.grid(visible=False)
    handles = [line for line in (*axes.get_lines(), *right.get_lines()) if not str(line.get_label()).startswith("_")]
    figure.legend(handles=handles, fontsize=8.5, loc="outside lower center", ncols=2)
    return figure


def layers_before_after(result: BeforeAfter) -> Figure:
    figure, axes = new_axes()
    for side, color, marker in (("before", ORANGE, "s"), ("after", BLUE, "o")):
        scores = result.layers[side]
        axes.plot(np.arange(len(scores)), scores, color=color, marker=marker, ms=4.5, label=f"{side} fine-tuning")
    if result.constant is not None:
        axes.axhline(result.constant, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), label="best constant answer")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    metric = result.metric.replace("_", " ")
    axes.set(xlabel="layer (0 is the embedding output)", ylabel=f"test {metric}", title="Each layer alone")
    axes.legend(fontsize=8.5)
    return figure
