"""A small store, and how it is written and read whole."""

import numpy as np

from jaxred.activations.store import Ledger, Store, StoreWriter, read_ledger

N_ROWS, N_LAYERS, HIDDEN, WINDOW = 10, 3, 5, 4
N_WINDOWS = 3
VALUES = np.random.default_rng(0).normal(size=(N_ROWS, N_LAYERS, HIDDEN)).astype(np.float32)
CLASSES = np.array([2, 0, 1, 1, 0, 2, 2, 1, 0, 1], np.int32)
SENTENCES = np.arange(N_ROWS, dtype=np.int32)[::-1].copy()
IDENTITY = {"encoder": "ab12", "pooling": "cls", "max_length": 16}


def ledger(**changes):
    fields = {"identity": IDENTITY, "n_rows": N_ROWS, "n_layers": N_LAYERS, "hidden_size": HIDDEN, "dtype": "float32"}
    fields |= {"window_rows": WINDOW, "label_names": ["bad", "fair", "good"], "encoder_parameters": [7, 8, 9]}
    return Ledger(**{**fields, **changes})


def writer(folder, overwrite=False, labels=CLASSES, **changes):
    return StoreWriter(folder, ledger(**changes), labels, SENTENCES[: changes.get("n_rows", N_ROWS)], overwrite)


def fill(open_writer, values=VALUES, until=None):
    """Writes the windows that are not written yet."""
    windows = range(open_writer.ledger.windows_finished, open_writer.ledger.n_windows)[:until]
    for index in windows:
        open_writer.write(index, values[open_writer.ledger.window(index)], {"tokens": 100 + index})
    open_writer.flush()


def write_store(folder, values=VALUES, **changes):
    fill(writer(folder, **changes), values)
    return Store(folder)


def everything(folder):
    opened = Store(folder)
    return opened.matrix(), opened.labels(), opened.sentence_index()


def windows_finished_in(folder):
    present = read_ledger(folder)
    return -1 if present is None else present.windows_finished


def shard(folder, window, layer=0):
    return folder / "hidden_states" / "c" / str(window) / str(layer) / "0"
