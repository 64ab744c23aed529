"""Figures of general redundancy: CKA, clusters and their windows, the cluster map."""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from jaxred.report.figures.style import BLUE, INK, ORANGE, count_windows, heat_map, new_axes
from jaxred.statistics.cluster_map import ClusterMap
from jaxred.studies.results import GeneralRedundancy

LEAF = 0.03  # of the distance, drawn below a single neuron: down to 0, thousands of them are a black area


def cka(redundancy: GeneralRedundancy) -> Figure:
    return heat_map(redundancy.cka, "layer", "layer", "Linear CKA")


def clusters(redundancy: GeneralRedundancy) -> Figure:
    figure, axes = new_axes()
    entries = redundancy.thresholds
    thresholds = [e.threshold for e in entries]
    n_neurons = redundancy.n_layers * redundancy.hidden_size
    axes.bar(thresholds, [e.n_clusters for e in entries], width=0.07, color=BLUE)
    for e in entries:
        label = f"{e.n_clusters:,}\n({e.redundant_share:.0%})"
        top = e.n_clusters
        if e.redundant_share_of_halves:  # what either half of the sentences alone gives
            ends = [n_neurons * (1 - share) for share in e.redundant_share_of_halves]
            axes.vlines(e.threshold, min(ends), max(ends), color=INK, linewidth=1.2)
            top = max(top, *ends)
        axes.annotate(label, (e.threshold, top), ha="center", va="bottom", fontsize=7.5)
    axes.set_ylim(0, n_neurons * 1.15)
    axes.grid(axis="x", visible=False)
    axes.set_xticks(thresholds)
    axes.set(
        xlabel="clustering threshold",
        ylabel="clusters (share redundant)",
        title=f"Clusters of the {n_neurons:,} neurons",
    )
    return figure


def windows(redundancy: GeneralRedundancy) -> Figure:
    figure, axes = new_axes(5.2, 3.2)
    counts = redundancy.windows
    axes.bar(np.arange(1, len(counts) + 1), counts, width=0.7, color=BLUE)
    count_windows(axes, counts, redundancy.window_threshold)
    return figure


def cluster_map(found: ClusterMap, threshold: float) -> Figure:
    n_layers, n_neurons = len(found.layers), len(found.order)
    strips = 0.16 * n_layers + 0.3
    figure = Figure(figsize=(7.2, 1.7 + strips + 6.4))
    tree, strip, map_ = figure.subplots(3, 1, gridspec_kw={"height_ratios": [1.7, strips, 6.4]}, sharex=True)
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
