"""The report's figures, each from the result files alone."""

import functools
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from jaxred.cluster_map import ClusterMap
from jaxred.files import replace_file
from jaxred.metrics import OVERALL

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BLUE, ORANGE, GREEN, GREY, INK = "#2a5d9f", "#d97706", "#2f855a", "#8a919c", "#1f2933"
MORE_COLORS = (BLUE, ORANGE, GREEN, "#7c3aed", "#be185d", "#0f766e", "#92400e", "#4b5563")
LEAF = 0.03  # of the distance, drawn below a single neuron: down to 0, thousands of them are a black area
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#c3c9d1",
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.grid": True,
    "grid.color": "#e6e9ed",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 150,
}


def draw(folder: Path, results: dict[str, dict[str, Any]]) -> dict[str, Path]:
    """Draws every figure that the results allow; returns their files by name, in the order of the report."""
    figures = {}
    with mpl.rc_context(STYLE):
        if "pipeline" in results:
            figures["layers"] = _layers(results["pipeline"])
            figures["minimal_neurons"] = _minimal_neurons(results["pipeline"])
            figures["kept_neurons"] = _kept_neurons(results["pipeline"])
            figures["training"] = _training(results["pipeline"])
        if "cluster_sweep" in results:
            figures["cluster_sweep"] = _cluster_sweep(results["cluster_sweep"])
        if "minimal_neurons" in results:
            figures["minimal_of_all"] = _minimal_of_all(results["minimal_neurons"])
        if "redundancy" in results:
            figures["cka"] = _cka(results["redundancy"])
            figures["clusters"] = _clusters(results["redundancy"])
            figures["windows"] = _windows(results["redundancy"])
        if "tasks" in results:
            figures["tasks_curves"] = _tasks_curves(results["tasks"])
            figures["tasks_windows"] = _tasks_windows(results["tasks"])
            figures["tasks_agreement"] = _tasks_agreement(results["tasks"])
        if "models" in results:
            figures["models_cka"] = _models_cka(results["models"])
            figures["models_clusters"] = _models_clusters(results["models"])
        files = {}
        for name, figure in figures.items():
            files[name] = folder / f"{name}.png"
            replace_file(files[name], functools.partial(figure.savefig, format="png"))
            plt.close(figure)
    return files


def draw_cluster_map(file: Path, found: ClusterMap, threshold: float) -> None:
    """Draws the neurons' correlations in the order of their tree, with the tree and the neurons' layers.

    Args:
        file: a PNG.
        found: what is drawn.
        threshold: a height of the tree that is marked.
    """
    with mpl.rc_context(STYLE):
        figure = _cluster_map(found, threshold)
        replace_file(file, functools.partial(figure.savefig, format="png"))
        plt.close(figure)


def metric_name(pipeline: dict[str, Any]) -> str:
    """The task's metric in words."""
    return pipeline["task"]["metric"].replace("_", " ").replace("corrcoef", "correlation")


def _score(entry: dict[str, Any], split: str) -> float:
    return entry[split][OVERALL]


def _axes(width: float = 6.2, height: float = 3.5) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(width, height))
    return figure, axes


def _majority(axes: Axes, pipeline: dict[str, Any], split: str) -> None:
    majority = pipeline["task"].get("majority")
    if majority and pipeline["task"]["metric"] == "accuracy":
        axes.axhline(
            majority["accuracy"][split], color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), label="majority class"
        )


def _layers(pipeline: dict[str, Any]) -> Figure:
    figure, axes = _axes()
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


def _minimal_neurons(pipeline: dict[str, Any]) -> Figure:
    figure, axes = _axes()
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


def _kept_neurons(pipeline: dict[str, Any]) -> Figure:
    n_layers = pipeline["encoder"]["n_layers"]
    hidden_size = pipeline["encoder"]["hidden_size"]
    shown: dict[str, np.ndarray] = {}
    for chosen in pipeline["selection"]:
        what = "no clustering" if chosen["clusters"] is None else f"clustering {chosen['threshold']:g}"
        label = f"layers 0–{chosen['top_layer']}, {what}: {chosen['n_minimal']:,} neurons"
        layers = [layer for layer, _ in chosen["minimal_neurons"]]
        shown.setdefault(label, np.bincount(layers, minlength=n_layers))
    figure, axes = _axes()
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


def _minimal_of_all(found: dict[str, Any]) -> Figure:
    figure, axes = _axes()
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


def _training(pipeline: dict[str, Any]) -> Figure:
    figure, axes = _axes()
    last = len(pipeline["incremental"]) - 1
    colors = plt.get_cmap("viridis")
    for layer in range(last + 1):
        losses = pipeline["training"][f"layers-0-{layer}"]["losses"]
        label = "layer 0" if layer == 0 else "oracle (all layers)" if layer == last else None
        style = {"color": colors(0.92 * layer / max(last, 1)), "lw": 2 if layer == last else 1.1, "label": label}
        axes.plot(np.arange(1, len(losses) + 1), losses, **style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="mean loss in training", title="Training of the probes on layers 0 to l")
    axes.legend(fontsize=8.5)
    return figure


