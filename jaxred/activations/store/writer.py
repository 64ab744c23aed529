"""Writes stores, window by window.

A writer commits only to the ledger that it wrote or resumed: if another process replaced that, it stops, and
before the last window is entered it looks whether all files are those that it wrote. So no store of two processes is
taken for whole, also where there are no locks.
"""

import contextlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from jaxtyping import Bool, Float, Int

from jaxred.activations.store.chunk_sizes import first_not_finite, inner_rows
from jaxred.activations.store.disk_space import require_room, size
from jaxred.activations.store.kvstore import (
    REFUSALS,
    TRANSFER_SECONDS,
    answer,
    child,
    list_keys,
    local_folder,
    open_kvstore,
)
from jaxred.activations.store.ledger import Ledger, changes, read_version, write_ledger
from jaxred.activations.store.links import refuse_links_out
from jaxred.activations.store.unfinished_rows import FOLDER, UnfinishedRows
from jaxred.errors import UserError
from jaxred.io.locks import LOCK_FILE
from jaxred.io.reasons import reason_of

_OWN = (
    "ledger",
    "zarr",
    "hidden_states",
    "labels",
    "sentence_index",
    "word_index",
    FOLDER,
)  # files and folders of a store
_PLACE = "`workdir` (`output` of jaxred convert)"


