"""Precision, recall, F1 and support of every class, of the probes that a study ends in."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxred.activations.matrix import FeatureMatrix
from jaxred.probing import Probe
from jaxred.probing.features import Features
from jaxred.probing.metrics import class_scores

SPLITS = ("dev", "test")


def class_reports(probes: Mapping[str, Probe], names: Collection[str], features: Features) -> dict[str, Any]:
    """The scores of `metrics.class_scores` of some probes on dev and test, by the probe's name and the split."""
    return {
        name: {
            split: class_scores(
                predicted_classes(probes[name], features.matrices[split]), features.targets[split], features.classes
            )
            for split in SPLITS
        }
        for name in dict.fromkeys(names)
    }


def predicted_classes(probe: Probe, matrix: FeatureMatrix) -> Int[np.ndarray, " row"]:
    """The class that a probe gives every row."""
    classes = [
        np.argmax(probe.weights.T @ block[probe.columns] + probe.bias[:, None], axis=0) for block in matrix.blocks
    ]
    return np.concatenate(classes)[: matrix.n_rows]


def mean_of_repeats(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean over repeats of one probe's scores by split, as `per_class` gives them; `support` as well."""

    def mean(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
        return {name: float(np.mean([entry[name] for entry in scores])) for name in scores[0]}

    means = {}
    for split in SPLITS:
        of_split = [entry[split] for entry in entries]
        labels = dict.fromkeys(label for entry in of_split for label in entry["classes"])
        classes = {
            label: mean([entry["classes"][label] for entry in of_split if label in entry["classes"]])
            for label in labels
        }
        means[split] = {"classes": classes, "macro": mean([entry["macro"] for entry in of_split])}
    return means
