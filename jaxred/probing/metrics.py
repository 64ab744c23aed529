"""Scores of predictions, computed by scikit-learn and SciPy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

OVERALL = "__OVERALL__"

Scores = dict[str, dict[str, float]]  # of a probe, by split: the overall score and that of each class


def overall(entry: Scores, split: str) -> float:
    """The score of the task's metric on one split."""
    return entry[split][OVERALL]


def score(metric: str, predictions: np.ndarray, targets: np.ndarray, n_classes: int | None = None) -> float:
    """One of `config.METRICS` on class ids or on scores.

    F1 is that of class 1 where the task has two classes, and the mean over the classes that occur in predictions or
    targets where it has another number. A correlation with a constant is 0: nothing is explained by it.

    Args:
        metric: one of `config.METRICS`.
        predictions: class ids or scores.
        targets: the same of the data.
        n_classes: classes of the task. None: as many as occur in these rows, as the original has it, so that two probes
            of one task may be scored by different definitions of F1.
    """
    predictions, targets = np.ravel(predictions), np.ravel(targets)
    if metric == "accuracy":
        return float(np.mean(predictions == targets))
    if metric == "f1":
        two = max(predictions.max(), targets.max()) <= 1 if n_classes is None else n_classes == 2
        average: Any = "binary" if two else "macro"
        undefined: Any = 0.0
        from sklearn import metrics as sklearn_metrics  # here and below, because importing it takes a second

        return float(sklearn_metrics.f1_score(targets, predictions, average=average, zero_division=undefined))
    if metric == "accuracy_and_f1":
        return (score("accuracy", predictions, targets) + score("f1", predictions, targets, n_classes)) / 2
    if metric == "matthews_corrcoef":
        from sklearn import metrics as sklearn_metrics

        return float(sklearn_metrics.matthews_corrcoef(targets, predictions))
    if metric in ("pearson", "spearman"):
        if np.ptp(predictions) == 0 or np.ptp(targets) == 0:
            return 0.0
        from scipy import stats

        correlation: Any = (stats.pearsonr if metric == "pearson" else stats.spearmanr)(predictions, targets)
        return float(correlation.statistic)
    if metric == "pearson_and_spearman":
        return (score("pearson", predictions, targets) + score("spearman", predictions, targets)) / 2
    raise ValueError(f"unknown metric {metric!r}")


def scores(
    metric: str, predictions: np.ndarray, targets: np.ndarray, classes: Sequence[str], by_rows: bool = False
) -> dict[str, float]:
    """The original's score entry: the metric under "__OVERALL__", then each class's share of right answers.

    Args:
        metric: one of `config.METRICS`.
        predictions: class ids or scores.
        targets: the same of the data.
        classes: names of the class ids; empty for regression. A class without examples scores 0.
        by_rows: F1 by the classes that occur in these rows, as the original has it, and not by those of the task.
    """
    entry = {OVERALL: score(metric, predictions, targets, None if by_rows else len(classes))}
    for class_id, name in enumerate(classes):
        in_class = targets == class_id
        entry[name] = float(np.mean(predictions[in_class] == class_id)) if in_class.any() else 0.0
    return entry


def best_constant(metric: str, targets: np.ndarray, n_classes: int, train: np.ndarray | None = None) -> int:
    """The class that scores best where it is every row's answer: that of the most rows, but for F1 of class 1.

    Args:
        metric: one of `config.METRICS`.
        targets: class ids.
        n_classes: classes of the task.
        train: class ids whose counts decide between classes of as many rows; by default the first.
    """
    counts = np.bincount(targets, minlength=n_classes).astype(float)
    if train is not None:
        counts += np.bincount(train, minlength=n_classes) / (len(train) + 1)  # less than a row
    if metric == "accuracy" or n_classes == 1:
        return int(counts.argmax())
    candidates = np.argsort(-counts, kind="stable")[:2].tolist()
    answers = dict.fromkeys([*candidates, min(1, n_classes - 1)])
    return max(answers, key=lambda label: score(metric, np.full(len(targets), label), targets, n_classes))


def class_scores(predictions: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Precision, recall, F1 and support of every class, as scikit-learn has them, whose import takes a second.

    Args:
        predictions: class ids.
        targets: the same of the data.
        classes: names of the class ids.

    Returns:
        `classes`, by name; `macro`, the mean over the classes that occur in predictions or targets. A score without
        anything to divide by is 0.
    """
    n_classes = len(classes)
    support, predicted, right = (
        np.bincount(np.asarray(ids, int), minlength=n_classes)
        for ids in (targets, predictions, targets[predictions == targets])
    )
    entries = {
        name: {
            "precision": float(right[i] / max(predicted[i], 1)),
            "recall": float(right[i] / max(support[i], 1)),
            "f1": float(2 * right[i] / max(predicted[i] + support[i], 1)),
            "support": int(support[i]),
        }
        for i, name in enumerate(classes)
    }
    occur = [name for i, name in enumerate(classes) if predicted[i] + support[i]]
    macro = {name: float(np.mean([entries[label][name] for label in occur])) for name in ("precision", "recall", "f1")}
    return {"classes": entries, "macro": macro}
