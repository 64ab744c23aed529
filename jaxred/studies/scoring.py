"""Trains a family on the training rows, and scores every probe on all three splits with its uncertainty."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxred.config import StudyConfig
from jaxred.original import experiment
from jaxred.probing import Fit, Settings, fit
from jaxred.probing.families import Family
from jaxred.probing.features import SPLITS, Features
from jaxred.probing.metrics import OVERALL, best_constant, score, scores
from jaxred.probing.resampling import CONFIDENT, interval, resampled_scores, standard_error


class Scored(dict[str, Any]):
    """The scores of a probe as results hold them, and on every resample, which they do not hold.

    By split: the overall score and that of each class. `standard_error` of dev and test; `interval`, of test;
    `beats_constant`, whether the dev score is above that of the best constant answer by more than the uncertainty of
    the difference; `to_oracle`, the difference to the oracle's test score, and its interval.
    """

    def __init__(self, entry: dict[str, Any], draws: dict[str, np.ndarray]):
        super().__init__(entry)
        self.draws = draws  # [resample] of dev and of test


def fit_and_score(
    family: Family, features: Features, config: StudyConfig, settings: Settings | None = None
) -> tuple[Fit, list[Scored]]:
    """The trained family, and the scores of each of its probes."""
    train, targets = features.matrices["train"], features.targets["train"]
    trained = fit(family, train, targets, features.n_outputs, config.probe, settings)
    predictions = {split: trained.predict(features.matrices[split]) for split in SPLITS}
    return trained, score_all(predictions, features, config)


def score_all(predictions: dict[str, np.ndarray], features: Features, config: StudyConfig) -> list[Scored]:
    """The scores of predictions [row, probe], by split."""
    metric, n_classes = config.task.metric, len(features.classes)
    by_rows = config.task.name == experiment.TASK
    constant = constant_answer(features, config)
    draws = {}
    for split, resamples in features.resamples.items():
        answers = predictions[split]
        if constant is not None:
            answers = np.column_stack([answers, np.full(len(answers), constant, answers.dtype)])
        draws[split] = resampled_scores(metric, answers, features.targets[split], n_classes, resamples)
    scored = []
    for probe in range(predictions["train"].shape[1]):
        entry: dict[str, Any] = {
            split: scores(metric, predictions[split][:, probe], features.targets[split], features.classes, by_rows)
            for split in SPLITS
        }
        mine = {split: found[:, probe] for split, found in draws.items()}
        entry["standard_error"] = {split: standard_error(found) for split, found in mine.items()}
        entry["interval"] = interval(mine["test"])
        least, least_draws = 0.0, 0.0
        if constant is not None:
            least, least_draws = constant_score(constant, "dev", features, config), draws["dev"][:, -1]
        gain = entry["dev"][OVERALL] - least
        entry["beats_constant"] = gain > CONFIDENT * standard_error(mine["dev"] - least_draws)
        scored.append(Scored(entry, mine))
    return scored


def constant_answer(features: Features, config: StudyConfig) -> int | None:
    """The class that scores best on dev where it is every row's answer, which train's majority class need not be; None
    for scores, where no answer counts.
    """
    if not features.classes:
        return None
    return best_constant(config.task.metric, features.targets["dev"], len(features.classes))


def constant_score(constant: int, split: str, features: Features, config: StudyConfig) -> float:
    """The score of one class as every row's answer."""
    targets = features.targets[split]
    return score(config.task.metric, np.full(len(targets), constant), targets, len(features.classes))


def compare_with(oracle: Scored, entries: Sequence[Scored]) -> None:
    """Adds to scores how far on test they are from the oracle's."""
    for entry in entries:
        entry["to_oracle"] = difference([entry], [oracle])


def difference(entries: Sequence[Scored], oracles: Sequence[Scored]) -> dict[str, Any]:
    """The mean difference on test between probes and their oracles, and the interval of its paired bootstrap."""
    pairs = list(zip(entries, oracles, strict=True))
    return {
        "difference": float(np.mean([entry["test"][OVERALL] - oracle["test"][OVERALL] for entry, oracle in pairs])),
        "interval": interval(np.mean([entry.draws["test"] - oracle.draws["test"] for entry, oracle in pairs], axis=0)),
    }
