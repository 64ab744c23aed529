"""The activation store: the only place that touches TensorStore.

A store is a directory (or any TensorStore kvstore URL) that holds one split of one task under one encoder::

    ledger.json        what the store is, how many rows are planned and how many windows are finished
    zarr.json          makes the whole a zarr v3 group, which zarr-python opens
    hidden_states/     zarr v3, [row, layer, neuron]; a shard is a window of rows with all layers, an inner chunk is
                       (rows, one layer, all neurons), so that one layer or a prefix of layers is read alone
    labels/            [row], class ids (int32, names in the ledger) or scores (float64)
    sentence_index/    [row], the position of the row's sentence in the task's file
    word_index/        [row], the position of the row's word in its sentence; only where a row is a word, which the
                       ledger says in `rows` (a ledger without that field is one of sentences)

Every chunk carries a CRC-32C checksum. A window is written whole and only then entered in the ledger, so that a
killed run resumes at the next window; a store whose ledger does not say that all windows are finished is not read.
Missing chunks read as NaN and are refused.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from jaxtyping import Float

from jaxred.errors import UserError

FORMAT = 1
CHUNK_ROWS = 512  # rows of an inner chunk: 0.8 MB at 384 neurons in float32


@dataclass(frozen=True)
class Ledger:
    """What a store holds and how far it is.

    `identity` says what decided the numbers (model, tokenizer, pooling, source, dtypes); two stores with equal
    identities hold equal activations.
    """

    identity: dict[str, Any]
    n_rows: int
    n_layers: int  # hidden states a row has: the embedding output and every transformer layer
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

    @property
    def n_windows(self) -> int:
        return -(-self.n_rows // self.window_rows)

    @property
    def finished(self) -> bool:
        return self.windows_finished == self.n_windows

    def window(self, index: int) -> slice:
        """The rows of a window."""
        return slice(index * self.window_rows, min((index + 1) * self.window_rows, self.n_rows))


class Store:
    """A finished store, open for reading."""

    def __init__(self, location: str | Path):
        """Opens a finished store.

        Raises:
            UserError: if there is no store, it is not finished, a shard is missing, or its ledger is damaged or of
                another version.
        """
        self.location = str(location)
        self._kvstore = _kvstore(self.location)
        ledger = read_ledger(self.location)
        if ledger is None:
            raise UserError(
                f"{self.location} is not an activation store: it has no ledger.json. Extract one with "
                f"launch/extract.py."
            )
        if not ledger.finished:
            raise UserError(
                f"The activation store {self.location} is not finished: {ledger.windows_finished} of "
                f"{ledger.n_windows} windows are "
                "written. Run the extraction again; it resumes where it stopped."
            )
        self.ledger = ledger
        shards = [f"hidden_states/c/{i}/0/0" for i in range(ledger.n_windows)]
        shards += [f"{name}/c/0" for name in ("labels", "sentence_index", *(["word_index"] if self.has_words else []))]
        present = set(_list(self._kvstore, "", self.location))
        missing = [shard for shard in shards if shard not in present]
        if missing and ledger.n_rows:
            raise UserError(
                f"The activation store {self.location} is cut short: its shard {missing[0]} is missing. {_MEND}"
            )
        self._hidden_states = self._open("hidden_states", (ledger.n_rows, ledger.n_layers, ledger.hidden_size))

    @property
    def has_words(self) -> bool:
        """Whether a row is a word, and not a sentence."""
        return self.ledger.rows == "word"

    @property
    def n_rows(self) -> int:
        return self.ledger.n_rows

    @property
    def n_layers(self) -> int:
        return self.ledger.n_layers

    @property
    def hidden_size(self) -> int:
        return self.ledger.hidden_size

    def labels(self) -> np.ndarray:
        """Each row's label: a class name (classification) or a score (regression)."""
        values = self._read("labels")
        return np.array(self.ledger.label_names)[values] if self.ledger.label_names else values

    def sentence_index(self) -> np.ndarray:
        """Each row's sentence: its position among the task's examples."""
        return self._read("sentence_index")

    def word_index(self) -> np.ndarray:
        """Each row's word: its position in its sentence.

        Raises:
            UserError: if a row is a sentence.
        """
        if not self.has_words:
            raise UserError(f"The activation store {self.location} has no word_index: its rows are sentences.")
        return self._read("word_index")

    def layer(self, layer: int) -> Float[np.ndarray, "row neuron"]:
        """One layer of all rows, in float32; layer 0 is the embedding output."""
        if not 0 <= layer < self.n_layers:
            raise UserError(
                f"Layer {layer} does not exist: the store {self.location} has layers 0 to {self.n_layers - 1}."
            )
        return self._block(slice(0, self.n_rows), slice(layer, layer + 1))[:, 0]

    def windows(self) -> Iterator[tuple[slice, Float[np.ndarray, "row layer neuron"]]]:
        """Reads the store a run of rows at a time, in float32; the next is read while the caller works on this one.

        Runs are the rows of inner chunks, so that the memory of one is used again by the next but one.
        """
        inner = _inner_rows(self.ledger.window_rows)
        rows = inner * max(1, CHUNK_ROWS // inner)
        slices = [slice(start, min(start + rows, self.n_rows)) for start in range(0, self.n_rows, rows)]
        future = self._start(slices[0], slice(None)) if slices else None
        for position, rows in enumerate(slices):
            following = self._start(slices[position + 1], slice(None)) if position + 1 < len(slices) else None
            assert future is not None
            yield rows, self._finish(future, rows, 0)
            future = following

    def matrix(
        self, rows: Sequence[int] | np.ndarray | None = None, out: Float[np.ndarray, "row neuron"] | None = None
    ) -> Float[np.ndarray, "row neuron"]:
        """The feature matrix, all layers side by side (column = layer * hidden_size + index), in float32.

        Args:
            rows: the rows wanted, in the order wanted, each at most once; all by default.
            out: where to put them; new memory by default.
        """
        rows = np.arange(self.n_rows) if rows is None else np.asarray(rows)
        place = np.full(self.n_rows, -1)
        place[rows] = np.arange(len(rows))
        matrix = np.empty((len(rows), self.n_layers * self.hidden_size), np.float32) if out is None else out
        for window, block in self.windows():
            target = place[window]
            chosen = np.flatnonzero(target >= 0)
            values = block.reshape(len(block), -1)
            if len(chosen) == len(values) and (np.diff(target) == 1).all():
                matrix[target[0] : target[0] + len(values)] = values
            else:
                matrix[target[chosen]] = values[chosen]
        return matrix

    def _block(self, rows: slice, layers: slice) -> np.ndarray:
        return self._finish(self._start(rows, layers), rows, layers.start or 0)

    def _start(self, rows: slice, layers: slice) -> Any:
        return ts.cast(self._hidden_states, ts.float32)[rows, layers].read()

    def _finish(self, future: Any, rows: slice, first_layer: int) -> np.ndarray:
        try:
            block = future.result()
        except (ValueError, OSError) as error:
            raise self._damaged("hidden_states", error) from error
        bad = first_not_finite(block)
        if bad is not None:
            row, layer, neuron = bad
            raise UserError(
                f"The activation store {self.location} holds {block[bad]} at row {rows.start + row}, layer "
                f"{first_layer + layer}, "
                f"neuron {neuron}. {_MEND}"
            )
        return block

    def _open(self, name: str, shape: tuple[int, ...]) -> Any:
        try:
            array = ts.open({"driver": "zarr3", "kvstore": _child(self._kvstore, name)}).result()
        except (ValueError, OSError) as error:
            raise self._damaged(name, error) from error
        if tuple(array.shape) != shape:
            raise self._damaged(name, ValueError(f"its shape is {tuple(array.shape)}, the ledger's is {shape}"))
        return array

    def _read(self, name: str) -> np.ndarray:
        array = self._open(name, (self.n_rows,))
        try:
            return array.read().result()
        except (ValueError, OSError) as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, error: Exception) -> UserError:
        return UserError(f"The activation store {self.location} is damaged in {name} ({_reason(error)}). {_MEND}")