def _cluster_sweep(sweep: dict[str, Any]) -> Figure:
    figure, axes = _axes()
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


def _cka(redundancy: dict[str, Any]) -> Figure:
    return _heat_map(redundancy["cka"], "layer", "layer", "Linear CKA")


def _heat_map(similarity: list[list[float | None]], ylabel: str, xlabel: str, title: str) -> Figure:
    cka = np.array([[np.nan if v is None else v for v in row] for row in similarity], float)
    n_rows, n_columns = cka.shape
    figure, axes = _axes(2.5 + 0.32 * n_columns, 1.8 + 0.32 * n_rows)
    colors = plt.get_cmap("viridis").with_extremes(bad="#e5e7eb")
    image = axes.imshow(cka, vmin=0, vmax=1, cmap=colors, origin="lower")
    for i, j in np.ndindex(cka.shape):
        text = "–" if np.isnan(cka[i, j]) else f"{cka[i, j]:.2f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if cka[i, j] < 0.6 else INK)
    axes.set_xticks(range(n_columns))
    axes.set_yticks(range(n_rows))
    axes.grid(visible=False)
    note = " (–: constant layer)" if np.isnan(cka).any() else ""
    axes.set(xlabel=xlabel, ylabel=ylabel, title=f"{title}{note}")
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def _models_cka(models: dict[str, Any]) -> Figure:
    first, second = (model["name"] for model in models["models"])
    return _heat_map(models["cka"], f"layer of {first}", f"layer of {second}", "Linear CKA")


def _models_clusters(models: dict[str, Any]) -> Figure:
    figure, axes = _axes()
    thresholds = [entry["threshold"] for entry in models["thresholds"]]
    for i, (model, color, marker) in enumerate(zip(models["models"], (BLUE, ORANGE), ("o", "s"), strict=True)):
        shares = [100 * entry["shared_share_of_neurons"][i] for entry in models["thresholds"]]
        axes.plot(thresholds, shares, color=color, marker=marker, ms=4.5, label=model["name"])
    axes.set(
        xlabel="clustering threshold",
        ylabel="% of the model's neurons",
        title="Neurons in clusters of both models",
        ylim=(-2, 102),
    )
    axes.legend(fontsize=8.5)
    return figure


def _tasks_curves(found: dict[str, Any]) -> Figure:
    figure, axes = _axes()
    thresholds = [entry["threshold"] for entry in found["mean"]]
    for task, color in zip(found["tasks"], _many_colors(len(found["tasks"])), strict=True):
        shares = [100 * entry["redundant_share"] for entry in task["thresholds"]]
        axes.plot(thresholds, shares, color=color, marker="o", ms=3.5, lw=1.3, label=task["name"])
        if all("redundant_share_of_halves" in entry for entry in task["thresholds"]):
            ends = 100 * np.sort([entry["redundant_share_of_halves"] for entry in task["thresholds"]], axis=1)
            axes.fill_between(thresholds, *ends.T, color=color, alpha=0.15, linewidth=0)
    mean = [100 * entry["redundant_share"]["mean"] for entry in found["mean"]]
    axes.plot(thresholds, mean, color=INK, lw=2, label="mean of the tasks")
    if found["pooled"]:
        shares = [100 * entry["redundant_share"] for entry in found["pooled"]["thresholds"]]
        axes.plot(thresholds, shares, color=INK, lw=1.4, ls=(0, (4, 3)), label="all rows pooled")
    axes.set(
        xlabel="clustering threshold (band: two halves of the sentences)",
        ylabel="% of neurons redundant",
        title="Redundant neurons by task",
        ylim=(0, 100),
    )
    axes.legend(fontsize=8.5)
    return figure


def _tasks_windows(found: dict[str, Any]) -> Figure:
    tasks = found["tasks"]
    figure, axes = _axes(6.2, 3.4)
    windows, width = np.arange(1, len(found["windows"]) + 1), 0.8 / len(tasks)
    for i, (task, color) in enumerate(zip(tasks, _many_colors(len(tasks)), strict=True)):
        place = windows + (i - (len(tasks) - 1) / 2) * width
        axes.bar(place, task["windows"], width * 0.92, color=color, label=task["name"])
    axes.bar(windows, found["windows"], 0.86, color="none", edgecolor=INK, linewidth=1, label="sum of the tasks")
    _count_windows(axes, found)
    axes.legend(fontsize=8)
    return figure


def _tasks_agreement(found: dict[str, Any]) -> Figure:
    figure, axes = _axes()
    thresholds = [entry["threshold"] for entry in found["mean"]]
    few = len(found["pairs"]) <= len(MORE_COLORS)
    for pair, color in zip(found["pairs"], _many_colors(len(found["pairs"])), strict=True):
        agreement = [entry["agreement"] for entry in pair["thresholds"]]
        label = " and ".join(pair["tasks"]) if few else None
        axes.plot(thresholds, agreement, color=color, marker="o", ms=3.5, lw=1.3, label=label)
    halves = [[entry.get("agreement_of_halves") for entry in task["thresholds"]] for task in found["tasks"]]
    halves = [mine for mine in halves if None not in mine]
    if halves:
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


