"""Writes stores, window by window.

A writer commits only to the ledger that it wrote or resumed: if another process replaced that, it stops, and
before the last window is entered it looks whether all files are those that it wrote. So no store of two processes is
taken for whole, also where there are no locks.

The processes of `jax.distributed` may write one store together: the first makes it, each marks the windows that it has
written (`marks.py`), and the first counts them in the ledger when all are there.
"""

import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxred.activations.store.chunk_sizes import first_not_finite
from jaxred.activations.store.damage import lost_files, remove_files, unreadable_windows, windows_of
from jaxred.activations.store.kvstore import REFUSALS, TRANSFER_SECONDS, answer, local_folder, open_kvstore
from jaxred.activations.store.ledger import Ledger
from jaxred.activations.store.links import refuse_links_out
from jaxred.activations.store.making import Place
from jaxred.activations.store.marks import Marks
from jaxred.activations.store.unfinished_rows import UnfinishedRows
from jaxred.errors import UserError
from jaxred.io.processes import n_processes, own_number, own_share, wait_for_all

log = logging.getLogger("jaxred")


class StoreWriter:
    """Writes a store window by window, or resumes one that an earlier run left unfinished.

    Example:
        >>> ledger = Ledger({"from": "my model"}, len(values), 13, 768, "float32", 512, ["no", "yes"])
        >>> writer = StoreWriter("my/store", ledger, class_ids, np.arange(len(values), dtype=np.int32))
        >>> for window in writer.windows:
        ...     writer.write(window, values[ledger.window(window)])
        >>> writer.finish()
    """

    def __init__(
        self,
        location: str | Path,
        ledger: Ledger,
        labels: np.ndarray,
        sentence_index: np.ndarray,
        overwrite: bool = False,
        word_index: np.ndarray | None = None,
        any_order: bool = False,
    ):
        """Creates the store, or opens it to resume after its last finished window.

        Args:
            location: a directory or kvstore URL.
            ledger: what is to be stored; its `windows_finished` and `notes` are taken from the store if it exists.
            labels: [row] class ids into `ledger.label_names`, or scores.
            sentence_index: [row].
            overwrite: replace a store of another identity, or a damaged one; never what is no store.
            word_index: [row], where `ledger.rows` is 'word', and only there.
            any_order: the caller can write whichever windows `windows` names, and not just the last ones: those that
                are damaged are written again, also of a finished store, and the processes of `jax.distributed`, all of
                which come here, share the work.

        Raises:
            UserError: if the place holds something else, a store of another identity, or one whose finished windows
                are damaged; or if the disk has no room for what is still to be written.
        """
        assert (word_index is not None) == (ledger.rows == "word"), "word_index goes with rows that are words"
        self.location = str(location)
        self._together = any_order and n_processes() > 1
        self._place = Place(open_kvstore(self.location), self.location)
        refuse_links_out(self.location)
        arrays = {"labels": labels, "sentence_index": sentence_index}
        if word_index is not None:
            arrays["word_index"] = word_index
        if not self._together or own_number() == 0:
            self.ledger = self._place.open_or_make(ledger, arrays, overwrite, any_order)
        if self._together:
            wait_for_all("opened the activation store")
            self.ledger = self._place.join(ledger)
        self._hidden_states = self._place.create_hidden_states(ledger)
        self._pending: tuple[int, Any, dict[str, Any]] | None = None
        self._written: dict[str, tuple[int, int, int]] = {}  # the shards, as the file system knew them then
        self._marked: dict[int, dict[str, Any]] = {}  # the notes of windows that are finished and not counted yet
        self._marks = Marks(self._place.kvstore, self.location, self.ledger)
        self._unfinished = UnfinishedRows(self._place.kvstore, self.location, self.ledger)
        self.windows = self._left() if any_order else [*range(self.ledger.windows_finished, self.ledger.n_windows)]
        if not self.windows and not self._together:
            self._close()

    def restore(self, index: int, block: Float[np.ndarray, "row layer neuron"]) -> Bool[np.ndarray, " row"]:
        """Fills in the rows of a window that a killed run had kept, and says which they are."""
        return self._unfinished.restore(index, block)

    def keep(self, index: int, block: Float[np.ndarray, "row layer neuron"], rows: Int[np.ndarray, " done"]) -> None:
        """Keeps rows of a window that is not whole yet, every few seconds, so that a killed run loses no more.

        Args:
            index: the window.
            block: its rows, some still to be filled.
            rows: which of them have been filled since the last call.
        """
        self._unfinished.add(index, block, rows)

    def write(
        self, index: int, block: Float[np.ndarray, "row layer neuron"], notes: dict[str, Any] | None = None
    ) -> None:
        """Starts writing a window, and enters the one before it in the ledger once it is safely written.

        Args:
            index: the window; those of `windows` are written in their order.
            block: its rows, already of the stored dtype; to be left as they are until the next window has been given.
            notes: counts of this window, added to those in the ledger when the window is entered.

        Raises:
            UserError: if a value is not finite, or the storage fails (disk full, no permission).
        """
        rows = self.ledger.window(index)
        bad = first_not_finite(block)
        if bad is not None:
            row, layer, neuron = bad
            wider = (
                "; store it as float32 or bfloat16 (`config.extraction.dtype`, or `dtype` of jaxred convert)"
                if self.ledger.dtype == "float16"
                else ""
            )
            giver = "file" if "imported" in self.ledger.identity else "encoder"
            raise UserError(
                f"The {giver} gave {block[bad]} for row {rows.start + row}, layer {layer}, neuron {neuron}, "
                f"which {self.ledger.dtype} activations cannot be{wider}."
            )
        self.flush()
        self._place.check_own()
        future = self._hidden_states[rows].write(block, can_reference_source_data_indefinitely=True)  # no copy is made
        self._pending = (index, future, notes or {})
        self._unfinished.start()

    def flush(self) -> None:
        """Waits for the window being written and enters it in the ledger."""
        if self._pending is None:
            return
        index, future, notes = self._pending
        self._pending = None
        try:
            answer(future, TRANSFER_SECONDS)
        except REFUSALS as error:
            raise self._place.refused(f"window {index}", error) from error
        self._written |= self._stats(index)
        is_last = [index] == self.windows[-1:]
        if is_last:
            self._check_written()
        self._enter(index, notes)
        self._unfinished.remove(index)
        if is_last and not self._together:
            self._close()

    def finish(self) -> None:
        """Waits for the last window and, where processes write together, for theirs too; the store is finished then.

        Raises:
            UserError: another process has stopped, or has not written what it was to write.
        """
        self.flush()
        if not self._together:
            return
        wait_for_all(f"written their windows of {self.location}")
        if own_number() == 0:
            self._close()
            if not self.ledger.finished or lost_files(self.location, self.ledger):
                raise UserError(
                    f"The activation store {self.location} lacks windows that other processes have written: give all "
                    "of them a place that each of them reaches, and run again."
                )
        wait_for_all(f"seen that {self.location} is finished")

    def _left(self) -> list[int]:
        """The windows that this process writes: those that are not there or not whole; of several, its share."""
        ledger = self.ledger
        if ledger.finished:
            left = own_share(windows_of(lost_files(self.location, ledger)))
            wait_for_all("seen which windows are lost")
            self._remove(left)
            return [*left]
        counted, marked = range(ledger.windows_finished), sorted(self._marks.read())
        damaged = unreadable_windows(self._place.kvstore, ledger, [*own_share(counted), *own_share(marked)])
        for window, fault in damaged.items():
            log.warning("%s: window %d is %s: it is extracted again", self.location, window, fault)
            self._marks.remove(window)
        wait_for_all("read the finished windows")
        self._marked = self._marks.read()
        if not self._together:
            self._count(self._marked)
        rest = [
            window for window in range(self.ledger.windows_finished, ledger.n_windows) if window not in self._marked
        ]
        wait_for_all("seen which windows are left")
        again, own = [window for window in damaged if window < ledger.windows_finished], own_share(rest)
        self._remove([*again, *(window for window in own if window in damaged)])
        return [*again, *own]

    def _remove(self, windows: Sequence[int]) -> None:
        """Removes what is left of damaged windows, with which TensorStore would put together what is written."""
        try:
            remove_files(self.location, (file for window in windows for file in self.ledger.shards_of(window)))
        except REFUSALS as error:
            raise self._place.refused("over damaged windows", error) from error

    def _enter(self, index: int, notes: dict[str, Any]) -> None:
        """Notes that a window is finished."""
        if index < self.ledger.windows_finished:
            return  # it was written again, and is counted
        if not self._together:
            self._marked[index] = notes
            self._count(self._marked)
            return
        try:
            self._marks.write(index, notes)
        except REFUSALS as error:
            raise self._place.refused(f"the mark of window {index}", error) from error

    def _count(self, finished: dict[int, dict[str, Any]]) -> None:
        """Counts the windows in the ledger that follow those counted, as far as they are finished.

        Args:
            finished: their notes.
        """
        ledger, n, totals = self.ledger, self.ledger.windows_finished, dict(self.ledger.notes)
        while n in finished:
            totals |= {name: totals.get(name, 0) + count for name, count in finished[n].items()}
            n += 1
        if n > ledger.windows_finished:
            self.ledger = replace(ledger, windows_finished=n, notes=totals)
            self._place.commit(self.ledger)

    def _close(self) -> None:
        """Counts what is finished and, where that is all, removes what was kept until then."""
        if self._together:
            self._count(self._marks.read())
        if self.ledger.finished:
            self._marks.clear()
            self._unfinished.close()

    def _stats(self, index: int) -> dict[str, tuple[int, int, int]]:
        """The files of a window as the file system knows them; of a store that is no folder, none."""
        folder, stats = local_folder(self.location), {}
        if folder is not None:
            for shard in self.ledger.shards_of(index):
                with contextlib.suppress(OSError):
                    stat = os.stat(folder / shard)
                    stats[shard] = stat.st_ino, stat.st_size, stat.st_mtime_ns
        return stats

    def _check_written(self) -> None:
        """Rejects to finish a store whose files are not all those that this writer wrote."""
        windows = {int(shard.split("/")[2]) for shard in self._written}
        stats = {shard: stat for window in windows for shard, stat in self._stats(window).items()}
        changed = [shard for shard, stat in self._written.items() if stats.get(shard) != stat]
        if changed:
            with contextlib.suppress(*REFUSALS):  # else the next run would take it for its own
                self._place.remove_ledger()
            raise UserError(
                f"Another process has written {changed[0]} of the activation store {self.location} while this one made "
                "it, so it is not used: run again with overwrite=True, one process at a time."
            )