class StoreWriter:
    """Writes a store window by window, or goes on with one that an earlier run left unfinished."""

    def __init__(
        self,
        location: str | Path,
        ledger: Ledger,
        labels: np.ndarray,
        sentence_index: np.ndarray,
        overwrite: bool = False,
        word_index: np.ndarray | None = None,
    ):
        """Creates the store, or opens it to go on from its last finished window.

        Args:
            location: a directory or kvstore URL.
            ledger: what is to be stored; its `windows_finished` and `notes` are taken from the store if it exists.
            labels: [row] class ids into `ledger.label_names`, or scores.
            sentence_index: [row].
            overwrite: replace a store of another identity, or a damaged one.
            word_index: [row], where `ledger.rows` is 'word', and only there.

        Raises:
            UserError: if the place holds something else, or a store of another identity.
        """
        assert (word_index is not None) == (ledger.rows == "word"), "word_index goes with rows that are words"
        self.location = str(location)
        self._kvstore = _kvstore(self.location)
        present = self._resume(ledger, overwrite)
        self.ledger = present or ledger
        if present is None:
            self._commit(self.ledger)
        if self.ledger.windows_finished == 0:  # also where a run was killed before it had written them all
            arrays = {"labels": labels, "sentence_index": sentence_index}
            self._write_rows(arrays if word_index is None else {**arrays, "word_index": word_index})
        self._hidden_states = self._create(
            "hidden_states",
            shape=[ledger.n_rows, ledger.n_layers, ledger.hidden_size],
            shard=[ledger.window_rows, ledger.n_layers, ledger.hidden_size],
            chunk=[_inner_rows(ledger.window_rows), 1, ledger.hidden_size],
            dtype=ledger.dtype,
            fill_value="NaN",
            names=["row", "layer", "neuron"],
        )
        self._pending: tuple[int, Any, dict[str, Any]] | None = None

    def write(
        self, index: int, block: Float[np.ndarray, "row layer neuron"], notes: dict[str, Any] | None = None
    ) -> None:
        """Starts writing a window, and enters the one before it in the ledger once it is safely written.

        Args:
            index: the window; windows are written in order.
            block: its rows, already of the stored dtype.
            notes: counts of this window, added to those in the ledger when the window is entered.

        Raises:
            UserError: if a value is not finite, or the storage refuses (disk full, no permission).
        """
        rows = self.ledger.window(index)
        bad = first_not_finite(block)
        if bad is not None:
            row, layer, neuron = bad
            wider = (
                "; store it as float32 or bfloat16 (--config.extraction.dtype)"
                if self.ledger.dtype == "float16"
                else ""
            )
            raise UserError(
                f"The encoder gave {block[bad]} for row {rows.start + row}, layer {layer}, neuron {neuron}, "
                f"which {self.ledger.dtype} activations cannot be{wider}."
            )
        self.flush()
        self._pending = (index, self._hidden_states[rows].write(block), notes or {})

    def flush(self) -> None:
        """Waits for the window being written and enters it in the ledger."""
        if self._pending is None:
            return
        index, future, notes = self._pending
        self._pending = None
        try:
            future.result()
        except (ValueError, OSError) as error:
            raise self._refused(f"window {index}", error) from error
        totals = {**self.ledger.notes, **{k: self.ledger.notes.get(k, 0) + v for k, v in notes.items()}}
        self.ledger = replace(self.ledger, windows_finished=index + 1, notes=totals)
        self._commit(self.ledger)

    def _resume(self, ledger: Ledger, overwrite: bool) -> Ledger | None:
        """The ledger to go on from, or None if the store is to be made anew (an old one is deleted only if told so)."""
        try:
            present = read_ledger(self.location)
        except UserError:
            if not overwrite:
                raise
            present = None
        if present is None:
            if _list(self._kvstore, "", self.location):
                if not overwrite:
                    raise UserError(
                        f"{self.location} is not empty and is not an activation store: choose another place, or "
                        f"pass --overwrite to "
                        "replace what is there."
                    )
                self._delete()
            return None
        changed = _changes(present, ledger)
        if not changed:
            return present
        if not overwrite:
            raise UserError(
                f"{self.location} holds activations of another configuration: {'; '.join(changed)}. Choose another "
                f"--workdir, or pass "
                "--overwrite to replace them."
            )
        self._delete()
        return None

    def _delete(self) -> None:
        try:
            self._kvstore.delete_range(ts.KvStore.KeyRange()).result()
        except (ValueError, OSError) as error:
            raise self._refused("over the old files", error) from error

    def _write_rows(self, arrays: dict[str, np.ndarray]) -> None:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"label_names": self.ledger.label_names}}
        try:
            self._kvstore.write("zarr.json", json.dumps(group).encode()).result()
            for name, values in arrays.items():
                shape = list(values.shape)
                unknown = "NaN" if values.dtype.kind == "f" else -1
                array = self._create(name, shape, shape, shape, values.dtype.name, unknown, ["row"])
                array.write(values).result()
        except (ValueError, OSError) as error:
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
            "kvstore": _child(self._kvstore, name),
            "metadata": metadata,
            "store_data_equal_to_fill_value": True,
        }
        try:
            return ts.open(spec, create=True, open=True).result()
        except (ValueError, OSError) as error:
            raise self._refused(name, error) from error

    def _commit(self, ledger: Ledger) -> None:
        content = asdict(ledger)
        content["checksum"] = _checksum(content)
        try:
            self._kvstore.write("ledger.json", json.dumps(content, indent=1).encode()).result()
        except (ValueError, OSError) as error:
            raise self._refused("the ledger", error) from error

    def _refused(self, what: str, error: Exception) -> UserError:
        return UserError(
            f"Cannot write {what} of the activation store {self.location} ({_reason(error)}). Make room or choose "
            f"another --workdir, "
            "and run again: finished windows are kept."
        )


