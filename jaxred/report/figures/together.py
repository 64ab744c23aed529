"""Figures of several tasks together, and of two models on the same rows."""

import numpy as np
from matplotlib.figure import Figure

from jaxred.report.figures.style import (
    BLUE,
    INK,
    MORE_COLORS,
    ORANGE,
    count_windows,
    heat_map,
    many_colors,
    named,
    new_axes,
)
from jaxred.studies.results import SeveralTasks, TwoModels


def tasks_curves(found: SeveralTasks) -> Figure:
    figure, axes = new_axes()
    thresholds = [entry.threshold for entry in found.mean]
    for task, color in zip(found.tasks, many_colors(len(found.tasks)), strict=True):
        shares = [100 * entry.redundant_share for entry in task.thresholds]
        axes.plot(thresholds, shares, color=color, marker="o", ms=3.5, lw=1.3, label=named(task.run))
        if all(entry.redundant_share_of_halves for entry in task.thresholds):
            ends = 100 * np.sort([entry.redundant_share_of_halves or [] for entry in task.thresholds], axis=1)
            axes.fill_between(thresholds, *ends.T, color=color, alpha=0.15, linewidth=0)
    mean = [100 * entry.redundant_share.mean for entry in found.mean]
    axes.plot(thresholds, mean, color=INK, lw=2, label="mean of the tasks")
    if found.pooled:
        shares = [100 * entry.redundant_share for entry in found.pooled.thresholds]
        axes.plot(thresholds, shares, color=INK, lw=1.4, ls=(0, (4, 3)), label="all rows pooled")
    axes.set(
        xlabel="clustering threshold (band: two halves of the sentences)",
        ylabel="% of neurons redundant",
        title="Redundant neurons by task",
        ylim=(0, 100),
    )
    axes.legend(fontsize=8.5)
    return figure


def tasks_windows(found: SeveralTasks) -> Figure:
    tasks = found.tasks
    figure, axes = new_axes(6.2, 3.4)
    windows, width = np.arange(1, len(found.windows) + 1), 0.8 / len(tasks)
    for i, (task, color) in enumerate(zip(tasks, many_colors(len(tasks)), strict=True)):
        positions = windows + (i - (len(tasks) - 1) / 2) * width
        axes.bar(positions, task.windows, width * 0.92, color=color, label=named(task.run))
    axes.bar(windows, found.windows, 0.86, color="none", edgecolor=INK, linewidth=1, label="sum of the tasks")
    count_windows(axes, found.windows, found.window_threshold)
    axes.legend(fontsize=8)
    return figure


def tasks_agreement(found: SeveralTasks) -> Figure:
    figure, axes = new_axes()
    thresholds = [entry.threshold for entry in found.mean]
    few = len(found.pairs) <= len(MORE_COLORS)
    for pair, color in zip(found.pairs, many_colors(len(found.pairs)), strict=True):
        agreement = [entry.agreement for entry in pair.thresholds]
        label = " and ".join(pair.tasks) if few else None
        axes.plot(thresholds, agreement, color=color, marker="o", ms=3.5, lw=1.3, label=label)
    halves = [[entry.agreement_of_halves for entry in task.thresholds] for task in found.tasks]
    halves = np.array([agreements for agreements in halves if None not in agreements], float)
    if len(halves):
        label = "two halves of one task (mean)"
        axes.plot(thresholds, np.mean(halves, axis=0), color=INK, lw=1.4, ls=(0, (4, 3)), label=label)
    axes.set(
        xlabel="clustering threshold",
        ylabel="adjusted Rand index",
        title="Do two tasks have the same clusters?",
        ylim=(-0.02, 1.02),
    )
    axes.legend(fontsize=8.5)
    return figure


def models_cka(models: TwoModels) -> Figure:
    first, second = (named(model.name) for model in models.models)
    return heat_map(models.cka, f"layer of {first}", f"layer of {second}", "Linear CKA")


def models_clusters(models: TwoModels) -> Figure:
    figure, axes = new_axes()
    thresholds = [entry.threshold for entry in models.thresholds]
    for i, (model, color, marker) in enumerate(zip(models.models, (BLUE, ORANGE), ("o", "s"), strict=True)):
        shares = [100 * entry.shared_share_of_neurons[i] for entry in models.thresholds]
        axes.plot(thresholds, shares, color=color, marker=marker, ms=4.5, label=named(model.name))
    axes.set(
        xlabel="clustering threshold",
        ylabel="% of the model's neurons",
        title="Neurons in clusters of both models",
        ylim=(-2, 102),
    )
    axes.legend(fontsize=8.5)
    return figure
