"""Neurons that stand out in general redundancy: twins, outliers, and those that hardly vary."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxred.statistics.moments import Moments

OUTLIER = 6.0  # deviations of the median neuron of its layer, from which a neuron is an outlier dimension
NEARLY_CONSTANT = 0.01  # of the deviation of the median neuron of its layer


class Twins(NamedTuple):
    """Pairs of neurons, the most alike first; each neuron is in at most one pair."""

    pairs: Int[np.ndarray, "pair 2"]
    correlations: Float[np.ndarray, " pair"]


def twins(correlation: Float[np.ndarray, "neuron neuron"], n_pairs: int) -> Twins:
    """The pairs of the largest |r|, taken greedily.

    Args:
        correlation: of all neurons; it is read only.
        n_pairs: at most so many.
    """
    partner = np.empty(len(correlation), int)
    strength = np.empty(len(correlation), np.float32)
    for neuron, row in enumerate(correlation):
        similarity = np.abs(row)
        similarity[neuron] = -1
        partner[neuron] = np.argmax(similarity)
        strength[neuron] = similarity[partner[neuron]]
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for neuron in np.argsort(-strength, kind="stable").tolist():
        other = int(partner[neuron])
        if len(pairs) < n_pairs and neuron != other and not taken & {neuron, other}:
            pairs.append((min(neuron, other), max(neuron, other)))
            taken |= {neuron, other}
    neurons = np.array(pairs, int).reshape(-1, 2)
    return Twins(neurons, correlation[neurons[:, 0], neurons[:, 1]])


def outliers(moments: Moments) -> Int[np.ndarray, " outlier"]:
    """Outlier dimensions: neurons that vary OUTLIER times as much as the median neuron of their layer, or more.

    BERT's few of them carry much of a layer's norm (Kovaleva et al. 2021) and may so decide its CKA.
    """
    return np.flatnonzero(_relative_deviation(moments) >= OUTLIER)


def nearly_constant(moments: Moments) -> Int[np.ndarray, " neuron"]:
    """Neurons that vary less than NEARLY_CONSTANT of the median neuron of their layer, the constant ones left out."""
    return np.flatnonzero((_relative_deviation(moments) < NEARLY_CONSTANT) & ~moments.constant)


def _relative_deviation(moments: Moments) -> Float[np.ndarray, " neuron"]:
    deviation = np.sqrt(moments.variance()).reshape(moments.n_layers, -1)
    middle = np.median(deviation, axis=1, keepdims=True)
    return np.divide(deviation, middle, out=np.zeros_like(deviation), where=middle > 0).ravel()
