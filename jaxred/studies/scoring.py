"""Trains a family on the training rows, and scores every probe on all three splits with its uncertainty."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxred.config import ProbeConfig
from jaxred.probing import Fit, Settings, fit
from jaxred.probing.families import Family
from jaxred.probing.features import SPLITS, Features
from jaxred.probing.metrics import OVERALL, best_constant, score, scores
from jaxred.probing.resampling import CONFIDENT, interval, resampled_scores, standard_error
from jaxred.studies.results import ConstantAnswer, Difference, Majority, ProbeScores, TaskSummary


def fit_and_score(
    family: Family,
    features: Features,
    probe: ProbeConfig,
    oracle: ProbeScores | None = None,
    settings: Settings | None = None,
) -> tuple[Fit, list[ProbeScores]]:
    """The trained family, and the scores of each of its probes.

    Args:
        family: which probe owns which neurons.
        features: the data.
        probe: how probes are trained.
        oracle: what the scores are compared with, if it is known yet.
        settings: l1, l2, learning rate and seed of every probe, where they differ from `probe`'s.
    """
    train, targets = features.matrices["train"], features.targets["train"]
    trained = fit(family, train, targets, features.n_outputs, probe, settings)
    predictions = {split: trained.predict(features.matrices[split]) for split in SPLITS}
    scored = score_all(predictions, features)
    return trained, scored if oracle is None else compare_with(oracle, scored)


def score_all(predictions: dict[str, np.ndarray], features: Features) -> list[ProbeScores]:
    """The scores of predictions [row, probe], by split."""
    metric, n_classes = features.metric, len(features.classes)
    constant = constant_answer(features)
    draws = {}
    for split, resamples in features.resamples.items():
        answers = predictions[split]
        if constant is not None:
            answers = np.column_stack([answers, np.full(len(answers), constant, answers.dtype)])
        draws[split] = resampled_scores(metric, answers, features.targets[split], n_classes, resamples)
    least, least_draws = 0.0, np.zeros(1)
    if constant is not None:
        least, least_draws = constant_score(constant, "dev", features), draws["dev"][:, -1]
    scored = []
    for probe in range(predictions["train"].shape[1]):
        by_split = {
            split: scores(
                metric, predictions[split][:, probe], features.targets[split], features.classes, features.f1_by_rows
            )
            for split in SPLITS
        }
        own = {split: drawn[:, probe] for split, drawn in draws.items()}
        gain = by_split["dev"][OVERALL] - least
        scored.append(
            ProbeScores(
                by_split["train"],
                by_split["dev"],
                by_split["test"],
                standard_error={split: standard_error(drawn) for split, drawn in own.items()},
                interval=_pair(interval(own["test"])),
                beats_constant=bool(gain > CONFIDENT * standard_error(own["dev"] - least_draws)),
                draws=own,
            )
        )
    return scored


def constant_answer(features: Features) -> int | None:
    """The class that scores best on dev where it is every row's answer, which train's majority class need not be; None
    for scores, where no answer counts.
    """
    if not features.classes:
        return None
    return best_constant(features.metric, features.targets["dev"], len(features.classes), features.targets.get("train"))


def constant_score(constant: int, split: str, features: Features) -> float:
    """The score of one class as every row's answer."""
    targets = features.targets[split]
    return score(features.metric, np.full(len(targets), constant), targets, len(features.classes))


def compare_with(oracle: ProbeScores, entries: Sequence[ProbeScores]) -> list[ProbeScores]:
    """The scores with how far they are from the oracle's on test."""
    return [replace(entry, to_oracle=difference([entry], [oracle])) for entry in entries]


def difference(entries: Sequence[ProbeScores], oracles: Sequence[ProbeScores]) -> Difference:
    """The mean difference on test between probes and their oracles, and the interval of its paired bootstrap."""
    pairs = list(zip(entries, oracles, strict=True))
    return Difference(
        float(np.mean([entry.overall("test") - oracle.overall("test") for entry, oracle in pairs])),
        _pair(interval(np.mean([entry.draws["test"] - oracle.draws["test"] for entry, oracle in pairs], axis=0))),
    )


def describe_task(features: Features) -> TaskSummary:
    """The task as results name it: its rows and classes, and what always saying the same would score."""
    rows = {name: len(targets) for name, targets in features.targets.items()}
    fields: dict[str, Any] = {"name": features.task, "kind": features.kind, "metric": features.metric, "rows": rows}
    if not features.classes:
        return TaskSummary(**fields, targets={name: _spread(values) for name, values in features.targets.items()})
    counts = {
        name: {label: int(np.sum(targets == class_id)) for class_id, label in enumerate(features.classes)}
        for name, targets in features.targets.items()
    }
    majority = max(features.classes, key=lambda label: counts["train"][label])
    constant = constant_answer(features)
    assert constant is not None, "classes have one"
    return TaskSummary(
        **fields,
        classes=list(features.classes),
        class_counts=counts,
        majority=Majority(majority, {name: counts[name][majority] / max(rows[name], 1) for name in rows}),
        fallbacks=features.fallbacks,
        constant=ConstantAnswer(
            features.classes[constant], {split: constant_score(constant, split, features) for split in SPLITS}
        ),
    )


def _spread(values: np.ndarray) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "deviation": float(values.std()),
        "lowest": float(values.min()),
        "highest": float(values.max()),
    }


def _pair(ends: Sequence[float]) -> tuple[float, float]:
    low, high = ends
    return float(low), float(high)
