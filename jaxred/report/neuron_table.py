"""The neurons of a study as lines of CSV: where they are, how much they weigh, and which minimal sets have them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxred.probing.ranking import rank_neurons
from jaxred.report.findings import NO_FINDING, minimal_set_names
from jaxred.studies.results import NeuronExamples, PipelineResult, ProbeStudy


def neuron_table(
    study: ProbeStudy, oracle: Mapping[str, np.ndarray], examples: NeuronExamples | None = None
) -> list[list[Any]]:
    """One line per neuron, most salient first; the first line is the head. With repeats, it is of the first.

    Columns: layer, index, rank (1 is the oracle's most salient neuron), the oracle's weight for each class, the
    neuron's cluster at each threshold (empty for layers that were not clustered), and the minimal sets that have it.
    With examples: its mean and deviation, the mean of each class, and its largest and smallest words or sentences,
    empty for neurons that were not looked at.

    Args:
        study: a pipeline, or a minimal set out of all neurons.
        oracle: the oracle's `columns` [neuron] and `weights` [neuron, class].
        examples: of some of the neurons.
    """
    columns, weights = np.asarray(oracle["columns"]), np.asarray(oracle["weights"])
    order = rank_neurons(weights).order
    names = study.task.classes if len(study.task.classes) == weights.shape[1] else ["score"]
    clusters = _clusters(study)
    sets: dict[tuple[int, int], list[str]] = {}
    for name, chosen in minimal_set_names(study):
        title = name if chosen.n_findings == study.n_runs else f"{name} ({NO_FINDING})"
        for neuron in chosen.neurons:
            sets.setdefault(neuron, []).append(title)
    head = ["layer", "index", "rank", *(f"weight_{name}" for name in names)]
    more, of_neuron = _example_columns(examples)
    lines: list[list[Any]] = [[*head, *(f"cluster_at_{threshold:g}" for threshold in clusters), "sets", *more]]
    for rank, candidate in enumerate(order.tolist(), 1):
        neuron = int(columns[candidate])
        where = divmod(neuron, study.shape[1])
        in_clusters = [labels[neuron] if neuron < len(labels) else None for labels in clusters.values()]
        known = of_neuron.get(where, [None] * len(more))
        in_sets = " | ".join(sets.get(where, []))
        lines.append([*where, rank, *weights[candidate].tolist(), *in_clusters, in_sets, *known])
    return lines


def _example_columns(examples: NeuronExamples | None) -> tuple[list[str], dict[tuple[int, int], list[Any]]]:
    """The names of the columns of examples, and the cells of each neuron that has some."""
    if examples is None or not examples.neurons:
        return [], {}
    classes = [each.label for each in examples.neurons[0].classes]
    ends = ("largest", "smallest")
    head = ["mean", "deviation", *(f"mean_{label}" for label in classes), *(f"{end}_{examples.unit}s" for end in ends)]
    cells = {}
    for neuron in examples.neurons:
        means = [each.mean for each in neuron.classes]
        texts = [" | ".join(example.text for example in getattr(neuron, end)) for end in ends]
        cells[neuron.layer, neuron.index] = [neuron.mean, neuron.deviation, *means, *texts]
    return head, cells


def _clusters(study: ProbeStudy) -> dict[float, np.ndarray]:
    """Each neuron's cluster by threshold, of the clustering of most layers."""
    widest: dict[float, np.ndarray] = {}
    if isinstance(study, PipelineResult):
        for choice in study.selection:
            labels = choice.clusters
            if labels is not None and len(labels) > len(widest.get(choice.threshold, ())):
                widest[choice.threshold] = labels
    return widest