def read_ledger(location: str | Path) -> Ledger | None:
    """The ledger of a store, finished or not; None where there is none.

    Raises:
        UserError: if it is damaged or of another format version.
    """
    try:
        raw = _kvstore(str(location)).read("ledger.json").result()
    except (ValueError, OSError) as error:
        raise UserError(f"Cannot read {location}/ledger.json ({_reason(error)}).") from error
    if raw.state == "missing":
        return None
    try:
        content = json.loads(raw.value)
        checksum = content.pop("checksum")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{location}/ledger.json is damaged: it is not a ledger written by jaxred. {_MEND}") from error
    if content.get("format") != FORMAT:
        raise UserError(
            f"{location} was written in store format {content.get('format')}; this jaxred reads format {FORMAT}. "
            f"{_MEND}"
        )
    if checksum != _checksum(content):
        raise UserError(f"{location}/ledger.json is damaged: its checksum does not fit its content. {_MEND}")
    return Ledger(**content)


def first_not_finite(block: np.ndarray) -> tuple[int, ...] | None:
    """The index of the first NaN or infinite value, or None."""
    with np.errstate(over="ignore", invalid="ignore"):
        finite = block.dtype == np.float32 and bool(np.isfinite(block.sum()))  # one pass, where the next is two
    if finite or np.isfinite(block).all():
        return None
    return tuple(int(i) for i in np.argwhere(~np.isfinite(block))[0])


