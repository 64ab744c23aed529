"""The original's `all_results.json`.

Its `ordering` and `minimal_neuron_set` are positions inside the filtered matrix (the candidates in the order of
`independent_neurons`), not neuron numbers; jaxred's own results name neurons by layer and index.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxred.data.split import DataSplit
from jaxred.io.result_files import as_json
from jaxred.studies.results import (
    ClusterSweepResult,
    MinimalNeuronsResult,
    NeuronChoice,
    PipelineResult,
    ProbeScores,
    ProbeStudy,
)


def pipeline_results(content: PipelineResult, split: DataSplit | None) -> str:
    """The pipeline's results as the original's scripts write them, as JSON text."""
    last = len(content.incremental) - 1
    results = _start(content, split)
    results["independent_layerwise"] = [_entry(f"layer-{i}", s) for i, s in enumerate(content.independent)]
    results["incremental_layerwise"] = [
        _entry(f"layer-0->{i}" if i < last else f"layer-{i}", s) for i, s in enumerate(content.incremental)
    ]
    selection: dict[str, Any] = {}
    for chosen in content.selection:
        deltas = f"selection-{chosen.delta_layers:g}-{chosen.delta_neurons:g}"
        top = content.incremental[chosen.top_layer]
        entry = selection.setdefault(
            deltas,
            {
                "selected_top_layer": {
                    "selected_top_layer": chosen.top_layer,
                    **{f"{name}_score": top.overall(name) for name in ("train", "dev", "test")},
                },
                "neuron_selection": {},
            },
        )
        clustered = chosen.clusters is not None
        name = f"clustering-{chosen.threshold:.2f}" if clustered else "no-clustering"
        entry["neuron_selection"][name] = _inner(chosen, chosen.clusters, chosen.candidates, chosen.base)
    return as_json({**results, "selection": selection})


def cluster_sweep_results(content: ClusterSweepResult, split: DataSplit | None) -> str:
    """The cluster sweep's results as the original's scripts write them, as JSON text."""
    selection: dict[str, Any] = {"no-clustering": {"base_results": _entry("neuron-selection-base", content.oracle)}}
    for entry in content.thresholds:
        selection[f"clustering-{entry.threshold:.2f}"] = {
            "clustering_threshold": entry.threshold,
            "clusters": entry.clusters,
            "independent_neurons": entry.neurons,
            "base_results": _entry("neuron-selection-base", entry.scores),
        }
    return as_json({**_start(content, split), "selection": selection})


def minimal_neurons_results(content: MinimalNeuronsResult, split: DataSplit | None) -> str:
    """The minimal-neuron search's results as the original's scripts write them, as JSON text."""
    inner = _inner(content, None, range(content.n_candidates), content.oracle)
    return as_json({**_start(content, split), "selection": {"no-clustering": inner}})


# Of each study that the original has: the workdir's result in its format, and what writes that.
ORIGINALS: dict[str, tuple[str, Callable[[Any, DataSplit | None], str]]] = {
    "pipeline": ("all_results", pipeline_results),
    "cluster_sweep": ("all_results_cluster_sweep", cluster_sweep_results),
    "minimal_neurons": ("all_results_minimal_neurons", minimal_neurons_results),
}


def _start(content: ProbeStudy, split: DataSplit | None) -> dict[str, Any]:
    results: dict[str, Any] = {} if split is None else {"data_split": split._asdict()}
    return {**results, "baseline": _entry("baseline", content.oracle)}


def _inner(
    chosen: NeuronChoice | MinimalNeuronsResult,
    clusters: np.ndarray | None,
    candidates: np.ndarray | range,
    base_scores: ProbeScores,
) -> dict[str, Any]:
    """One searched set.

    Like the original, it lists the sizes tried up to the first that was accepted; where one of them is all candidates,
    the probe retrained on them takes the base's place.
    """
    inner: dict[str, Any] = {}
    if isinstance(chosen, NeuronChoice) and clusters is not None:
        inner = {"clustering_threshold": chosen.threshold, "clusters": clusters, "independent_neurons": candidates}
    position = {int(neuron): i for i, neuron in enumerate(candidates)}
    ordering = [position[int(neuron)] for neuron in chosen.ranking]
    base = _entry("neuron-selection-base", base_scores)
    inner |= {
        "base_results": base,
        "ordering": ordering,
        "minimal_neuron_set_size": chosen.n_minimal,
        "minimal_neuron_set": ordering[: chosen.n_minimal],
        f"selected-{chosen.n_candidates}": base,
    }
    tried = {k: scores for k, scores in chosen.sizes.items() if k <= chosen.n_minimal}
    return inner | {f"selected-{k}": _entry(f"selected-{k}", scores) for k, scores in tried.items()}


def _entry(name: str, scores: ProbeScores) -> dict[str, Any]:
    return {"name": name, **{f"{split}_scores": getattr(scores, split) for split in ("train", "dev", "test")}}
