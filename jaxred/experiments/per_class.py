"""Precision, recall, F1 and support of every class, of the probes that a study ends in."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxred.features import Features
from jaxred.matrix import FeatureMatrix
from jaxred.metrics import class_scores
from jaxred.probing import Probe

SPLITS = ("dev", "test")


def per_class(probes: Mapping[str, Probe], names: Collection[str], features: Features) -> dict[str, Any]:
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
    found = [np.argmax(probe.weights.T @ block[probe.columns] + probe.bias[:, None], axis=0) for block in matrix.blocks]
    return np.concatenate(found)[: matrix.n_rows]
