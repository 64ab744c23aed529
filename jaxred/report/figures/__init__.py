"""The report's figures, each from the result files alone."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxred.statistics.cluster_map import ClusterMap

from jaxred.report.figures.style import STYLE, mpl  # isort: skip  (first, as it imports matplotlib whatever $MPLBACKEND is)
from jaxred.io.files import replace_file
from jaxred.report.figures import ablation, controls, finetuning, layer_measures, probes, rankings, redundancy, together
from jaxred.studies.results import Result

__all__ = ["STYLE", "draw", "draw_cluster_map"]

# By the name of the results that they are of, in the order of the report.
FIGURES: dict[str, dict[str, Callable[[Any], Any]]] = {
    "pipeline": {
        "layers": probes.layers,
        "minimal_neurons": probes.minimal_neurons,
        "kept_neurons": probes.kept_neurons,
        "training": probes.training,
    },
    "controls": {"control_scores": controls.control_scores, "compression": controls.compression},
    "cluster_sweep": {"cluster_sweep": probes.cluster_sweep},
    "minimal_neurons": {"minimal_of_all": probes.minimal_of_all},
    "redundancy": {"cka": redundancy.cka, "clusters": redundancy.clusters, "windows": redundancy.windows},
    "layer_measures": {"layer_pairs": layer_measures.layer_pairs},
    "finetuning": {"learning_curve": finetuning.learning_curve},
    "before_after": {"layers_before_after": finetuning.layers_before_after},
    "rankings": {"rankings": rankings.rankings, "ranking_overlap": rankings.ranking_overlap},
    "ablation": {"ablation": ablation.neurons, "ablation_layers": ablation.layers},
    "tasks": {
        "tasks_curves": together.tasks_curves,
        "tasks_windows": together.tasks_windows,
        "tasks_agreement": together.tasks_agreement,
    },
    "models": {"models_cka": together.models_cka, "models_clusters": together.models_clusters},
}


def draw(folder: Path, results: Mapping[str, Result], also: Sequence[str] = ()) -> dict[str, Path]:
    """Draws every figure that the results allow.

    Args:
        folder: where to.
        results: what is drawn, by the name of the result file.
        also: formats that every figure is written in, in addition to PNG: pdf, svg.

    Returns:
        The PNG files by name, in the order of the report.
    """
    figures = {}
    with mpl.rc_context(STYLE):
        for name, result in results.items():
            made = {figure: make(result) for figure, make in FIGURES.get(name, {}).items()}
            figures |= {figure: drawn for figure, drawn in made.items() if drawn is not None}
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
