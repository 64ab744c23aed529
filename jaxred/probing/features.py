"""From activation stores to the matrices that probes train on: the split, the classes, the scaling."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxred.activations.matrix import FeatureMatrix, fits_in_memory
from jaxred.activations.store import Store
from jaxred.config import ProbeConfig, TaskConfig
from jaxred.data.checks import unseen_labels
from jaxred.data.labels import class_ids
from jaxred.data.split import DataSplit, train_dev_split, train_dev_split_of_words
from jaxred.errors import UserError
from jaxred.probing.resampling import N_RESAMPLES, Resamples, draw

SPLITS = ("train", "dev", "test")
EVALUATION_BYTES = 1 << 29  # of the matrix of dev or test in memory; it is only asked for predictions, once a family


@dataclass(frozen=True)
class Features:
    """The matrices of a task; a column is a neuron, numbered layer * hidden_size + index."""

    matrices: dict[str, FeatureMatrix]  # by split: train, dev, test
    targets: dict[str, np.ndarray]  # class ids (int32) or scores (float32)
    classes: tuple[str, ...]  # names of the class ids, sorted; empty for regression
    n_layers: int  # the embedding output and every transformer layer
    hidden_size: int
    data_split: DataSplit | None  # which rows of the train store are train and dev, where dev is held out of train
    fallbacks: dict[str, int] = field(
        default_factory=dict
    )  # test and dev labels unseen in train, counted as the fallback
    scaling: tuple[np.ndarray, np.ndarray] | None = None  # mean and deviation that standardised the matrices
    sentences: dict[str, np.ndarray] = field(default_factory=dict)  # of each row, by split, where rows are words
    task: str = ""
    metric: str = "accuracy"  # one of config.METRICS
    f1_by_rows: bool = False  # F1 by the classes of the rows at hand, as the original has it

    @property
    def kind(self) -> str:
        """Classification or regression."""
        return "classification" if self.classes else "regression"

    @cached_property
    def resamples(self) -> dict[str, Resamples]:
        """Resamples of the rows of dev and test, of words by whole sentences."""
        return {
            split: draw(len(self.targets[split]), n_resamples, self.sentences.get(split))
            for split, n_resamples in N_RESAMPLES.items()
        }

    @property
    def n_neurons(self) -> int:
        return self.n_layers * self.hidden_size

    @property
    def n_outputs(self) -> int:
        return len(self.classes) or 1

    def variance(self) -> Float[np.ndarray, " neuron"]:
        """Of each neuron over the training rows, before they were standardised."""
        deviation = self.matrices["train"].mean_and_deviation()[1]
        return np.square(deviation if self.scaling is None else deviation * self.scaling[1])

    def layer_and_index(self, neuron: int | np.integer) -> tuple[int, int]:
        """A neuron's layer and its index in that layer."""
        return int(neuron) // self.hidden_size, int(neuron) % self.hidden_size


def split_of(stores: dict[str, Store], task: TaskConfig) -> DataSplit | None:
    """The train/dev split of the train store's rows, of words by whole sentences; None where dev has its own store."""
    if "dev" in stores:
        return None
    train, settings = stores["train"], (task.dev_fraction, task.split_seed)
    if train.has_words:
        return train_dev_split_of_words(train.sentence_index(), *settings)
    return train_dev_split(train.n_rows, *settings)


def load_features(
    stores: dict[str, Store],
    task: TaskConfig,
    probe: ProbeConfig,
    scratch: Path | None = None,
    f1_by_rows: bool = False,
) -> Features:
    """Reads the stores of a task into matrices.

    A matrix that memory does not suffice for lies in a file in the folder `scratch`, from which probes stream it; and
    so does one of dev or test of more than EVALUATION_BYTES, so that the training rows have the memory.

    Training rows come in the order of the split's shuffle, which is the order in which probes see them (as in the
    original).

    Args:
        stores: the activations, by split.
        task: its name, kind and metric, and how dev is held out of train.
        probe: its batch size, and whether neurons are standardised.
        scratch: a folder for matrices that do not fit in memory.
        f1_by_rows: score F1 by the classes of the rows at hand, as the original does.

    Raises:
        UserError: if the stores do not fit together, or a label was never seen in train and no fallback is given.
    """
    train = stores["train"]
    for name, store in stores.items():
        if (store.n_layers, store.hidden_size) != (train.n_layers, train.hidden_size):
            raise UserError(
                f"The activation stores do not fit together: {name} has {store.n_layers} layers x "
                f"{store.hidden_size} neurons, "
                f"train has {train.n_layers} x {train.hidden_size}. Extract both with the same encoder."
            )
    split = split_of(stores, task)
    rows: dict[str, np.ndarray | None] = {name: None for name in stores}
    source = dict(stores)
    if split is not None:
        rows |= {"train": np.asarray(split.train_idx), "dev": np.asarray(split.dev_idx)}
        source["dev"] = train
    matrices = _matrices(source, rows, probe.batch_size, scratch)
    labels = {name: source[name].labels()[slice(None) if rows[name] is None else rows[name]] for name in SPLITS}

    fallbacks: dict[str, int] = {}
    if task.kind == "regression":
        classes: tuple[str, ...] = ()
        targets = {name: values.astype(np.float32) for name, values in labels.items()}
    else:
        classes = class_ids(labels["train"])[1]
        targets = {
            name: _class_ids(name, values, classes, task.fallback_label, fallbacks) for name, values in labels.items()
        }
    scaling = None
    if probe.standardize:
        mean, deviation = matrices["train"].mean_and_deviation()
        deviation[deviation == 0] = 1
        scaling = mean.astype(np.float32), deviation.astype(np.float32)
        for matrix in matrices.values():
            matrix.standardize(*scaling)
    sentences = {}
    if train.has_words:
        for name in SPLITS:
            of_row = source[name].sentence_index()
            sentences[name] = of_row if rows[name] is None else of_row[rows[name]]
    shape = train.n_layers, train.hidden_size
    return Features(
        matrices, targets, classes, *shape, split, fallbacks, scaling, sentences, task.name, task.metric, f1_by_rows
    )


def _matrices(
    source: dict[str, Store], rows: dict[str, np.ndarray | None], batch_size: int, scratch: Path | None
) -> dict[str, FeatureMatrix]:
    """The matrix of each split, of some rows of its store or of all; what two splits share is read once."""
    matrices: dict[str, FeatureMatrix] = {}
    parts: dict[Store, list[tuple[np.ndarray, np.ndarray]]] = {}
    n_held = 0
    for split in SPLITS:
        store, mine = source[split], rows[split]
        mine = np.arange(store.n_rows) if mine is None else mine
        shape = len(mine), store.n_layers * store.hidden_size
        held = fits_in_memory(n_held + shape[0], shape[1])
        held &= split == "train" or 4 * shape[0] * shape[1] <= EVALUATION_BYTES
        n_held += shape[0] if held else 0
        matrices[split], space = FeatureMatrix.allocate(*shape, batch_size, None if held else scratch)
        parts.setdefault(store, []).append((mine, space))
    for store, spaces in parts.items():
        store.fill(*spaces)
    for matrix in matrices.values():
        matrix.arrange()
    return matrices


def _class_ids(
    split: str, labels: np.ndarray, classes: tuple[str, ...], fallback: str, counts: dict[str, int]
) -> np.ndarray:
    train_classes = set(classes)
    n_unseen = len(unseen_labels(split, labels.tolist(), train_classes, fallback))
    if n_unseen:
        counts[split] = n_unseen
    return class_ids([label if label in train_classes else fallback for label in labels.tolist()], classes)[0]