class StoreWriter:
    """Writes a store window by window, or resumes one that an earlier run left unfinished.

    Example:
        >>> ledger = Ledger({"from": "my model"}, len(values), 13, 768, "float32", 512, ["no", "yes"])
        >>> writer = StoreWriter("my/store", ledger, class_ids, np.arange(len(values), dtype=np.int32))
        >>> for window in range(writer.ledger.windows_finished, ledger.n_windows):
        ...     writer.write(window, values[ledger.window(window)])
        >>> writer.flush()
    """

    def __init__(
        self,
        location: str | Path,
        ledger: Ledger,
        labels: np.ndarray,
        sentence_index: np.ndarray,
        overwrite: bool = False,
        word_index: np.ndarray | None = None,
    ):
        """Creates the store, or opens it to resume after its last finished window.

        Args:
            location: a directory or kvstore URL.
            ledger: what is to be stored; its `windows_finished` and `notes` are taken from the store if it exists.
            labels: [row] class ids into `ledger.label_names`, or scores.
            sentence_index: [row].
            overwrite: replace a store of another identity, or a damaged one; never what is no store.
            word_index: [row], where `ledger.rows` is 'word', and only there.

        Raises:
            UserError: if the place holds something else, a store of another identity, or one whose finished windows
                are damaged; or if the disk has no room for what is still to be written.
        """
        assert (word_index is not None) == (ledger.rows == "word"), "word_index goes with rows that are words"
        self.location = str(location)
        self._kvstore = open_kvstore(self.location)
        refuse_links_out(self.location)
        self._version = b""  # the storage's mark of the ledger that is ours
        present = self._resume(ledger, overwrite)
        self.ledger = present or ledger
        require_room(self.location, self.ledger)
        if present is None:
            self._commit(self.ledger)
        if not self.ledger.finished:  # again, where an earlier run may not have written them all
            arrays = {"labels": labels, "sentence_index": sentence_index}
            self._write_rows(arrays if word_index is None else {**arrays, "word_index": word_index})
        self._hidden_states = self._create(
            "hidden_states",
            shape=[ledger.n_rows, ledger.n_layers, ledger.hidden_size],
            shard=[ledger.window_rows, 1, ledger.hidden_size],
            chunk=[inner_rows(ledger.window_rows), 1, ledger.hidden_size],
            dtype=ledger.dtype,
            fill_value="NaN",
            names=["row", "layer", "neuron"],
        )
        self._pending: tuple[int, Any, dict[str, Any]] | None = None
        self._written: dict[str, tuple[int, int, int]] = {}  # the shards, as the file system knew them then
        self._unfinished = UnfinishedRows(self._kvstore, self.location, self.ledger)
        if self.ledger.finished:
            self._unfinished.close()

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
            index: the window; windows are written in order.
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
        self._check_own()
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
            raise self._refused(f"window {index}", error) from error
        self._written |= self._stats(index)
        if index + 1 == self.ledger.n_windows:
            self._check_written()
        totals = {**self.ledger.notes, **{k: self.ledger.notes.get(k, 0) + v for k, v in notes.items()}}
        self.ledger = replace(self.ledger, windows_finished=index + 1, notes=totals)
        self._commit(self.ledger)
        self._unfinished.remove(index)
        if self.ledger.finished:
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

    def _check_own(self) -> None:
        """Checks that no other process has replaced the ledger."""
        try:
            ledger_bytes = answer(self._kvstore.read("ledger.json"), TRANSFER_SECONDS)
        except REFUSALS as error:
            raise self._refused("the ledger", error) from error
        if ledger_bytes.stamp.generation != self._version:
            raise self._lost()

    def _check_written(self) -> None:
        """Rejects to finish a store whose files are not all those that this writer wrote."""
        windows = {int(shard.split("/")[2]) for shard in self._written}
        stats = {shard: stat for window in windows for shard, stat in self._stats(window).items()}
        changed = [shard for shard, stat in self._written.items() if stats.get(shard) != stat]
        if changed:
            with contextlib.suppress(*REFUSALS):  # else the next run would take it for its own
                answer(self._kvstore.write("ledger.json", None, if_equal=self._version), TRANSFER_SECONDS)
            raise UserError(
                f"Another process has written {changed[0]} of the activation store {self.location} while this one made "
                "it, so it is not used: run again with overwrite=True, one process at a time."
            )

    def _lost(self) -> UserError:
        return UserError(
            f"Another process has taken over the activation store {self.location} while this one wrote it, so this one "
            "stops: run again when the other is done."
        )

    def _resume(self, ledger: Ledger, overwrite: bool) -> Ledger | None:
        """The ledger to resume, or None for a new store (an old one is deleted only with `overwrite`)."""
        try:
            present, self._version = read_version(self.location)
        except UserError:
            if not overwrite:
                raise
            present = None
        if present is None:
            keys = list_keys(self._kvstore, "", self.location)
            keys = [key for key in keys if key != LOCK_FILE]
            others = [key for key in keys if key.split("/")[0].split(".json")[0] not in _OWN]
            if others:
                raise UserError(
                    f"{self.location} is not an activation store, but holds {others[0]}, which overwrite=True does not "
                    f"remove either: choose another {_PLACE}."
                )
            if keys and not overwrite:
                raise UserError(
                    f"{self.location} holds what is left of an activation store: choose another place, or pass "
                    "overwrite=True to replace it."
                )
            if keys:
                self._delete(ledger)
            return None
        changed = changes(present, ledger)
        damage = None if changed else self._damage(present)
        if not changed and damage is None:
            return present
        if damage is not None and not overwrite:
            raise UserError(
                f"The unfinished activation store {self.location} cannot be resumed: {damage}, as a power cut can "
                "leave it. Delete this folder, or pass overwrite=True, to make it again."
            )
        if not overwrite:
            raise UserError(
                f"{self.location} holds activations of another configuration: {'; '.join(changed)}. Choose another "
                f"{_PLACE}, or pass overwrite=True to replace them."
            )
        self._delete(ledger)
        return None

    def _damage(self, ledger: Ledger) -> str | None:
        """What is wrong with the windows that the ledger says are finished: the disk may not have had them yet."""
        index = 0
        try:
            for index in range(ledger.windows_finished):
                array = answer(
                    ts.open({"driver": "zarr3", "kvstore": child(self._kvstore, "hidden_states")}), TRANSFER_SECONDS
                )
                if first_not_finite(answer(array[ledger.window(index)].read(), TRANSFER_SECONDS)) is not None:
                    return f"its window {index} is missing"
        except REFUSALS as error:
            return f"its window {index} is damaged ({reason_of(error)})"
        return None

    def _delete(self, ledger: Ledger) -> None:
        """Removes what a store is made of, the ledger first, and nothing else that lies there, if another fits then."""
        folder = local_folder(self.location)
        require_room(self.location, ledger, 0 if folder is None else size(folder, _OWN))
        try:
            for name in _OWN:
                answer(self._kvstore.write(f"{name}.json", None), TRANSFER_SECONDS)
                inside = ts.KvStore.KeyRange(f"{name}/", f"{name}0")  # "0" follows "/"
                answer(self._kvstore.delete_range(inside), TRANSFER_SECONDS)
            left = answer(self._kvstore.read("ledger.json"), TRANSFER_SECONDS)
            if left.state != "missing":
                raise self._lost()
            self._version = left.stamp.generation
        except REFUSALS as error:
            raise self._refused("over the old files", error) from error

    def _write_rows(self, arrays: dict[str, np.ndarray]) -> None:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"label_names": self.ledger.label_names}}
        try:
            answer(self._kvstore.write("zarr.json", json.dumps(group).encode()), TRANSFER_SECONDS)
            for name, values in arrays.items():
                shape = list(values.shape)
                unknown = "NaN" if values.dtype.kind == "f" else -1
                array = self._create(name, shape, shape, shape, values.dtype.name, unknown, ["row"])
                answer(array.write(values), TRANSFER_SECONDS)
        except REFUSALS as error:
            raise self._refused("labels", error) from error

    def _create(
        self,
        name: str,
        shape: list[int],
        shard: list[int],
        chunk: list[int],
        dtype: str,
        fill_value: Any,
        names: list[str],
    ) -> Any:
        codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        metadata = {
            "shape": shape,
            "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
            "codecs": [
                {
                    "name": "sharding_indexed",
                    "configuration": {"chunk_shape": chunk, "codecs": codecs, "index_codecs": codecs},
                }
            ],
            "fill_value": fill_value,
            "dimension_names": names,
        }
        spec = {
            "driver": "zarr3",
            "kvstore": child(self._kvstore, name),
            "metadata": metadata,
            "store_data_equal_to_fill_value": True,
        }
        try:
            return answer(ts.open(spec, create=True, open=True), TRANSFER_SECONDS)
        except REFUSALS as error:
            raise self._refused(name, error) from error

    def _commit(self, ledger: Ledger) -> None:
        try:
            version = write_ledger(self._kvstore, ledger, self._version)
        except REFUSALS as error:
            raise self._refused("the ledger", error) from error
        if version is None:
            raise self._lost()
        self._version = version

    def _refused(self, what: str, error: Exception) -> UserError:
        return UserError(
            f"Cannot write {what} of the activation store {self.location} ({reason_of(error)}). Make room or choose "
            f"another {_PLACE}, and run again: finished windows are kept."
        )
