"""Figures of fine-tuning: the learning curve, and the layers before and after."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxred.report.figures.style import BLUE, GREY, ORANGE, new_axes
from jaxred.studies.results import BeforeAfter, FineTuningResult


def learning_curve(result: FineTuningResult) -> Figure:
    figure, axes = new_axes()
    axes.plot(result.loss_steps, result.losses, color=BLUE, linewidth=1.1, label="training loss")
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None), title="Fine-tuning")
    right = axes.twinx()
    per_epoch = result.n_steps // len(result.dev)
    steps = per_epoch * np.arange(1, len(result.dev) + 1)
    metric = f"dev {result.metric.replace('_', ' ')}"
    right.plot(steps, result.dev, color=ORANGE, marker="o", ms=4.5, label=metric)
    right.plot(
        steps[result.best_epoch - 1], result.dev[result.best_epoch - 1], "o", ms=10, mfc="none", mec=ORANGE,
        label="kept",
    )  # fmt: skip
    right.set_ylabel(metric)
    right.grid(visible=False)
    lines = [*axes.get_lines(), *right.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], fontsize=8.5, loc="center right")
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
