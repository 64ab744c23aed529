"""The scores of a model's own head with sets removed, and how far they move with other rows (the paired bootstrap)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from jaxred.ablation.batches import Batch
from jaxred.ablation.forward import Ablation
from jaxred.ablation.interventions import Interventions
from jaxred.probing.metrics import score
from jaxred.probing.resampling import Resamples, resampled_scores


@dataclass(frozen=True)
class Scored:
    """The scores of sets on the same rows."""

    scores: Float[np.ndarray, " set"]
    resampled: Float[np.ndarray, "resample set"]  # of the same resamples for all sets


def perplexities(losses: Float[np.ndarray, "set row"], resamples: Resamples) -> Scored:
    """Exp of the mean loss over tokens, on the rows and on resamples of whole texts."""
    sums, counts = resamples.sums(losses.T.astype(np.float64)), resamples.sums(np.ones(losses.shape[1]))
    return Scored(np.exp(losses.mean(1, dtype=np.float64)), np.exp(sums / counts[:, None]))


def answers_of(outputs: np.ndarray, regression: bool) -> Shaped[np.ndarray, "set row"]:
    """Outputs [set, row, output] as class ids or, of regression, as scores."""
    return outputs[..., 0] if regression else np.argmax(outputs, axis=-1).astype(np.int32)


def answers(
    ablation: Ablation, batches: list[Batch], sets: Interventions, regression: bool, title: str = "ablation"
) -> Shaped[np.ndarray, "set row"]:
    """The model's answers with each set removed.

    Args:
        ablation: the model.
        batches: of the rows.
        sets: what is removed.
        regression: whether answers are scores.
        title: of the progress bar.
    """
    return ablation.outputs(batches, sets, lambda outputs: answers_of(outputs, regression), title)


def scored(
    metric: str,
    predictions: Shaped[np.ndarray, "set row"],
    targets: Shaped[np.ndarray, " row"],
    n_classes: int,
    resamples: Resamples,
) -> Scored:
    """Scores on the rows and on resamples of them.

    Args:
        metric: one of `config.METRICS`.
        predictions: class ids or scores.
        targets: the same of the data.
        n_classes: of the task; 0 for regression.
        resamples: of these rows.
    """
    own = np.array([score(metric, each, targets, n_classes or None) for each in predictions])
    return Scored(own, resampled_scores(metric, np.ascontiguousarray(predictions.T), targets, n_classes, resamples))
