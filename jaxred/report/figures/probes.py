"""Figures of probes: layers, minimal sets of neurons, clustering thresholds, training."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxred.probing.metrics import OVERALL
from jaxred.report.figures.style import BLUE, GREEN, GREY, INK, MORE_COLORS, ORANGE, new_axes
from jaxred.report.findings import constant, layer_range, mark, mean_score, n_repeats
from jaxred.report.values import Value


def metric_name(pipeline: dict[str, Any]) -> str:
    """The task's metric in words."""
    return pipeline["task"]["metric"].replace("_", " ").replace("corrcoef", "correlation")


def _which_repeat(results: dict[str, Any]) -> str:
    """What a title says where curves are those of one repeat out of several, which try different sizes."""
    return f" (repeat 1 of {results['repeats']['n']})" if "repeats" in results else ""


def _score(entry: dict[str, Any], split: str) -> float:
    return entry[split][OVERALL]


def _majority(axes: Axes, pipeline: dict[str, Any], split: str) -> None:
    """A line at the best constant answer, which a finding must beat."""
    if (baseline := constant(pipeline)) is not None:
        name, scores = baseline
        label = name.split(" (")[0].lower()
        axes.axhline(scores[split].mean, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), label=label)


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
    of_repeats = pipeline.get("repeats", {}).get("oracle")
    axes.axhline(
        mean_score(pipeline["oracle"], of_repeats, "test"), color=INK, linewidth=1, label="oracle (all layers)"
    )
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
        title=f"Score by number of neurons{_which_repeat(pipeline)}",
    )
    axes.legend(fontsize=8)
    return figure


def kept_neurons(pipeline: dict[str, Any]) -> Figure:
    n_layers = pipeline["encoder"]["n_layers"]
    hidden_size = pipeline["encoder"]["hidden_size"]
    shown: dict[str, np.ndarray] = {}
    for i, chosen in enumerate(pipeline["selection"]):
        what = "no clustering" if chosen["clusters"] is None else f"clustering {chosen['threshold']:g}"
        tops, size = [chosen["top_layer"]], Value(chosen["n_minimal"])
        layers = [layer for layer, _ in chosen["minimal_neurons"]]
        counts = np.bincount(np.asarray(layers, int), minlength=n_layers).astype(float)
        findings, n_runs = int(chosen["finding"]), n_repeats(pipeline)
        if "repeats" in pipeline:
            spread = pipeline["repeats"]["selection"][i]
            tops, size = spread["top_layer"]["runs"], Value(spread["n_minimal"]["mean"], spread["n_minimal"]["sd"])
            counts = np.array([spread["neurons_by_layer"].get(str(layer), 0.0) for layer in range(n_layers)])
            findings = spread["findings"]
        marked = mark(findings, n_runs)
        label = f"layers {layer_range(tops)}, {what}: {size.text(0)} neurons{f' ({marked})' if marked else ''}"
        shown.setdefault(label, counts)
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
        title=f"Minimal set out of {found['n_candidates']:,} neurons{_which_repeat(found)}",
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
    axes.set(xlabel="epoch", ylabel="mean loss in training", title=f"Training, layers 0 to l{_which_repeat(pipeline)}")
    axes.legend(fontsize=8.5)
    return figure


def cluster_sweep(sweep: dict[str, Any]) -> Figure:
    figure, axes = new_axes()
    thresholds, repeats = [entry["threshold"] for entry in sweep["thresholds"]], sweep.get("repeats")
    counts = [Value(entry["n_clusters"]) for entry in sweep["thresholds"]]
    for split, color, marker in (("dev", ORANGE, "s"), ("test", BLUE, "o")):
        scores, spread = [_score(e["scores"], split) for e in sweep["thresholds"]], None
        if repeats:
            scores = [entry[split]["mean"] for entry in repeats["thresholds"]]
            spread = [entry[split]["sd"] for entry in repeats["thresholds"]]
            counts = [Value(entry["n_clusters"]["mean"]) for entry in repeats["thresholds"]]
        style = {"color": color, "marker": marker, "ms": 4.5, "capsize": 2.5, "elinewidth": 0.9}
        axes.errorbar(thresholds, scores, spread, label=split, **style)
        oracle = mean_score(sweep["oracle"], repeats and repeats["oracle"], split)
        axes.axhline(oracle, color=color, linewidth=0.9, linestyle=":")
    _majority(axes, sweep, "test")
    labels = [f"{threshold:g}\n{count.text(0)}" for threshold, count in zip(thresholds, counts, strict=True)]
    axes.set_xticks(thresholds, labels)
    axes.set(
        xlabel="clustering threshold, and neurons left (dotted: all neurons)",
        ylabel=metric_name(sweep),
        title="Score by clustering threshold",
    )
    axes.legend(fontsize=8.5)
    return figure
