"""The bootstrap: scores on resampled rows, which say how far a score would move with other rows of the same kind.

Every probe is scored on the same resamples, so that the difference of two probes may be taken resample by resample
(the paired bootstrap; Efron and Tibshirani 1993, chapters 6 and 13).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

LEVEL = 0.95  # of intervals
CONFIDENT = 1.96  # standard errors on either side of the mean that a normal distribution has LEVEL within
N_RESAMPLES = {"dev": 200, "test": 1000}  # standard errors need fewer than the ends of an interval
MAX_UNITS = 4_000  # more units than these are drawn in so many random blocks, whose spread is the same
SEED = 0


@dataclass(frozen=True)
class Resamples:
    """How often each unit was drawn in each resample. A unit is a row, a sentence, or a random block of these."""

    counts: Float[np.ndarray, "resample unit"]
    units: Int[np.ndarray, " row"]  # the unit of each row

    @cached_property
    def _by_unit(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.units, kind="stable")
        return order, np.searchsorted(self.units[order], np.arange(self.counts.shape[1]))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over the rows of each resample: [row, ...] to [resample, ...]."""
        order, starts = self._by_unit
        kind = np.float32 if values.dtype in (bool, np.float32) else np.float64  # counts are exact in either
        by_unit = np.add.reduceat(values[order].astype(kind), starts, axis=0)
        return (self.counts.astype(kind) @ by_unit).astype(np.float64)


def draw(n_rows: int, n_resamples: int, sentences: Int[np.ndarray, " row"] | None = None) -> Resamples:
    """Draws resamples of rows with replacement, or of whole sentences.

    Args:
        n_rows: rows to draw from, at least one.
        n_resamples: how many resamples.
        sentences: the sentence of each row, where rows are words: words of one sentence are not independent.
    """
    units = np.arange(n_rows) if sentences is None else np.unique(sentences, return_inverse=True)[1].reshape(-1)
    n_units = int(units.max()) + 1
    random = np.random.default_rng(SEED)
    if n_units > MAX_UNITS:
        units = (random.permutation(n_units) % MAX_UNITS)[units]
        n_units = MAX_UNITS
    counts = [np.bincount(random.integers(0, n_units, n_units), minlength=n_units) for _ in range(n_resamples)]
    return Resamples(np.asarray(counts, np.float32), units)


def resampled_scores(
    metric: str, predictions: np.ndarray, targets: np.ndarray, n_classes: int, resamples: Resamples
) -> Float[np.ndarray, "resample probe"]:
    """The score of every probe on every resample, equal to `metrics.score` on the rows drawn.

    Args:
        metric: one of `config.METRICS`.
        predictions: [row, probe] class ids or scores.
        targets: [row] the same of the data.
        n_classes: of the task; 0 for regression.
        resamples: of these rows.
    """
    if metric == "accuracy":
        return _accuracy(predictions, targets, resamples)
    if metric == "f1":
        return _f1(predictions, targets, n_classes, resamples)
    if metric == "accuracy_and_f1":
        return (_accuracy(predictions, targets, resamples) + _f1(predictions, targets, n_classes, resamples)) / 2
    if metric == "matthews_corrcoef":
        return _matthews(predictions, targets, n_classes, resamples)
    if metric == "pearson":
        return _pearson(predictions, targets, resamples)
    if metric == "spearman":
        return _spearman(predictions, targets, resamples)
    if metric == "pearson_and_spearman":
        return (_pearson(predictions, targets, resamples) + _spearman(predictions, targets, resamples)) / 2
    raise ValueError(f"unknown metric {metric!r}")


def interval(draws: Float[np.ndarray, " resample"]) -> list[float]:
    """The lower and the upper end of the percentile interval of LEVEL."""
    return np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()


def standard_error(draws: Float[np.ndarray, " resample"]) -> float:
    """The standard deviation over resamples."""
    return float(np.std(draws, ddof=1))


def _accuracy(predictions: np.ndarray, targets: np.ndarray, resamples: Resamples) -> np.ndarray:
    n_rows = resamples.sums(np.ones(len(targets), bool))
    return resamples.sums(predictions == targets[:, None]) / n_rows[:, None]


