"""Marks of finished windows, which the processes leave that write one store together.

A mark is a file `finished/<window>` of a store: its notes, with a checksum. The first process counts them in the ledger
once all are there, and removes them; the next run goes on from those that it finds. One that is damaged or of another
store is not heeded.
"""

import json
import re
from typing import Any

import tensorstore as ts

from jaxred.activations.store.kvstore import REFUSALS, TRANSFER_SECONDS, answer, list_keys, remove_folder
from jaxred.activations.store.ledger import Ledger, checksum, plan_digest
from jaxred.io.files import parse_json

FOLDER = "finished"


class Marks:
    """The marks in a store."""

    def __init__(self, kvstore: Any, location: str, ledger: Ledger):
        self._kvstore, self._location, self._identity = kvstore, location, plan_digest(ledger)

    def write(self, window: int, notes: dict[str, Any]) -> None:
        """Marks a window as finished."""
        content = {"identity": self._identity, "notes": notes}
        content["checksum"] = checksum(content)
        answer(self._kvstore.write(f"{FOLDER}/{window}", json.dumps(content).encode()), TRANSFER_SECONDS)

    def read(self) -> dict[int, dict[str, Any]]:
        """The notes of the windows that are marked."""
        found = {}
        for key in list_keys(self._kvstore, f"{FOLDER}/", self._location):
            if match := re.fullmatch(rf"{FOLDER}/(\d+)", key):
                raw = answer(self._kvstore.read(key), TRANSFER_SECONDS)
                try:
                    content = parse_json(raw.value)
                    expected = content.pop("checksum")
                    if content["identity"] == self._identity and expected == checksum(content):
                        found[int(match[1])] = dict(content["notes"])
                except (ValueError, KeyError, TypeError, AttributeError):
                    continue
        return found

    def remove(self, window: int) -> None:
        """Removes the mark of a window that must be written again."""
        answer(self._kvstore.write(f"{FOLDER}/{window}", None), TRANSFER_SECONDS)

    def clear(self) -> None:
        """Removes all of them, once the ledger says that the store is finished."""
        if not list_keys(self._kvstore, f"{FOLDER}/", self._location):
            return
        try:
            answer(self._kvstore.delete_range(ts.KvStore.KeyRange(f"{FOLDER}/", f"{FOLDER}0")), TRANSFER_SECONDS)
        except REFUSALS:  # they stay, and do no harm
            return
        remove_folder(self._location, FOLDER)
