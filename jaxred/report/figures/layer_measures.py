"""Four measures of every pair of layers, as heat maps in one figure."""

import numpy as np
from matplotlib.figure import Figure

from jaxred.report.figures.style import INK, mpl
from jaxred.studies.results import LayerMeasures

# Title, the largest value there can be, and whether large values are of layers that are alike.
PANELS = {
    "cka": ("Linear CKA", 1.0, True),
    "mutual_knn": ("Mutual kNN", 1.0, True),
    "procrustes": ("Procrustes distance", np.sqrt(2), False),
    "angular_distance": ("Angular distance", 0.5, False),
}


def layer_pairs(result: LayerMeasures) -> Figure:
    n = result.n_layers
    side = 2.0 + 0.32 * n
    figure = Figure(figsize=(2 * side + 1, 2 * side))
    for axes, (name, (title, largest, alike)) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        values = result.by_pair[name].whole
        if np.isfinite(values).any():
            largest = max(largest, np.nanmax(values))
        colors = mpl.colormaps["viridis" if alike else "viridis_r"].with_extremes(bad="#e5e7eb")
        image = axes.imshow(values, vmin=0, vmax=largest, cmap=colors, origin="lower")
        for i, j in np.ndindex(values.shape):
            share = values[i, j] / largest if alike else 1 - values[i, j] / largest
            text = "–" if np.isnan(values[i, j]) else f"{values[i, j]:.2f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if share < 0.6 else INK)
        axes.set_xticks(range(n))
        axes.set_yticks(range(n))
        axes.grid(visible=False)
        axes.set(xlabel="layer", ylabel="layer", title=title)
        figure.colorbar(image, ax=axes, shrink=0.8)
    return figure
