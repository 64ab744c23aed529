"""How far the numbers of a study spread over its repeats."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxred.probing import Probe
from jaxred.probing.features import SPLITS
from jaxred.probing.resampling import interval
from jaxred.studies.results import (
    MeanScores,
    Neuron,
    ProbeScores,
    ProbeStudy,
    Spread,
    Training,
    TrainingOfRepeats,
)
from jaxred.studies.scoring import difference


def spread(values: Sequence[float | int] | np.ndarray) -> Spread:
    """Mean, standard deviation (of a sample; 0 for one run) and every run."""
    runs = [float(value) for value in values]
    return Spread(float(np.mean(runs)), float(np.std(runs, ddof=1)) if len(runs) > 1 else 0.0, runs)


def mean_scores(entries: Sequence[ProbeScores], oracles: Sequence[ProbeScores]) -> MeanScores:
    """The spread of a probe's overall score on each split, with the interval of its mean over repeats."""
    return MeanScores(**mean_columns(entries, oracles))


def mean_columns(entries: Sequence[ProbeScores], oracles: Sequence[ProbeScores]) -> dict[str, Any]:
    """The fields of `MeanScores`."""
    low, high = interval(np.mean([entry.draws["test"] for entry in entries], axis=0))
    return {
        **{split: spread([entry.overall(split) for entry in entries]) for split in SPLITS},
        "interval": (float(low), float(high)),
        "standard_error": {
            split: float(np.mean([entry.standard_error[split] for entry in entries])) for split in ("dev", "test")
        },
        "beats_constant": sum(entry.beats_constant for entry in entries),
        "to_oracle": difference(entries, oracles),
    }


def in_common(runs: Sequence[ProbeStudy]) -> dict[str, Any]:
    """What the repeats of every study of probes have: their number, the constant answer, the oracle, the training."""
    oracles = [run.oracle for run in runs]
    constants = [run.task.constant for run in runs if run.task.constant is not None]
    return {
        "n": len(runs),
        "constant": {split: spread([answer.scores[split] for answer in constants]) for split in SPLITS}
        if constants
        else None,
        "oracle": mean_scores(oracles, oracles),
        "training": _training([run.training for run in runs]),
    }


def training_record(probes: Mapping[str, Probe]) -> dict[str, Training]:
    """For every probe its mean loss by epoch, and whether it had converged."""
    return {name: Training(probe.losses, bool(probe.converged)) for name, probe in probes.items()}


def by_layer(sets: Sequence[Sequence[Neuron]]) -> dict[int, float]:
    """The mean number of neurons of each layer in sets of (layer, index), one set per repeat."""
    layers = [layer for neurons in sets for layer, _ in neurons]
    return {layer: layers.count(layer) / len(sets) for layer in sorted(set(layers))}


def in_every_run(sets: Sequence[Sequence[Neuron]]) -> int:
    """How many neurons are in the set of every repeat."""
    return len(set.intersection(*(set(neurons) for neurons in sets)))


def _training(records: Sequence[Mapping[str, Training]]) -> TrainingOfRepeats:
    entries = [entry for record in records for entry in record.values()]
    return TrainingOfRepeats(len(entries), sum(not entry.converged for entry in entries))
