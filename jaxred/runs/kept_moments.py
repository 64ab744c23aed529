"""The moments of the training rows, kept in the workdir (or a sweep's folder), also while they are made."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxred.activations.store import Store
from jaxred.activations.store.side_by_side import SideBySide
from jaxred.config import StudyConfig
from jaxred.io.locks import lock
from jaxred.io.progress import progress_bar
from jaxred.probing.features import split_of
from jaxred.runs.workdir import Workdir
from jaxred.statistics import moments, streaming
from jaxred.statistics.moments import Moments, Sums


def training_sums(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> list[Sums]:
    """Sums over two halves of the rows that probes train on; kept in the workdir, also while they are made."""
    train = stores["train"]
    split = split_of(stores, config.task)
    rows = None if split is None else np.asarray(split.train_idx)
    identity = {
        "store": train.ledger.identity,
        "split": None if split is None else [config.task.split_seed, config.task.dev_fraction],
    }
    return kept_sums(train, rows, identity, workdir.moments)


def kept_sums(store: Store | SideBySide, rows: np.ndarray | None, identity: dict[str, Any], file: Path) -> list[Sums]:
    """Sums over two halves of some rows, from the file if it is of this identity, or new ones that are kept there."""
    kept = moments.load(file, identity)
    if kept is not None:
        return kept[0]
    with lock(file.parent, wait=True, leftovers=["*"]):  # of another run's folder, maybe, or of several runs'
        return _new_sums(store, rows, identity, file)


def _new_sums(store: Store | SideBySide, rows: np.ndarray | None, identity: dict[str, Any], file: Path) -> list[Sums]:
    kept = moments.load(file, identity)  # another process may have made them meanwhile
    if kept is not None:
        return kept[0]
    unfinished = file.with_suffix(f".unfinished{jax.process_index() or ''}.npz")
    with progress_bar(store.n_rows, "moments", "rows") as bar:
        sums = streaming.from_store(store, rows, bar.update, unfinished, identity)
    if jax.process_index() == 0:
        moments.save(file, sums, identity)
    unfinished.unlink(missing_ok=True)
    return sums


def training_moments(
    stores: dict[str, Store], config: StudyConfig, workdir: Workdir, of_workdir: StudyConfig | None = None
) -> Moments:
    """Moments over the rows that probes train on.

    Args:
        stores: the activations.
        config: which rows those are.
        workdir: keeps their sums.
        of_workdir: the workdir's configuration, where `config` is that of a repeat. Sums over the rows of another
            split are not kept, so that those of the study stay.
    """
    if of_workdir is not None and config.task.split_seed != of_workdir.task.split_seed:
        split = split_of(stores, config.task)
        if split is not None:
            with progress_bar(stores["train"].n_rows, "moments", "rows") as bar:
                first, second = streaming.from_store(stores["train"], np.asarray(split.train_idx), bar.update)
            return Moments.of(first + second)
    first, second = training_sums(stores, config, workdir)
    return Moments.of(first + second)
