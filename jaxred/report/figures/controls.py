"""Figures of controls: scores with those of the control task, and compression, by layer."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxred.report.figures.style import BLUE, GREY, INK, ORANGE, new_axes
from jaxred.studies.results import ControlsResult

KINDS = (("layers", "layers 0 to this one", BLUE, "o"), ("layer", "this layer alone", ORANGE, "s"))


def control_scores(result: ControlsResult) -> Figure:
    figure, axes = new_axes(height=4.3)
    for kind, label, color, marker in KINDS:
        entries = result.of(kind)
        x, scores = np.arange(len(entries)), np.array([entry.score["test"] for entry in entries])
        ends = np.array([entry.interval for entry in entries])
        spread = np.clip([scores - ends[:, 0], ends[:, 1] - scores], 0, None)
        axes.errorbar(x, scores, spread, label=label, color=color, marker=marker, ms=4.5, capsize=2.5, elinewidth=0.9)
        for split, style in (("test", "--"), ("train", ":")):
            control = [entry.control[split] for entry in entries]
            axes.plot(x, control, color=color, ls=style, lw=1.2, label=f"control on {split}, {label}")
    if result.constant_control is not None:
        axes.axhline(result.constant_control, color=GREY, linewidth=1, label="constant answer to the control task")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    metric = result.task.metric.replace("_", " ").replace("corrcoef", "correlation")
    axes.set(xlabel="layer (0 is the embedding output)", ylabel=metric, title=f"Task and control ({result.control})")
    figure.legend(fontsize=7.5, ncols=2, loc="outside lower center")  # below, as the lines are all over the axes
    return figure


def compression(result: ControlsResult) -> Figure | None:
    """None for scores, which have no code."""
    if result.uniform_code is None:
        return None
    figure, axes = new_axes()
    for kind, label, color, marker in KINDS:
        values = [np.nan if entry.compression is None else entry.compression for entry in result.of(kind)]
        axes.plot(np.arange(len(values)), values, label=label, color=color, marker=marker, ms=4.5)
    axes.axhline(1, color=INK, linewidth=1, label="no compression")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    title = "Online code of the labels"
    axes.set(xlabel="layer (0 is the embedding output)", ylabel="compression (n log2 K / code)", title=title)
    axes.legend(fontsize=8.5)
    return figure
