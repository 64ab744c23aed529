"""Trains a family on the training rows and scores every probe on all three splits."""

from jaxred.config import StudyConfig
from jaxred.families import Family
from jaxred.features import SPLITS, Features
from jaxred.metrics import Scores, scores
from jaxred.probing import Fit, Settings, fit


def fit_and_score(
    family: Family, features: Features, config: StudyConfig, settings: Settings | None = None
) -> tuple[Fit, list[Scores]]:
    """The trained family, and the scores of each of its probes."""
    train, targets = features.matrices["train"], features.targets["train"]
    trained = fit(family, train, targets, features.n_outputs, config.probe, settings)
    predictions = {split: trained.predict(features.matrices[split]) for split in SPLITS}
    scored = [
        {
            split: scores(config.task.metric, predictions[split][:, probe], features.targets[split], features.classes)
            for split in SPLITS
        }
        for probe in range(family.n_probes)
    ]
    return trained, scored
