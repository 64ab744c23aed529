"""The rows of a window that is not whole yet, kept every few seconds, so that a killed run loses no more than those.

A piece is a file `unfinished/<window>-<number>` of a store: a line of JSON, and the rows' vectors. It is removed when
its window is entered in the ledger. One that is damaged or of another store is not used.
"""

import json
import logging
import re
import time
from typing import Any

import jax.numpy as jnp
import numpy as np
import tensorstore as ts
from blake3 import blake3
from jaxtyping import Bool, Float, Int

from jaxred.activations.store.kvstore import REFUSALS, TRANSFER_SECONDS, answer, list_keys, remove_folder
from jaxred.activations.store.ledger import Ledger, plan_digest

log = logging.getLogger("jaxred")

FOLDER = "unfinished"
SECONDS = 2.0  # between pieces, or more:
COST = 100  # pieces take at most a hundredth of the time


class UnfinishedRows:
    """What is kept of the windows that are not whole."""

    def __init__(self, kvstore: Any, location: str, ledger: Ledger):
        self._kvstore, self._location, self._ledger = kvstore, location, ledger
        self._identity = plan_digest(ledger)
        self._next: dict[int, int] = {}  # by window, the number of the next piece
        for key in list_keys(kvstore, f"{FOLDER}/", location):
            if match := re.fullmatch(rf"{FOLDER}/(\d+)-(\d+)", key):
                window, number = map(int, match.groups())
                self._next[window] = max(self._next.get(window, 0), number + 1)
        self._rows: list[np.ndarray] = []
        self._since, self._cost, self._future, self._works = time.monotonic(), 0.0, None, True

    def restore(self, window: int, block: Float[np.ndarray, "row layer neuron"]) -> Bool[np.ndarray, " row"]:
        """Fills in what was kept of a window, and says which rows that are."""
        done = np.zeros(len(block), bool)
        for number in range(self._next.get(window, 0)):
            try:
                raw = answer(self._kvstore.read(f"{FOLDER}/{window}-{number}"), TRANSFER_SECONDS).value
                head, _, values = raw.partition(b"\n")
                header = json.loads(head)
                rows = np.array(header["rows"], np.int64)
                if header["identity"] == self._identity and header["digest"] == _digest(rows, values):
                    vectors = np.frombuffer(values, jnp.dtype(self._ledger.dtype))
                    block[rows] = vectors.reshape(len(rows), *block.shape[1:])
                    done[rows] = True
            except (*REFUSALS, KeyError, TypeError, AttributeError, IndexError):
                continue
        return done

    def add(self, window: int, block: Float[np.ndarray, "row layer neuron"], rows: Int[np.ndarray, " done"]) -> None:
        """Notes that these rows of the block are filled, and keeps what is new where it is time to."""
        self._rows.append(np.asarray(rows))
        begin = time.monotonic()
        if not self._works or begin - self._since < max(SECONDS, COST * self._cost):
            return
        pending = np.concatenate(self._rows)
        values = block[pending].tobytes()
        head = {"identity": self._identity, "rows": pending.tolist(), "digest": _digest(pending, values)}
        number = self._next.get(window, 0)
        try:
            self._wait()
            self._next[window] = number + 1
            content = json.dumps(head).encode() + b"\n" + values
            self._future = self._kvstore.write(f"{FOLDER}/{window}-{number}", content)
        except REFUSALS as error:  # a full disk: the window itself will say so
            log.debug("part of window %d cannot be kept: %s", window, error)
            self._works = False
        self._rows, self._since = [], time.monotonic()
        self._cost = self._since - begin

    def start(self) -> None:
        """Begins with another window."""
        self._rows, self._since = [], time.monotonic()

    def remove(self, window: int) -> None:
        """Removes those of a window that is in the ledger."""
        if self._next.pop(window, 0):
            try:
                self._wait()
                prefix = f"{FOLDER}/{window}-"
                inside = ts.KvStore.KeyRange(prefix, f"{FOLDER}/{window}.")
                answer(self._kvstore.delete_range(inside), TRANSFER_SECONDS)
            except REFUSALS as error:  # it stays, and does no harm
                log.debug("pieces of window %d cannot be removed: %s", window, error)

    def close(self) -> None:
        """Removes what is left once the store is finished."""
        for window in list(self._next):
            self.remove(window)
        remove_folder(self._location, FOLDER)

    def _wait(self) -> None:
        future, self._future = self._future, None
        if future is not None:
            answer(future, TRANSFER_SECONDS)


def _digest(rows: np.ndarray, values: bytes) -> str:
    return blake3(np.asarray(rows, np.int64).tobytes() + b"\n").update(values).hexdigest()
