"""The ledger of a store: what it is, how many rows are planned, how many windows are finished."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jaxred.activations.store.chunk_sizes import inner_rows
from jaxred.activations.store.kvstore import (
    ANSWER_SECONDS,
    REFUSALS,
    TRANSFER_SECONDS,
    answer,
    local_folder,
    open_kvstore,
)
from jaxred.errors import UserError
from jaxred.io.files import parse_json, refuse_special
from jaxred.io.reasons import reason_of

FORMAT = 2
_READ = 1, FORMAT  # of format 1, a shard has all layers of a window; it is read, but not resumed
FIX = "Delete this folder and run again to make it again."


_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_CRC, _INDEX_ENTRY = 4, 16  # of a shard


def _shard_size(n_chunks: int, chunk_bytes: int, n_places: int) -> int:
    """The bytes of a shard that holds some of the chunks that it has places for."""
    return n_chunks * (chunk_bytes + _CRC) + n_places * _INDEX_ENTRY + _CRC


@dataclass(frozen=True)
class Ledger:
    """What a store holds and how far it is.

    `identity` says what decided the numbers (model, tokenizer, pooling, source, dtypes); two stores with equal
    identities hold equal activations.
    """

    identity: dict[str, Any]
    n_rows: int
    n_layers: int  # hidden states per row: the embedding output and every transformer layer
    hidden_size: int
    dtype: str
    window_rows: int
    label_names: list[str]  # empty for regression
    encoder_parameters: list[int] = field(
        default_factory=list
    )  # of the encoder cut after each layer, embeddings included
    windows_finished: int = 0
    notes: dict[str, Any] = field(
        default_factory=dict
    )  # facts about the extraction, such as how many sentences were truncated
    format: int = FORMAT
    rows: str = "sentence"  # what a row is: a sentence or a word
    layers: list[int] = field(default_factory=list)  # those that are kept, where not all are

    @property
    def n_windows(self) -> int:
        return -(-self.n_rows // self.window_rows)

    @property
    def finished(self) -> bool:
        return self.windows_finished == self.n_windows

    @property
    def row_arrays(self) -> tuple[str, ...]:
        """The arrays beside the hidden states: one number a row each."""
        return "labels", "sentence_index", *(["word_index"] if self.rows == "word" else [])

    @property
    def shards(self) -> list[str]:
        """The files of the hidden states."""
        return [shard for window in range(self.n_windows) for shard in self.shards_of(window)]

    def shards_of(self, window: int) -> list[str]:
        """The files of a window."""
        layers = range(self.n_layers) if self.format > 1 else [0]
        return [f"hidden_states/c/{window}/{layer}/0" for layer in layers]

    @property
    def shard_sizes(self) -> dict[str, tuple[int, ...]]:
        """The bytes that each file of a finished store may have, so far as they are known: nothing is compressed."""
        if self.format == 1:
            return {}
        inner, n_bytes = inner_rows(self.window_rows), _BYTES[self.dtype] * self.hidden_size
        sizes: dict[str, tuple[int, ...]] = {}
        for window in range(self.n_windows):
            rows = self.window(window)
            chunks = -(-(rows.stop - rows.start) // inner)
            size = _shard_size(chunks, inner * n_bytes, self.window_rows // inner)
            sizes |= {f"hidden_states/c/{window}/{layer}/0": (size,) for layer in range(self.n_layers)}
        numbers = tuple(_shard_size(1, n * self.n_rows, 1) for n in (4, 8))
        return sizes | {f"{name}/c/0": numbers for name in ("labels", "sentence_index", "word_index")}

    def window(self, index: int) -> slice:
        """The rows of a window."""
        return slice(index * self.window_rows, min((index + 1) * self.window_rows, self.n_rows))


def remedy(ledger: Ledger) -> str:
    """What helps where a store is damaged."""
    if "imported" in ledger.identity:
        return FIX
    return "Run its extraction again with verify=True: what is damaged is extracted again."


def read_ledger(location: str | Path) -> Ledger | None:
    """The ledger of a store, finished or not; None where there is none.

    Raises:
        UserError: if it is damaged or of another format version.
    """
    return read_version(location)[0]


def read_version(location: str | Path) -> tuple[Ledger | None, bytes]:
    """The ledger of a store, or None, and the storage's mark of this version of it, by which `write_ledger` knows it.

    Raises:
        UserError: if it is damaged or of another format version.
    """
    folder = local_folder(str(location))
    if folder is not None:
        refuse_special(folder / "ledger.json", "the ledger of an activation store")
    try:
        raw = answer(open_kvstore(str(location)).read("ledger.json"), ANSWER_SECONDS)
    except REFUSALS as error:
        raise UserError(f"Cannot read {location}/ledger.json ({reason_of(error)}).") from error
    if raw.state == "missing":
        return None, raw.stamp.generation
    try:
        content = parse_json(raw.value)
        expected = content.pop("checksum")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{location}/ledger.json is damaged: it is not a ledger written by jaxred. {FIX}") from error
    if content.get("format") not in _READ:
        raise UserError(
            f"{location} was written in store format {content.get('format')}; this jaxred reads formats up to "
            f"{FORMAT}. {FIX}"
        )
    if expected != checksum(content):
        raise UserError(f"{location}/ledger.json is damaged: its checksum does not fit its content. {FIX}")
    return Ledger(**content), raw.stamp.generation


def finished_ledger(location: str | Path, identity: dict[str, Any] | None, overwrite: bool) -> Ledger | None:
    """The ledger of a finished store of that identity, where one lies there.

    Raises:
        UserError: if its ledger is damaged, unless it is to be overwritten.
    """
    if identity is None:
        return None
    try:
        ledger = read_ledger(location)
    except UserError:
        if overwrite:
            return None
        raise
    return ledger if ledger is not None and ledger.finished and ledger.identity == identity else None


def write_ledger(kvstore: Any, ledger: Ledger, version: bytes) -> bytes | None:
    """Replaces that version of a store's ledger, whole or not at all.

    Returns:
        The storage's mark of the new version; None, and nothing is written, where another process replaced it.
    """
    content = _content(ledger)
    content["checksum"] = checksum(content)
    content = json.dumps(content, indent=1).encode()
    written = answer(kvstore.write("ledger.json", content, if_equal=version), TRANSFER_SECONDS)
    return written.generation or None


def changes(old: Ledger, new: Ledger) -> list[str]:
    """What two ledgers disagree on: settings with both values, and what is known by its digest alone without."""
    pairs = [(name, getattr(old, name), getattr(new, name)) for name in ("format", "n_rows", "window_rows", "rows")]
    pairs += [(name, old.identity.get(name), new.identity.get(name)) for name in sorted({*old.identity, *new.identity})]
    return [
        f"the content of {name} differs"
        if _is_digest(before) and _is_digest(after)
        else f"{name} was {before!r} and is now {after!r}"
        for name, before, after in pairs
        if before != after
    ]


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def plan_digest(ledger: Ledger) -> str:
    """Of what a ledger says that a store will be, however far it is."""
    return checksum({**_content(ledger), "windows_finished": 0, "notes": {}})


def _content(ledger: Ledger) -> dict[str, Any]:
    """The fields that are written: `layers` only where not all are kept, so that older versions read the others."""
    return {name: value for name, value in asdict(ledger).items() if name != "layers" or value}


def checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