def _f1(predictions: np.ndarray, targets: np.ndarray, n_classes: int, resamples: Resamples) -> np.ndarray:
    total = n_present = np.zeros((1, 1))
    for label in [1] if n_classes == 2 else range(n_classes):
        right, predicted, support = _class_counts(predictions, targets, label, resamples)
        present = predicted + support > 0
        total = total + np.divide(2 * right, predicted + support, out=np.zeros_like(right), where=present)
        n_present = n_present + present
    return total if n_classes == 2 else _divided(total, n_present)


def _matthews(predictions: np.ndarray, targets: np.ndarray, n_classes: int, resamples: Resamples) -> np.ndarray:
    n_rows = resamples.sums(np.ones(len(targets), bool))[:, None]
    right = predicted_and_there = predicted_squared = there_squared = np.zeros((1, 1))
    for label in range(n_classes):
        hits, predicted, support = _class_counts(predictions, targets, label, resamples)
        right = right + hits
        predicted_and_there = predicted_and_there + predicted * support
        predicted_squared, there_squared = predicted_squared + predicted**2, there_squared + support**2
    spread = (n_rows**2 - predicted_squared) * (n_rows**2 - there_squared)
    return _divided(right * n_rows - predicted_and_there, np.sqrt(spread))


def _class_counts(
    predictions: np.ndarray, targets: np.ndarray, label: int, resamples: Resamples
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows [resample, probe] that are predicted to be of a class and are, that are predicted, and that are."""
    predicted, there = predictions == label, (targets == label)[:, None]
    return resamples.sums(predicted & there), resamples.sums(predicted), resamples.sums(there)


def _pearson(predictions: np.ndarray, targets: np.ndarray, resamples: Resamples) -> np.ndarray:
    x, y = predictions.astype(np.float64), targets.astype(np.float64)[:, None]
    x, y = x - x.mean(0), y - y.mean(0)
    n_rows = resamples.sums(np.ones((len(y), 1)))
    mean_x, mean_y = resamples.sums(x) / n_rows, resamples.sums(y) / n_rows
    covariance = resamples.sums(x * y) / n_rows - mean_x * mean_y
    variances = (_variance(resamples.sums(v * v) / n_rows, mean) for v, mean in ((x, mean_x), (y, mean_y)))
    return _correlation(covariance, *variances)


def _spearman(predictions: np.ndarray, targets: np.ndarray, resamples: Resamples) -> np.ndarray:
    scores = np.empty((len(resamples.counts), predictions.shape[1]))
    size = max(1, 2**22 // len(targets))  # resamples at once, so that a block is of some 32 MB
    for start in range(0, len(scores), size):
        weights = resamples.counts[start : start + size].astype(np.float64)[:, resamples.units]
        n_rows = weights.sum(1)
        there = _centred_ranks(targets, weights)
        spread = (weights * there**2).sum(1) / n_rows
        for probe in range(predictions.shape[1]):
            predicted = _centred_ranks(predictions[:, probe], weights)
            covariance = (weights * predicted * there).sum(1) / n_rows
            variance = (weights * predicted**2).sum(1) / n_rows
            scores[start : start + size, probe] = _correlation(covariance, variance, spread)
    return scores


def _centred_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Ranks [resample, row] among the rows drawn, less their mean; equal values share the mean of their ranks."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    drawn = np.add.reduceat(weights[:, order], first, axis=1)  # rows drawn of each value
    middle = np.cumsum(drawn, axis=1) - (drawn - 1) / 2
    ranks = np.empty_like(weights)
    ranks[:, order] = np.repeat(middle, np.diff(np.append(first, len(values))), axis=1)
    return ranks - (weights.sum(1, keepdims=True) + 1) / 2


def _variance(mean_square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """0 where what is left of the mean square is rounding."""
    variance = mean_square - mean**2
    return np.where(variance > 1e-12 * mean_square, variance, 0.0)


def _correlation(covariance: np.ndarray, *variances: np.ndarray) -> np.ndarray:
    return _divided(covariance, np.sqrt(variances[0] * variances[1]))


def _divided(above: Any, below: Any) -> np.ndarray:
    """The quotient, and 0 where there is nothing to divide by."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    return np.divide(above, below, out=np.zeros(above.shape), where=below > 0)
