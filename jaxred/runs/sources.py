"""Where the activations of a run come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxred.activations.extract import extract
from jaxred.activations.in_memory import HiddenStates
from jaxred.activations.store import Ledger, Store, StoreWriter
from jaxred.config import StudyConfig, source_kind
from jaxred.data import load_task
from jaxred.data.examples import Dataset, WordDataset
from jaxred.data.labels import encode_labels
from jaxred.io.files import array_digest
from jaxred.io.paths import below
from jaxred.original import experiment
from jaxred.original.importing import STORES, import_activations, open_stores

IN_MEMORY = "activations"  # the name of the task of a study of activations that Python gave
OF_PYTHON = "texts"  # of texts that Python gave, which are not kept


@runtime_checkable
class Source(Protocol):
    """Gives the activations of a run."""

    @property
    def stage(self) -> str:
        """What it does, for the log."""
        ...

    def stores(self, config: StudyConfig, folder: str | Path, overwrite: bool) -> dict[str, Store]:
        """The stores of train, test and, where it has its own, dev.

        Args:
            config: of the run.
            folder: where a source that makes stores leaves them.
            overwrite: replace those of another configuration.
        """
        ...


@runtime_checkable
class TextSource(Source, Protocol):
    """A source whose text an encoder reads."""

    def load(self, config: StudyConfig) -> Dataset | WordDataset:
        """The examples."""
        ...


class TaskFiles:
    """The task's files, whose text an encoder reads."""

    stage = "extraction"

    def load(self, config: StudyConfig) -> Dataset | WordDataset:
        return load_task(config.task)

    def stores(self, config: StudyConfig, folder: str | Path, overwrite: bool) -> dict[str, Store]:
        return extract(self.load(config), config, folder, overwrite)


@dataclass(frozen=True)
class Texts:
    """Texts and labels that Python gave."""

    dataset: Dataset
    stage: str = "extraction"

    def load(self, config: StudyConfig) -> Dataset | WordDataset:
        return self.dataset

    def stores(self, config: StudyConfig, folder: str | Path, overwrite: bool) -> dict[str, Store]:
        return extract(self.dataset, config, folder, overwrite)


class FinishedStores:
    """Stores that are there already, as `jaxred convert` makes them."""

    stage = "stores"

    def stores(self, config: StudyConfig, folder: str | Path, overwrite: bool) -> dict[str, Store]:
        return open_stores(config)


class OriginalExperiment:
    """The files that an experiment file of the original names."""

    stage = "import"

    def stores(self, config: StudyConfig, folder: str | Path, overwrite: bool) -> dict[str, Store]:
        assert isinstance(folder, Path), "config.extraction.store was rejected"
        return import_activations(config, folder, overwrite)


@dataclass(frozen=True)
class Arrays:
    """Activations that Python gave, with their labels."""

    splits: Mapping[str, tuple[HiddenStates, list[Any]]]
    stage: str = "activations"

    def stores(self, config: StudyConfig, folder: str | Path, overwrite: bool) -> dict[str, Store]:
        return {split: self._store(below(folder, split), *given, overwrite) for split, given in self.splits.items()}

    def _store(self, path: str | Path, states: HiddenStates, labels: list[Any], overwrite: bool) -> Store:
        """The activations as a store, which may be larger than memory is later."""
        values = np.asarray(states)
        names, numbers = encode_labels(labels)
        identity = {"imported": "Python", "activations": array_digest(values), "labels": array_digest(numbers)}
        window_rows = min(512, len(values))
        ledger = Ledger(identity, *states.shape, "float32", window_rows, names)
        writer = StoreWriter(path, ledger, numbers, np.arange(len(values), dtype=np.int32), overwrite)
        for window in range(writer.ledger.windows_finished, ledger.n_windows):
            writer.write(window, values[ledger.window(window)])
        writer.flush()
        return Store(path)


def source_of(config: StudyConfig) -> Source:
    """The source that `config.source` names, or else the task's files."""
    kinds = {STORES: FinishedStores, experiment.ORIGINAL: OriginalExperiment}
    return kinds.get(source_kind(config), TaskFiles)()
