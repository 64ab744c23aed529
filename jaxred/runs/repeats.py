"""Repeats of a study from other random numbers.

Repeat r takes all seeds + r: of the dev split (where dev is held out of train), of the initial weights, and of the
representatives. Repeat 0 is the study without repeats.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from jaxred.activations.store import Store
from jaxred.config import StudyConfig, recorded_task, source_kind
from jaxred.errors import UserError
from jaxred.original import experiment
from jaxred.probing.features import Features, load_features

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
    by_rows = source_kind(config) == experiment.ORIGINAL

    def load(repeat: int, one: StudyConfig) -> Features:
        if loaded and loaded[0].data_split is not None and config.repeat_split:
            loaded.clear()  # before the next is read
        if not loaded:
            try:
                loaded.append(load_features(stores, recorded_task(one), one.probe, scratch, by_rows))
            except UserError as error:
                if repeat == 0:
                    raise
                raise UserError(
                    f"Repeat {repeat + 1} of {config.repeats} draws dev from train again. {error} Or keep the split of "
                    "the first repeat for all: `config.repeat_split=False`."
                ) from error
        return loaded[0]

    return [work(one, lambda: load(repeat, one)) for repeat, one in enumerate(configs(config))]  # noqa: B023
