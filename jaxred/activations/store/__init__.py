"""The activation store: the only place that touches TensorStore.

A store is a directory (or any TensorStore kvstore URL) that holds one split of one task under one encoder::

    ledger.json        what the store is, how many rows are planned and how many windows are finished
    zarr.json          makes the whole a zarr v3 group, which zarr-python opens
    finished/          marks of windows that are not counted in the ledger yet, where processes write one store
    hidden_states/     zarr v3, [row, layer, neuron]; a shard is one layer of a window of rows, an inner chunk some
                       of its rows, so that one layer or a prefix of layers is read alone
    labels/            [row], class ids (int32, names in the ledger) or scores (float64)
    sentence_index/    [row], the position of the row's sentence in the task's file
    unfinished/        rows of a window that is not whole yet; removed with it
    word_index/        [row], the position of the row's word in its sentence; only where a row is a word, which the
                       ledger says in `rows` (a ledger without that field is one of sentences)

Every chunk carries a CRC-32C checksum. A window is written whole and only then entered in the ledger, so that a
killed run resumes at the next window; a store whose ledger does not say that all windows are finished is not read.
Missing chunks read as NaN and are refused. What is damaged of a store that was made of text is extracted again, window
by window, by the next run that sees it.
"""

from jaxred.activations.store.damage import damaged_files, lost_files, remove_files
from jaxred.activations.store.ledger import Ledger, finished_ledger, read_ledger
from jaxred.activations.store.reader import Store
from jaxred.activations.store.store_locks import reading, writing
from jaxred.activations.store.writer import StoreWriter

__all__ = [
    "Ledger",
    "Store",
    "StoreWriter",
    "damaged_files",
    "finished_ledger",
    "lost_files",
    "read_ledger",
    "reading",
    "remove_files",
    "writing",
]
