"""Repeats of a study from other random numbers, and how far its numbers spread.

Repeat r takes all seeds + r: of the dev split (where dev is held out of train), of the initial weights, and of the
representatives. Repeat 0 is the study without repeats.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jaxred.activations.store import Store
from jaxred.config import StudyConfig
from jaxred.errors import UserError
from jaxred.probing.features import SPLITS, Features, load_features
from jaxred.probing.metrics import overall
from jaxred.probing.resampling import interval
from jaxred.studies.scoring import Scored, difference

T = TypeVar("T")


def configs(config: StudyConfig) -> list[StudyConfig]:
    """The configuration of each repeat."""

    def shifted(seed: int, shift: int) -> int:
        return (seed + shift) % 2**32

    return [
        replace(
            config,
            repeats=1,
            task=replace(config.task, split_seed=shifted(config.task.split_seed, repeat * config.repeat_split)),
            probe=replace(config.probe, seed=shifted(config.probe.seed, repeat)),
            clustering=replace(config.clustering, seed=shifted(config.clustering.seed, repeat)),
        )
        for repeat in range(config.repeats)
    ]


def run_each(
    stores: dict[str, Store],
    config: StudyConfig,
    scratch: Path,
    work: Callable[[StudyConfig, Callable[[], Features]], T],
) -> list[T]:
    """Does the work of each repeat, one after another, so that the data of one split at a time are in memory.

    Args:
        stores: the activations.
        config: of all repeats.
        scratch: a folder for matrices that do not fit in memory.
        work: given a repeat's configuration, and what loads its data; it keeps no reference to the matrices.

    Raises:
        UserError: if the data cannot be loaded, such as for a class that another split leaves no training row.
    """
    loaded: list[Features] = []

    def load(repeat: int, one: StudyConfig) -> Features:
        if loaded and loaded[0].data_split is not None and config.repeat_split:
            loaded.clear()  # before the next is read
        if not loaded:
            try:
                loaded.append(load_features(stores, one, scratch))
            except UserError as error:
                if repeat == 0:
                    raise
                raise UserError(
                    f"Repeat {repeat + 1} of {config.repeats} draws dev from train again. {error} Or keep the split of "
                    "the first repeat for all: `config.repeat_split=False`."
                ) from error
        return loaded[0]

    return [work(one, lambda: load(repeat, one)) for repeat, one in enumerate(configs(config))]  # noqa: B023


def spread(values: Sequence[float | int] | np.ndarray) -> dict[str, Any]:
    """Mean, standard deviation (of a sample; 0 for one run) and every run."""
    runs = [float(value) for value in values]
    return {"mean": float(np.mean(runs)), "sd": float(np.std(runs, ddof=1)) if len(runs) > 1 else 0.0, "runs": runs}


def spread_of_scores(entries: Sequence[Scored], oracles: Sequence[Scored] | None = None) -> dict[str, Any]:
    """The spread of the overall score on each split, with what `Scored` holds, of the mean over repeats.

    `beats_constant` counts the repeats that do.
    """
    found: dict[str, Any] = {split: spread([overall(entry, split) for entry in entries]) for split in SPLITS}
    found["interval"] = interval(np.mean([entry.draws["test"] for entry in entries], axis=0))
    found["standard_error"] = {
        split: float(np.mean([entry["standard_error"][split] for entry in entries])) for split in ("dev", "test")
    }
    found["beats_constant"] = sum(entry["beats_constant"] for entry in entries)
    if oracles is not None:
        found["to_oracle"] = difference(entries, oracles)
    return found


def training_record(probes: Mapping[str, Any]) -> dict[str, Any]:
    """For every probe its mean loss by epoch, and whether it had converged."""
    return {name: {"losses": probe.losses, "converged": probe.converged} for name, probe in probes.items()}


def not_converged(records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Of all probes of all repeats, how many there are and how many had not converged."""
    entries = [entry for record in records for entry in record.values()]
    return {"probes": len(entries), "not_converged": sum(not entry["converged"] for entry in entries)}


def by_layer(sets: Sequence[Sequence[tuple[int, int]]]) -> dict[int, float]:
    """The mean number of neurons of each layer in sets of (layer, index), one set per repeat."""
    layers = [layer for neurons in sets for layer, _ in neurons]
    return {layer: layers.count(layer) / len(sets) for layer in sorted(set(layers))}


def in_every_run(sets: Sequence[Sequence[tuple[int, int]]]) -> int:
    """How many neurons are in the set of every repeat."""
    return len(set.intersection(*({tuple(neuron) for neuron in neurons} for neurons in sets)))


def spread_of_constant(tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The spread of the scores of the constant answer, whose dev rows repeats may draw again; None for regression."""
    if tasks[0].get("constant") is None:
        return None
    return {split: spread([task["constant"]["scores"][split] for task in tasks]) for split in SPLITS}
