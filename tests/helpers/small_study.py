"""What tests of studies share: small made-up tasks, and results as plain values."""

import numpy as np

from jaxred.activations.matrix import FeatureMatrix
from jaxred.activations.store import Ledger, StoreWriter
from jaxred.config import ClusteringConfig, ProbeConfig, SelectionConfig, StudyConfig, TaskConfig
from jaxred.data.split import train_dev_split
from jaxred.probing.features import Features
from jaxred.runs.workdir import Workdir
from jaxred.statistics.moments import Moments
from jaxred.statistics.streaming import from_blocks

N_LAYERS, HIDDEN = 3, 8
N_NEURONS = N_LAYERS * HIDDEN
N_ROWS = {"train": 160, "dev": 60, "test": 60}


def made_up_task(seed=0, signal=0.6):
    """3 layers of 8 neurons: layer 1 knows the class, layer 2 repeats layer 1 with noise, layer 0 is noise."""
    rng = np.random.default_rng(seed)
    targets = {split: rng.integers(0, 2, n).astype(np.int32) for split, n in N_ROWS.items()}
    matrices = {}
    for split, classes in targets.items():
        layers = rng.normal(size=(N_LAYERS, len(classes), HIDDEN))
        layers[1] += signal * np.where(classes, 1, -1)[:, None] * np.linspace(0, 1, HIDDEN)
        layers[2] = -layers[1] + 0.4 * layers[2]
        rows = np.concatenate(layers, axis=1).astype(np.float32)
        matrices[split] = FeatureMatrix.from_rows(rows, 32)
    return Features(matrices, targets, ("no", "yes"), N_LAYERS, HIDDEN, None)


def study_config(repeats=1, **selection):
    return StudyConfig(
        probe=ProbeConfig(batch_size=32, learning_rate=1e-2, epochs=4, seed=3),
        clustering=ClusteringConfig(thresholds=(-1.0, 0.3), sweep_thresholds=(-1.0, 0.1, 0.5, 0.9), seed=11),
        selection=SelectionConfig(
            **{"deltas": ((3.0, 1.0), (1.0, 0.0)), "fractions": (0.0, 0.1, 0.25, 0.5, 0.75, 1.0), **selection}
        ),
        repeats=repeats,
    )


def finished_run(folder, values, task="parallel", **identity):
    """A run's folder that holds nothing but its configuration and the activations of train: all sentences."""
    config = StudyConfig(task=TaskConfig(name=task, dev_fraction=0.2))
    workdir = Workdir.claim(folder, config)
    model = {"encoder": "a", "tokenizer": "a", "transformer_layers": -1, "pooling": "cls", "source": "text"}
    shape = dict(zip(("n_rows", "n_layers", "hidden_size"), values.shape, strict=True))
    ledger = Ledger({**model, **identity}, **shape, dtype="float32", window_rows=len(values), label_names=["no", "yes"])
    labels = np.arange(len(values), dtype=np.int32) % 2
    writer = StoreWriter(workdir.activations("train"), ledger, labels, np.arange(len(values), dtype=np.int32))
    writer.write(0, values.astype(np.float32))
    writer.flush()
    return folder


def training_rows(n_rows):
    """Those of `finished_run` that are not dev."""
    return np.asarray(train_dev_split(n_rows, 0.2, TaskConfig().split_seed).train_idx)


def correlation_of(features):
    return Moments.of(from_blocks([np.asarray(features.matrices["train"])])).correlation()
