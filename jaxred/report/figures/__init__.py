"""The report's figures, each from the result files alone."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxred.redundancy.cluster_map import ClusterMap

from jaxred.report.figures.style import STYLE, mpl  # isort: skip  (first, as it imports matplotlib whatever $MPLBACKEND is)
from jaxred.io.files import replace_file
from jaxred.report.figures import probes, redundancy, together
from jaxred.report.figures.probes import metric_name

__all__ = ["STYLE", "draw", "draw_cluster_map", "metric_name"]


def draw(folder: Path, results: dict[str, dict[str, Any]], also: Sequence[str] = ()) -> dict[str, Path]:
    """Draws every figure that the results allow.

    Args:
        folder: where to.
        results: what is drawn, by the name of the result file.
        also: formats that every figure is written in beside PNG: pdf, svg.

    Returns:
        The PNG files by name, in the order of the report.
    """
    figures = {}
    with mpl.rc_context(STYLE):
        if "pipeline" in results:
            figures["layers"] = probes.layers(results["pipeline"])
            figures["minimal_neurons"] = probes.minimal_neurons(results["pipeline"])
            figures["kept_neurons"] = probes.kept_neurons(results["pipeline"])
            figures["training"] = probes.training(results["pipeline"])
        if "cluster_sweep" in results:
            figures["cluster_sweep"] = probes.cluster_sweep(results["cluster_sweep"])
        if "minimal_neurons" in results:
            figures["minimal_of_all"] = probes.minimal_of_all(results["minimal_neurons"])
        if "redundancy" in results:
            figures["cka"] = redundancy.cka(results["redundancy"])
            figures["clusters"] = redundancy.clusters(results["redundancy"])
            figures["windows"] = redundancy.windows(results["redundancy"])
        if "tasks" in results:
            figures["tasks_curves"] = together.tasks_curves(results["tasks"])
            figures["tasks_windows"] = together.tasks_windows(results["tasks"])
            figures["tasks_agreement"] = together.tasks_agreement(results["tasks"])
        if "models" in results:
            figures["models_cka"] = together.models_cka(results["models"])
            figures["models_clusters"] = together.models_clusters(results["models"])
        files = {}
        for name, figure in figures.items():
            files[name] = folder / f"{name}.png"
            replace_file(files[name], functools.partial(figure.savefig, format="png"))
            for form in also:
                date = {"pdf": "CreationDate", "svg": "Date"}[form]  # left out, so that equal figures are equal files
                save = functools.partial(figure.savefig, format=form, metadata={date: None})
                replace_file(folder / f"{name}.{form}", save)
    return files


def draw_cluster_map(file: Path, found: ClusterMap, threshold: float) -> None:
    """Draws the neurons' correlations in the order of their tree, with the tree and the neurons' layers.

    Args:
        file: a PNG.
        found: what is drawn.
        threshold: a height of the tree that is marked.
    """
    with mpl.rc_context(STYLE):
        figure = redundancy.cluster_map(found, threshold)
        replace_file(file, functools.partial(figure.savefig, format="png"))
