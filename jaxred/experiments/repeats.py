"""Repeats of a study from other random numbers, and how far its numbers spread."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxred.config import StudyConfig
from jaxred.families import Family
from jaxred.metrics import Scores, overall
from jaxred.probing import Settings, repeated_settings


def configs(config: StudyConfig) -> list[StudyConfig]:
    """The configuration of each repeat: repeat r takes the seeds + r. The first is the study without repeats."""
    return [
        replace(
            config,
            repeats=1,
            probe=replace(config.probe, seed=config.probe.seed + repeat),
            clustering=replace(config.clustering, seed=config.clustering.seed + repeat),
        )
        for repeat in range(config.repeats)
    ]


def repeated(family: Family, config: StudyConfig) -> tuple[Family, Settings]:
    """A family with every probe once for each repeat, and their seeds."""
    return family.repeated(config.repeats), repeated_settings(config.probe, family.n_probes, config.repeats)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation (of a sample; 0 for one run) and every run."""
    runs = [float(value) for value in values]
    return {"mean": float(np.mean(runs)), "sd": float(np.std(runs, ddof=1)) if len(runs) > 1 else 0.0, "runs": runs}


def spread_of_scores(entries: Sequence[Scores]) -> dict[str, Any]:
    """The spread of the overall score on each split."""
    return {split: spread([overall(entry, split) for entry in entries]) for split in entries[0]}


def training_record(probes: Mapping[str, Any]) -> dict[str, Any]:
    """For every probe its mean loss by epoch, and whether it had converged."""
    return {name: {"losses": probe.losses, "converged": probe.converged} for name, probe in probes.items()}
