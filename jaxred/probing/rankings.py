"""Rankings of neurons by other means than a probe's weights, each an order of all columns, best first, ties by column.

- probeless: how far apart the classes' means are, summed over all pairs of classes (Antverg and Belinkov 2022).
- gaussian: neurons are added one by one, always that with which class-conditional Gaussians give held-out labels the
  highest likelihood (Torroba Hennigen et al. 2020; `jaxred.probing.gaussian`).
- average_precision: the average precision of the activation, or of its negative, as the score of a class, of the class
  where it is largest (Mu and Andreas 2020, whose mask at a threshold is left out).
- variance, random: what any ranking must beat.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int

from jaxred.activations.matrix import FeatureMatrix
from jaxred.io.processors import n_cores
from jaxred.probing.features import Features
from jaxred.probing.gaussian import gaussian_order

WEIGHTS = "weights"  # of a probe on the candidates (`jaxred.probing.ranking`)
COLUMNS_AT_ONCE = 64  # that are sorted for average precision


def order(features: Features, name: str, seed: int = 0) -> Int[np.ndarray, " neuron"]:
    """All neurons in the order of a ranking.

    Args:
        features: the data; the ranking sees train alone.
        name: of `ORDERS`.
        seed: of random.
    """
    return ORDERS[name](features, seed)


def order_or_weights(features: Features, name: str, seed: int = 0) -> Int[np.ndarray, " neuron"] | None:
    """The same; None for weights, by which a probe ranks the neurons it was trained on."""
    return None if name == WEIGHTS else order(features, name, seed)


def best_first(scores: Float[np.ndarray, " neuron"]) -> Int[np.ndarray, " neuron"]:
    """The columns by descending score; those that have none (NaN) come last."""
    return np.argsort(-scores, kind="stable")


def class_means(
    matrix: FeatureMatrix, targets: Int[np.ndarray, " row"], n_classes: int
) -> Float[np.ndarray, "class neuron"]:
    """The mean vector of each class, in one pass; NaN for a class without rows."""
    totals, counts = np.zeros((n_classes, matrix.shape[1])), np.bincount(targets, minlength=n_classes)
    batched = matrix.batched(targets)
    for block, of_row, count in zip(matrix.blocks, batched, matrix.counts, strict=True):
        rows = np.asarray(block[:, :count], np.float64)
        for class_id in np.unique(of_row[:count]):
            totals[class_id] += rows[:, of_row[:count] == class_id].sum(1)
    return np.divide(totals, counts[:, None], out=np.full_like(totals, np.nan), where=counts[:, None] > 0)


def probeless(matrix: FeatureMatrix, targets: Int[np.ndarray, " row"], n_classes: int) -> Float[np.ndarray, " neuron"]:
    """The sum over pairs of classes of |q_a - q_b|, where q is a class's mean vector.

    By sorted means: the k-th smallest of K is added k - 1 times and taken off K - k times.
    """
    means = class_means(matrix, targets, n_classes)
    ordered = np.sort(means[~np.isnan(means[:, 0])], axis=0)
    n = len(ordered)
    return (2 * np.arange(n) - (n - 1)) @ ordered


def average_precision(
    matrix: FeatureMatrix, targets: Int[np.ndarray, " row"], n_classes: int
) -> Float[np.ndarray, " neuron"]:
    """The largest average precision over classes of the activation and of its negative."""
    n_columns = matrix.shape[1]
    present = [class_id for class_id in range(n_classes) if np.any(targets == class_id)]
    is_class = np.stack([targets == class_id for class_id in present])

    def of_columns(start: int) -> np.ndarray:
        chosen = slice(start, min(start + COLUMNS_AT_ONCE, n_columns))
        values = np.concatenate([block[chosen, :n] for block, n in zip(matrix.blocks, matrix.counts, strict=True)], 1)
        return np.array([_best_precision(column, is_class) for column in values])

    with ThreadPoolExecutor(n_cores()) as pool:
        return np.concatenate([*pool.map(of_columns, range(0, n_columns, COLUMNS_AT_ONCE))])


def _best_precision(values: Float[np.ndarray, " row"], is_class: np.ndarray) -> float:
    """Of one neuron; rows of equal values are taken together, as scikit-learn's `average_precision_score` has it."""
    ascending = np.argsort(values, kind="stable")
    best = 0.0
    for rows in (ascending[::-1], ascending):
        sorted_values = values[rows]
        ends = np.flatnonzero(np.append(sorted_values[1:] != sorted_values[:-1], True))  # of runs of equal values
        hits = np.cumsum(is_class[:, rows], axis=1)[:, ends]
        gained = np.diff(hits, axis=1, prepend=0)
        best = max(best, float(np.max((gained * hits / (ends + 1)).sum(1) / hits[:, -1])))
    return best


def _of_classes(
    score: Callable[[FeatureMatrix, np.ndarray, int], np.ndarray],
) -> Callable[[Features, int], np.ndarray]:
    return lambda features, seed: best_first(
        score(features.matrices["train"], features.targets["train"], len(features.classes))
    )


ORDERS: dict[str, Callable[[Features, int], Int[np.ndarray, " neuron"]]] = {
    "probeless": _of_classes(probeless),
    "gaussian": lambda features, seed: gaussian_order(features),
    "average_precision": _of_classes(average_precision),
    "variance": lambda features, seed: best_first(features.variance()),
    "random": lambda features, seed: np.random.default_rng(seed).permutation(features.n_neurons),
}
