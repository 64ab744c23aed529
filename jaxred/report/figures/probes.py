"""Figures of probes: layers, minimal sets of neurons, clustering thresholds, training."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxred.report.figures.style import BLUE, GREEN, GREY, INK, MORE_COLORS, ORANGE, new_axes
from jaxred.report.findings import constant, layer_range, mark
from jaxred.report.page import metric_name
from jaxred.report.values import Value, of_spread, value
from jaxred.studies.results import ClusterSweepResult, MinimalNeuronsResult, PipelineResult, ProbeStudy


def _which_repeat(study: ProbeStudy) -> str:
    """What a title says where curves are those of one repeat out of several, which try different sizes."""
    return "" if study.repeats is None else f" (repeat 1 of {study.n_runs})"


def _best_constant(axes: Axes, study: ProbeStudy, split: str) -> None:
    """A line at the best constant answer, which a finding must beat."""
    if (baseline := constant(study)) is not None:
        name, scores = baseline
        label = name.split(" (")[0].lower()
        axes.axhline(scores[split].mean, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), label=label)


def layers(pipeline: PipelineResult) -> Figure:
    figure, axes = new_axes()
    layers, repeats = np.arange(len(pipeline.independent)), pipeline.repeats
    for entries, means, label, color, marker in (
        (pipeline.incremental, repeats and repeats.incremental, "layers 0 to this one", BLUE, "o"),
        (pipeline.independent, repeats and repeats.independent, "this layer alone", ORANGE, "s"),
    ):
        scores, spread = [entry.overall("test") for entry in entries], None
        if means is not None:
            scores, spread = [entry.test.mean for entry in means], [entry.test.sd for entry in means]
        style = {"color": color, "marker": marker, "ms": 4.5, "capsize": 2.5, "elinewidth": 0.9}
        axes.errorbar(layers, scores, spread, label=label, **style)
    oracle = value(pipeline.oracle, pipeline.mean_oracle, "test").mean
    axes.axhline(oracle, color=INK, linewidth=1, label="oracle (all layers)")
    _best_constant(axes, pipeline, "test")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="layer (0 is the embedding output)", ylabel=f"test {metric_name(pipeline)}", title="Score by layer")
    axes.legend(fontsize=8.5)
    return figure


def minimal_neurons(pipeline: PipelineResult) -> Figure:
    figure, axes = new_axes()
    colors = iter(MORE_COLORS)
    seen = set()
    for chosen in pipeline.selection:
        key = chosen.top_layer, chosen.threshold
        if key in seen:
            continue
        seen.add(key)
        color = next(colors, GREY)
        sizes = sorted(chosen.sizes)
        what = "no clustering" if chosen.clusters is None else f"clustering {chosen.threshold:g}"
        positive = [k for k in sizes if k > 0]
        dev = [chosen.sizes[k].overall("dev") for k in positive]
        axes.plot(positive, dev, color=color, marker="o", ms=3, lw=1.3, label=f"layers 0–{chosen.top_layer}, {what}")
        axes.axhline(chosen.base.overall("dev"), color=color, linewidth=0.8, linestyle=":")
        if chosen.n_minimal > 0:
            axes.plot(
                chosen.n_minimal, chosen.minimal_scores.overall("dev"), "o", ms=10, mfc="none", mec=color, mew=1.5
            )
    _best_constant(axes, pipeline, "dev")
    axes.set_xscale("log")
    axes.set(
        xlabel="neurons kept, best first (ring: minimal set; dotted: all candidates)",
        ylabel=f"dev {metric_name(pipeline)}",
        title=f"Score by number of neurons{_which_repeat(pipeline)}",
    )
    axes.legend(fontsize=8)
    return figure


def kept_neurons(pipeline: PipelineResult) -> Figure:
    n_layers, n_runs = pipeline.encoder.n_layers, pipeline.n_runs
    shown: dict[str, np.ndarray] = {}
    for i, (choice, chosen) in enumerate(zip(pipeline.selection, pipeline.minimal_sets, strict=True)):
        what = "no clustering" if choice.clusters is None else f"clustering {choice.threshold:g}"
        layers = [layer for layer, _ in choice.minimal_neurons]
        counts = np.bincount(np.asarray(layers, int), minlength=n_layers).astype(float)
        if pipeline.repeats is not None:
            by_layer = pipeline.repeats.selection[i].neurons_by_layer
            counts = np.array([by_layer.get(layer, 0.0) for layer in range(n_layers)])
        marked, size = mark(chosen.n_findings, n_runs), of_spread(chosen.n_neurons, n_runs).text(0)
        tops = layer_range(chosen.top_layers or [n_layers - 1])
        label = f"layers {tops}, {what}: {size} neurons{f' ({marked})' if marked else ''}"
        shown.setdefault(label, counts)
    figure, axes = new_axes()
    width = 0.8 / len(shown)
    for i, ((label, counts), color) in enumerate(
        zip(shown.items(), (BLUE, ORANGE, GREEN, "#7c3aed", "#be185d", GREY), strict=False)
    ):
        positions = np.arange(n_layers) + (i - (len(shown) - 1) / 2) * width
        axes.bar(positions, 100 * counts / pipeline.encoder.hidden_size, width * 0.92, color=color, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0, axes.get_ylim()[1] * (1.05 + 0.08 * len(shown)))  # room for the legend
    axes.set(xlabel="layer", ylabel="% of the layer's neurons", title="Where the minimal sets sit")
    axes.legend(fontsize=8)
    return figure


def minimal_of_all(result: MinimalNeuronsResult) -> Figure:
    figure, axes = new_axes()
    sizes = sorted(k for k in result.sizes if k > 0)
    for split, color in (("dev", ORANGE), ("test", BLUE)):
        scores = [result.sizes[k].overall(split) for k in sizes]
        axes.plot(sizes, scores, color=color, marker="o", ms=3, lw=1.3, label=split)
        axes.axhline(result.oracle.overall(split), color=color, linewidth=0.9, linestyle=":")
    minimal = result.n_minimal
    if minimal > 0:
        axes.plot(minimal, result.minimal_scores.overall("dev"), "o", ms=10, mfc="none", mec=ORANGE, mew=1.5)
    _best_constant(axes, result, "test")
    axes.set_xscale("log")
    axes.set(
        xlabel="neurons kept, best first (ring: minimal set; dotted: all neurons)",
        ylabel=metric_name(result),
        title=f"Minimal set out of {result.n_candidates:,} neurons{_which_repeat(result)}",
    )
    axes.legend(fontsize=8.5)
    return figure


def training(pipeline: PipelineResult) -> Figure:
    figure, axes = new_axes()
    last = len(pipeline.incremental) - 1
    colors = mpl.colormaps["viridis"]
    for layer in range(last + 1):
        losses = pipeline.training[f"layers-0-{layer}"].losses
        label = "layer 0" if layer == 0 else "oracle (all layers)" if layer == last else None
        style = {"color": colors(0.92 * layer / max(last, 1)), "lw": 2 if layer == last else 1.1, "label": label}
        axes.plot(np.arange(1, len(losses) + 1), losses, **style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="mean loss in training", title=f"Training, layers 0 to l{_which_repeat(pipeline)}")
    axes.legend(fontsize=8.5)
    return figure


def cluster_sweep(sweep: ClusterSweepResult) -> Figure:
    figure, axes = new_axes()
    thresholds, repeats = [entry.threshold for entry in sweep.thresholds], sweep.repeats
    counts = [Value(entry.n_clusters) for entry in sweep.thresholds]
    for split, color, marker in (("dev", ORANGE, "s"), ("test", BLUE, "o")):
        scores, spread = [e.scores.overall(split) for e in sweep.thresholds], None
        if repeats is not None:
            scores = [getattr(entry, split).mean for entry in repeats.thresholds]
            spread = [getattr(entry, split).sd for entry in repeats.thresholds]
            counts = [Value(entry.n_clusters.mean) for entry in repeats.thresholds]
        style = {"color": color, "marker": marker, "ms": 4.5, "capsize": 2.5, "elinewidth": 0.9}
        axes.errorbar(thresholds, scores, spread, label=split, **style)
        oracle = value(sweep.oracle, sweep.mean_oracle, split).mean
        axes.axhline(oracle, color=color, linewidth=0.9, linestyle=":")
    _best_constant(axes, sweep, "test")
    labels = [f"{threshold:g}\n{count.text(0)}" for threshold, count in zip(thresholds, counts, strict=True)]
    axes.set_xticks(thresholds, labels)
    axes.set(
        xlabel="clustering threshold, and neurons left (dotted: all neurons)",
        ylabel=metric_name(sweep),
        title="Score by clustering threshold",
    )
    axes.legend(fontsize=8.5)
    return figure