def _many_colors(n: int) -> list[Any]:
    """As many colours as are asked for: told apart while they are few, else along one scale."""
    if n <= len(MORE_COLORS):
        return list(MORE_COLORS[:n])
    return [plt.get_cmap("viridis")(0.92 * i / (n - 1)) for i in range(n)]


def _cluster_map(found: ClusterMap, threshold: float) -> Figure:
    n_layers, n_neurons = len(found.layers), len(found.order)
    strips = 0.16 * n_layers + 0.3
    figure, (tree, strip, map_) = plt.subplots(
        3, 1, figsize=(7.2, 1.7 + strips + 6.4), gridspec_kw={"height_ratios": [1.7, strips, 6.4]}, sharex=True
    )
    lines = found.lines.copy()
    heights = lines[..., 1]
    heights[heights == 0] = np.maximum(heights.max(1, keepdims=True) - LEAF, 0).repeat(4, 1)[heights == 0]
    tree.add_collection(LineCollection(list(lines), colors=INK, linewidths=0.35))
    tree.axhline(threshold, color=ORANGE, linewidth=1, label=f"threshold {threshold:g}")
    tree.set(ylabel="distance", ylim=(0, 1.02 * max(1.0, found.lines[..., 1].max(initial=0))))
    tree.set_title(f"The {n_neurons:,} neurons in the order of their tree")
    tree.legend(fontsize=8, loc="lower right", frameon=True)
    tree.grid(visible=False)
    ends = 0, n_neurons
    shares = strip.imshow(
        found.layers, vmin=0, vmax=found.layers.max(), cmap="Blues", aspect="auto", origin="lower",
        interpolation="nearest", extent=(*ends, -0.5, n_layers - 0.5),
    )  # fmt: skip
    strip.set_yticks(range(n_layers))
    strip.tick_params(axis="y", labelsize=min(8, 6 + 10 / n_layers))
    strip.set(ylabel="layer")
    strip.grid(visible=False)
    low = -1 if found.similarity.min() < -0.05 else 0
    image = map_.imshow(
        found.similarity, vmin=low, vmax=1, cmap="RdBu_r" if low else "magma_r", aspect="auto", interpolation="nearest",
        extent=(*ends, *ends[::-1]),
    )  # fmt: skip
    map_.set(xlabel="neuron, in the order of the tree", ylabel="neuron, in the order of the tree", xlim=ends)
    map_.grid(visible=False)
    figure.colorbar(shares, ax=strip, label="share", aspect=5, pad=0.01)
    figure.colorbar(image, ax=map_, label="mean r" if low else "mean |r|", aspect=30, pad=0.01)
    return figure


def _clusters(redundancy: dict[str, Any]) -> Figure:
    figure, axes = _axes()
    entries = redundancy["thresholds"]
    thresholds = [e["threshold"] for e in entries]
    n_neurons = redundancy["n_layers"] * redundancy["hidden_size"]
    axes.bar(thresholds, [e["n_clusters"] for e in entries], width=0.07, color=BLUE)
    for e in entries:
        label = f"{e['n_clusters']:,}\n({e['redundant_share']:.0%})"
        top = e["n_clusters"]
        if "redundant_share_of_halves" in e:  # what either half of the sentences alone gives
            ends = [n_neurons * (1 - share) for share in e["redundant_share_of_halves"]]
            axes.vlines(e["threshold"], min(ends), max(ends), color=INK, linewidth=1.2)
            top = max(top, *ends)
        axes.annotate(label, (e["threshold"], top), ha="center", va="bottom", fontsize=7.5)
    axes.set_ylim(0, n_neurons * 1.15)
    axes.grid(axis="x", visible=False)
    axes.set_xticks(thresholds)
    axes.set(
        xlabel="clustering threshold",
        ylabel="clusters (share redundant)",
        title=f"Clusters of the {n_neurons:,} neurons",
    )
    return figure


def _windows(redundancy: dict[str, Any]) -> Figure:
    figure, axes = _axes(5.2, 3.2)
    counts = redundancy["windows"]
    axes.bar(np.arange(1, len(counts) + 1), counts, width=0.7, color=BLUE)
    _count_windows(axes, redundancy)
    return figure


def _count_windows(axes: Axes, found: dict[str, Any]) -> None:
    """Labels the bars of `found["windows"]`, and their axes, which are logarithmic."""
    counts = found["windows"]
    for window, count in enumerate(counts, 1):
        axes.annotate(f"{count:,}", (window, max(count, 0.7)), ha="center", va="bottom", fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(0.7, max(counts) * 3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
    axes.set(
        xlabel="window: layers that a cluster spans",
        ylabel="clusters (log)",
        title=f"Cluster windows at threshold {found['window_threshold']:g}",
    )