_MEND = "Delete this folder and run again to extract it anew."


def _changes(old: Ledger, new: Ledger) -> list[str]:
    pairs = [(name, getattr(old, name), getattr(new, name)) for name in ("n_rows", "window_rows", "rows")]
    pairs += [(name, old.identity.get(name), new.identity.get(name)) for name in sorted({*old.identity, *new.identity})]
    return [f"{name} was {before!r} and is now {after!r}" for name, before, after in pairs if before != after]


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _inner_rows(window_rows: int) -> int:
    """Rows of an inner chunk: the largest divisor of the window that is at most CHUNK_ROWS (zarr asks that it
    divides).
    """
    return next(rows for rows in range(min(CHUNK_ROWS, window_rows), 0, -1) if window_rows % rows == 0)


def _kvstore(location: str) -> Any:
    spec = (
        f"{location.rstrip('/')}/" if "://" in location else {"driver": "file", "path": f"{Path(location).absolute()}/"}
    )
    try:
        return ts.KvStore.open(spec).result()
    except (ValueError, OSError) as error:
        raise UserError(f"Cannot open the activation store {location} ({_reason(error)}).") from error


def _child(kvstore: Any, name: str) -> dict[str, Any]:
    spec = kvstore.spec().to_json()
    return {**spec, "path": f"{spec.get('path', '')}{name}/"}


def _list(kvstore: Any, prefix: str, location: str) -> list[str]:
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else ""
    try:
        return [key.decode() for key in kvstore.list(ts.KvStore.KeyRange(prefix, end)).result()]
    except (ValueError, OSError) as error:
        raise UserError(f"Cannot list the files of {location} ({_reason(error)}).") from error


def _reason(error: Exception) -> str:
    """The operating system's or TensorStore's own words, without its dump of the specification."""
    return str(error).split(" [")[0].replace("\n", " ")
