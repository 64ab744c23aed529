"""Rows of activations that others extracted into a store, window by window."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxred.activations.files.row_selection import Rows
from jaxred.activations.store import Ledger, StoreWriter, writing
from jaxred.data.labels import encode_labels, refuse_odd_labels
from jaxred.io.progress import progress_bar


class StoreShape(NamedTuple):
    """The shape of a store and the rows of its windows."""

    n_layers: int
    hidden_size: int
    dtype: str
    window_rows: int


def fill_store(
    location: str | Path,
    rows: Rows,
    shape: StoreShape,
    identity: dict[str, Any],
    vectors: Callable[[int], Iterator[Float[np.ndarray, "row layer neuron"]]],
    title: str,
    overwrite: bool = False,
) -> None:
    """Makes a store, or resumes one of the same identity that was cut short.

    Args:
        location: where the store goes.
        rows: its rows and their labels.
        shape: of the store.
        identity: what decided the numbers.
        vectors: gives the activations of the rows from a given one on, in pieces of any size.
        title: of the progress bar.
        overwrite: replace a store of another identity.

    Raises:
        UserError: as `StoreWriter` does, or from `vectors`.
    """
    refuse_odd_labels(rows.labels, title)
    names, labels = encode_labels(rows.labels)
    ledger = Ledger(
        identity=identity,
        n_rows=len(rows.labels),
        n_layers=shape.n_layers,
        hidden_size=shape.hidden_size,
        dtype=shape.dtype,
        window_rows=shape.window_rows,
        label_names=names,
        notes=rows.notes,
        rows="word" if rows.of_words else "sentence",
    )
    word_index = rows.word_index if rows.of_words else None
    with writing(location):
        writer = StoreWriter(location, ledger, labels, rows.sentence_index, overwrite, word_index)
        if not writer.ledger.finished:
            _write(writer, vectors, title)


def _write(
    writer: StoreWriter, vectors: Callable[[int], Iterator[Float[np.ndarray, "row layer neuron"]]], title: str
) -> None:
    """Fills the unfinished windows."""
    ledger = writer.ledger
    start = ledger.window(ledger.windows_finished).start
    rest = np.empty((0, ledger.n_layers, ledger.hidden_size))
    # One is filled while the other is written. New memory for every window would take longer than filling it.
    longest = min(ledger.window_rows, ledger.n_rows - start)
    buffers = [np.empty((longest, *rest.shape[1:]), jnp.dtype(ledger.dtype)) for _ in range(2)]
    window = ledger.window(ledger.windows_finished)
    kept = writer.restore(ledger.windows_finished, buffers[ledger.windows_finished % 2][: window.stop - window.start])
    n_kept = len(kept) if kept.all() else int(np.argmin(kept))  # the first of them
    chunks = vectors(start + n_kept) if start + n_kept < ledger.n_rows else iter(())
    with progress_bar(ledger.n_rows, title, "rows", start + n_kept) as bar:
        for index in range(ledger.windows_finished, ledger.n_windows):
            window = ledger.window(index)
            block = buffers[index % 2][: window.stop - window.start]
            filled = n_kept if index == ledger.windows_finished else 0
            with np.errstate(over="ignore"):  # the writer rejects what a narrow dtype cannot hold
                while filled < len(block):
                    if not len(rest):
                        rest = next(chunks)
                    taken = rest[: len(block) - filled]
                    block[filled : filled + len(taken)] = taken
                    rest = rest[len(taken) :]
                    writer.keep(index, block, np.arange(filled, filled + len(taken)))
                    filled += len(taken)
                    bar.update(len(taken))
            writer.write(index, block)
        for _ in chunks:  # also where the last rows are no part of any, so that damage there is found
            pass
        writer.flush()
