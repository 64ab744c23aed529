"""Makes the place of a store, or opens what an earlier run left there: all but its windows."""

import json
from typing import Any

import numpy as np
import tensorstore as ts

from jaxred.activations.store.chunk_sizes import inner_rows
from jaxred.activations.store.damage import lost_files, unreadable_windows
from jaxred.activations.store.disk_space import require_room, size
from jaxred.activations.store.kvstore import REFUSALS, TRANSFER_SECONDS, answer, child, list_keys, local_folder
from jaxred.activations.store.ledger import Ledger, changes, read_version, write_ledger
from jaxred.activations.store.marks import FOLDER as MARKS
from jaxred.activations.store.unfinished_rows import FOLDER as UNFINISHED
from jaxred.errors import UserError
from jaxred.io.locks import LOCK_FILE
from jaxred.io.reasons import reason_of

_OWN = "ledger", "zarr", "hidden_states", "labels", "sentence_index", "word_index", UNFINISHED, MARKS  # of a store
_PLACE = "`workdir` (`output` of jaxred convert)"


class Place:
    """Where a store lies, and the version of its ledger that is this process's."""

    def __init__(self, kvstore: Any, location: str):
        self.kvstore, self.location = kvstore, location
        self._version = b""  # the storage's mark of it

    def open_or_make(self, ledger: Ledger, arrays: dict[str, np.ndarray], overwrite: bool, mend: bool) -> Ledger:
        """The ledger of the store that is there, or of a new one that has no windows yet.

        Args:
            ledger: of the store that is wanted.
            arrays: what else there is of each row, by name.
            overwrite: replace a store of another identity, or a damaged one; never what is no store.
            mend: windows that are damaged are no reason to refuse the store.

        Raises:
            UserError: as `StoreWriter`.
        """
        present = self._resumed(ledger, overwrite, mend)
        found = present or ledger
        require_room(self.location, found)
        if present is None:
            self.commit(found)
        whole = found.finished and not any(file.split("/")[0] in arrays for file in lost_files(self.location, found))
        if not whole:  # again, where an earlier run may not have written them all
            self._write_rows(arrays, found.label_names)
        return found

    def join(self, ledger: Ledger) -> Ledger:
        """The ledger of the store that another process of this work has opened or made.

        Raises:
            UserError: it is of other activations.
        """
        present, self._version = read_version(self.location)
        changed = ["it is not there"] if present is None else changes(present, ledger)
        if present is None or changed:
            raise UserError(
                f"The activation store {self.location} is not the one that this process was to help with: "
                f"{'; '.join(changed)}. Give all processes the same files and the same configuration, and a place that "
                "all of them reach."
            )
        return present

    def create_hidden_states(self, ledger: Ledger) -> Any:
        """The array of the hidden states, made where it is not there."""
        return self._create(
            "hidden_states",
            shape=[ledger.n_rows, ledger.n_layers, ledger.hidden_size],
            shard=[ledger.window_rows, 1, ledger.hidden_size],
            chunk=[inner_rows(ledger.window_rows), 1, ledger.hidden_size],
            dtype=ledger.dtype,
            fill_value="NaN",
            names=["row", "layer", "neuron"],
        )

    def commit(self, ledger: Ledger) -> None:
        """Replaces the ledger.

        Raises:
            UserError: another process has, or the storage fails.
        """
        try:
            version = write_ledger(self.kvstore, ledger, self._version)
        except REFUSALS as error:
            raise self.refused("the ledger", error) from error
        if version is None:
            raise self._lost()
        self._version = version

    def check_own(self) -> None:
        """Checks that no other process has replaced the ledger.

        Raises:
            UserError: one has, or the storage fails.
        """
        try:
            ledger_bytes = answer(self.kvstore.read("ledger.json"), TRANSFER_SECONDS)
        except REFUSALS as error:
            raise self.refused("the ledger", error) from error
        if ledger_bytes.stamp.generation != self._version:
            raise self._lost()

    def remove_ledger(self) -> None:
        """Removes the ledger, so that the next run takes what is here for no one's."""
        answer(self.kvstore.write("ledger.json", None, if_equal=self._version), TRANSFER_SECONDS)

    def refused(self, what: str, error: Exception) -> UserError:
        """Why something could not be written."""
        return UserError(
            f"Cannot write {what} of the activation store {self.location} ({reason_of(error)}). Make room or choose "
            f"another {_PLACE}, and run again: finished windows are kept."
        )

    def _lost(self) -> UserError:
        return UserError(
            f"Another process has taken over the activation store {self.location} while this one wrote it, so this one "
            "stops: run again when the other is done."
        )

    def _resumed(self, ledger: Ledger, overwrite: bool, mend: bool) -> Ledger | None:
        """The ledger to resume, or None for a new store (an old one is deleted only with `overwrite`)."""
        try:
            present, self._version = read_version(self.location)
        except UserError:
            if not overwrite:
                raise
            present = None
        if present is None:
            self._require_empty(ledger, overwrite)
            return None
        changed = changes(present, ledger)
        damage = {} if changed or mend else self._damage(present)
        if not changed and not damage:
            return present
        if damage and not overwrite:
            window, fault = next(iter(damage.items()))
            raise UserError(
                f"The unfinished activation store {self.location} cannot be resumed: its window {window} is {fault}, "
                "as a power cut can leave it. Delete this folder, or pass overwrite=True, to make it again."
            )
        if not overwrite:
            raise UserError(
                f"{self.location} holds activations of another configuration: {'; '.join(changed)}. Choose another "
                f"{_PLACE}, or pass overwrite=True to replace them."
            )
        self._delete(ledger)
        return None

    def _damage(self, ledger: Ledger) -> dict[int, str]:
        return unreadable_windows(self.kvstore, ledger, [*range(ledger.windows_finished)])

    def _require_empty(self, ledger: Ledger, overwrite: bool) -> None:
        """Rejects a place without a ledger that holds something; what is left of a store is deleted, if that is
        wanted.
        """
        keys = [key for key in list_keys(self.kvstore, "", self.location) if key != LOCK_FILE]
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

    def _delete(self, ledger: Ledger) -> None:
        """Removes what a store is made of, the ledger first, and nothing else that lies there, if another fits then."""
        folder = local_folder(self.location)
        require_room(self.location, ledger, 0 if folder is None else size(folder, _OWN))
        try:
            for name in _OWN:
                answer(self.kvstore.write(f"{name}.json", None), TRANSFER_SECONDS)
                inside = ts.KvStore.KeyRange(f"{name}/", f"{name}0")  # "0" follows "/"
                answer(self.kvstore.delete_range(inside), TRANSFER_SECONDS)
            left = answer(self.kvstore.read("ledger.json"), TRANSFER_SECONDS)
            if left.state != "missing":
                raise self._lost()
            self._version = left.stamp.generation
        except REFUSALS as error:
            raise self.refused("over the old files", error) from error

    def _write_rows(self, arrays: dict[str, np.ndarray], label_names: list[str]) -> None:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"label_names": label_names}}
        try:
            answer(self.kvstore.write("zarr.json", json.dumps(group).encode()), TRANSFER_SECONDS)
            for name, values in arrays.items():
                shape = list(values.shape)
                unknown = "NaN" if values.dtype.kind == "f" else -1
                array = self._create(name, shape, shape, shape, values.dtype.name, unknown, ["row"])
                answer(array.write(values), TRANSFER_SECONDS)
        except REFUSALS as error:
            raise self.refused("labels", error) from error

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
            "kvstore": child(self.kvstore, name),
            "metadata": metadata,
            "store_data_equal_to_fill_value": True,
        }
        try:
            return answer(ts.open(spec, create=True, open=True), TRANSFER_SECONDS)
        except REFUSALS as error:
            raise self.refused(name, error) from error
