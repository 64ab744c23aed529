"""What the figures have in common: colours, axes, and what several of them draw.

Figures are files. They are made without pyplot, whose backend is the notebook's or the screen's, if there is one.
"""

# ruff: noqa: E402
import contextlib
import os
from typing import Any

import numpy as np

# A notebook's $MPLBACKEND, which its processes inherit, may name what is not installed here; then no import goes well.
_backend = os.environ.pop("MPLBACKEND", None)
import matplotlib as mpl

if _backend is not None:
    os.environ["MPLBACKEND"] = _backend
    with contextlib.suppress(ValueError):  # for what else this process may draw
        mpl.rcParams["backend"] = _backend
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxred.io.visible_text import visible

BLUE, ORANGE, GREEN, GREY, INK = "#2a5d9f", "#d97706", "#2f855a", "#8a919c", "#1f2933"
MORE_COLORS = (BLUE, ORANGE, GREEN, "#7c3aed", "#be185d", "#0f766e", "#92400e", "#4b5563")
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
    "pdf.fonttype": 42,  # TrueType, as publishers ask
    "svg.hashsalt": "jaxred",  # names in a file that are the same in every run
}


def new_axes(width: float = 6.2, height: float = 3.5) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def named(name: str) -> str:
    """A name as a legend shows it: a $ in it begins no formula, nor a _ a name that legends leave out."""
    shown = visible(name).replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown


def many_colors(n: int) -> list[Any]:
    """As many colours as are asked for: easily distinguished while they are few, else along one scale."""
    if n <= len(MORE_COLORS):
        return list(MORE_COLORS[:n])
    return [mpl.colormaps["viridis"](0.92 * i / (n - 1)) for i in range(n)]


def heat_map(cka: np.ndarray, ylabel: str, xlabel: str, title: str) -> Figure:
    """Similarities within [0, 1] as colours and numbers; NaN, where there is none, is grey."""
    n_rows, n_columns = cka.shape
    figure, axes = new_axes(2.5 + 0.32 * n_columns, 1.8 + 0.32 * n_rows)
    colors = mpl.colormaps["viridis"].with_extremes(bad="#e5e7eb")
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


def count_windows(axes: Axes, counts: np.ndarray, threshold: float) -> None:
    """Labels the bars of windows, and their axes, which are logarithmic."""
    for window, count in enumerate(counts, 1):
        axes.annotate(f"{count:,}", (window, max(count, 0.7)), ha="center", va="bottom", fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(0.7, max(counts) * 3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
    axes.set(
        xlabel="window: layers that a cluster spans",
        ylabel="clusters (log)",
        title=f"Cluster windows at threshold {threshold:g}",
    )
