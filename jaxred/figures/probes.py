"""Figures of probes: layers, minimal sets of neurons, clustering thresholds, training."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxred.figures.style import BLUE, GREEN, GREY, INK, MORE_COLORS, ORANGE, new_axes
from jaxred.metrics import OVERALL


def metric_name(pipeline: dict[str, Any]) -> str:
    """The task's metric in words."""
    return pipeline["task"]["metric"].replace("_", " ").replace("corrcoef", "correlation")


def _score(entry: dict[str, Any], split: str) -> float:
    return entry[split][OVERALL]


def _majority(axes: Axes, pipeline: dict[str, Any], split: str) -> None:
    majority = pipeline["task"].get("majority")
    if majority and pipeline["task"]["metric"] == "accuracy":
        axes.axhline(
            majority["accuracy"][split], color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), label="majority class"
        )


def layers(pipeline: dict[str, Any]) -> Figure:
    figure, axes = new_axes()
    layers = np.arange(len(pipeline["independent"]))
    for name, label, color, marker in (
        ("incremental", "layers 0 to this one", BLUE, "o"),
        ("independent", "this layer alone", ORANGE, "s"),
    ):
        scores, spread = [_score(e, "test") for e in pipeline[name]], None
        if "repeats" in pipeline:
            scores = [e["test"]["mean"] for e in pipeline["repeats"][name]]
            spread = [e["test"]["sd"] for e in pipeline["repeats"][name]]
        style = {"color": color, "marker": marker, "ms": 4.5, "capsize": 2.5, "elinewidth": 0.9}
        axes.errorbar(layers, scores, spread, label=label, **style)
    axes.axhline(_score(pipeline["oracle"], "test"), color=INK, linewidth=1, label="oracle (all layers)")
    _majority(axes, pipeline, "test")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="layer (0 is the embedding output)", ylabel=f"test {metric_name(pipeline)}", title="Score by layer")
    axes.legend(fontsize=8.5)
    return figure


def minimal_neurons(pipeline: dict[str, Any]) -> Figure:
    figure, axes = new_axes()
    colors = iter(MORE_COLORS)
    seen = set()
    for chosen in pipeline["selection"]:
        key = chosen["top_layer"], chosen["threshold"]
        if key in seen:
            continue
        seen.add(key)
        color = next(colors, GREY)
        sizes = sorted(int(k) for k in chosen["sizes"])
        what = "no clustering" if chosen["clusters"] is None else f"clustering {chosen['threshold']:g}"
        positive = [k for k in sizes if k > 0]
        dev = [_score(chosen["sizes"][str(k)], "dev") for k in positive]
        axes.plot(positive, dev, color=color, marker="o", ms=3, lw=1.3, label=f"layers 0–{chosen['top_layer']}, {what}")
        axes.axhline(_score(chosen["base"], "dev"), color=color, linewidth=0.8, linestyle=":")
        if chosen["n_minimal"] > 0:
            axes.plot(
                chosen["n_minimal"], _score(chosen["minimal_scores"], "dev"), "o", ms=10, mfc="none", mec=color, mew=1.5
            )
    _majority(axes, pipeline, "dev")
    axes.set_xscale("log")
    axes.set(
        xlabel="neurons kept, best first (ring: minimal set; dotted: all candidates)",
        ylabel=f"dev {metric_name(pipeline)}",
        title="Score by number of neurons",
    )
    axes.legend(fontsize=8)
    return figure


def kept_neurons(pipeline: dict[str, Any]) -> Figure:
    n_layers = pipeline["encoder"]["n_layers"]
    hidden_size = pipeline["encoder"]["hidden_size"]
    shown: dict[str, np.ndarray] = {}
    for chosen in pipeline["selection"]:
        what = "no clustering" if chosen["clusters"] is None else f"clustering {chosen['threshold']:g}"
        label = f"layers 0–{chosen['top_layer']}, {what}: {chosen['n_minimal']:,} neurons"
        layers = [layer for layer, _ in chosen["minimal_neurons"]]
        shown.setdefault(label, np.bincount(layers, minlength=n_layers))
    figure, axes = new_axes()
    width = 0.8 / len(shown)
    for i, ((label, counts), color) in enumerate(
        zip(shown.items(), (BLUE, ORANGE, GREEN, "#7c3aed", "#be185d", GREY), strict=False)
    ):
        place = np.arange(n_layers) + (i - (len(shown) - 1) / 2) * width
        axes.bar(place, 100 * counts / hidden_size, width * 0.92, color=color, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0, axes.get_ylim()[1] * (1.05 + 0.08 * len(shown)))  # room for the legend
    axes.set(xlabel="layer", ylabel="% of the layer's neurons", title="Where the minimal sets sit")
    axes.legend(fontsize=8)
    return figure


def minimal_of_all(found: dict[str, Any]) -> Figure:
    figure, axes = new_axes()
    sizes = sorted(int(k) for k in found["sizes"] if int(k) > 0)
    for split, color in (("dev", ORANGE), ("test", BLUE)):
        scores = [_score(found["sizes"][str(k)], split) for k in sizes]
        axes.plot(sizes, scores, color=color, marker="o", ms=3, lw=1.3, label=split)
        axes.axhline(_score(found["oracle"], split), color=color, linewidth=0.9, linestyle=":")
    minimal = found["n_minimal"]
    if minimal > 0:
        axes.plot(minimal, _score(found["minimal_scores"], "dev"), "o", ms=10, mfc="none", mec=ORANGE, mew=1.5)
    _majority(axes, found, "test")
    axes.set_xscale("log")
    axes.set(
        xlabel="neurons kept, best first (ring: minimal set; dotted: all neurons)",
        ylabel=metric_name(found),
        title=f"Minimal set out of {found['n_candidates']:,} neurons",
    )
    axes.legend(fontsize=8.5)
    return figure


def training(pipeline: dict[str, Any]) -> Figure:
    figure, axes = new_axes()
    last = len(pipeline["incremental"]) - 1
    colors = mpl.colormaps["viridis"]
    for layer in range(last + 1):
        losses = pipeline["training"][f"layers-0-{layer}"]["losses"]
        label = "layer 0" if layer == 0 else "oracle (all layers)" if layer == last else None
        style = {"color": colors(0.92 * layer / max(last, 1)), "lw": 2 if layer == last else 1.1, "label": label}
        axes.plot(np.arange(1, len(losses) + 1), losses, **style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="mean loss in training", title="Training of the probes on layers 0 to l")
    axes.legend(fontsize=8.5)
    return figure


def cluster_sweep(sweep: dict[str, Any]) -> Figure:
    figure, axes = new_axes()
    thresholds = [entry["threshold"] for entry in sweep["thresholds"]]
    for split, color, marker in (("dev", ORANGE, "s"), ("test", BLUE, "o")):
        axes.plot(
            thresholds,
            [_score(e["scores"], split) for e in sweep["thresholds"]],
            color=color,
            marker=marker,
            ms=4.5,
            label=split,
        )
        axes.axhline(_score(sweep["oracle"], split), color=color, linewidth=0.9, linestyle=":")
    _majority(axes, sweep, "test")
    axes.set_xticks(thresholds, [f"{e['threshold']:g}\n{e['n_clusters']:,}" for e in sweep["thresholds"]])
    axes.set(
        xlabel="clustering threshold, and neurons left (dotted: all neurons)",
        ylabel=metric_name(sweep),
        title="Score by clustering threshold",
    )
    axes.legend(fontsize=8.5)
    return figure
