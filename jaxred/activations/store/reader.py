"""Reads finished stores."""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from jaxtyping import Float

from jaxred.activations.store.chunk_sizes import first_not_finite, run_rows
from jaxred.activations.store.damage import damaged_files, lost_files
from jaxred.activations.store.kvstore import (
    REFUSALS,
    TRANSFER_SECONDS,
    answer,
    child,
    list_keys,
    local_folder,
    open_kvstore,
)
from jaxred.activations.store.ledger import read_ledger, remedy
from jaxred.activations.store.links import refuse_links_out
from jaxred.errors import UserError
from jaxred.io.files import refuse_special
from jaxred.io.memory import available_bytes
from jaxred.io.reasons import reason_of


class Store:
    """A finished store, open for reading; as an array it is float32 [row, layer, neuron].

    Rows are in the order of the task's file; layer 0 is the embedding output. `store[rows, layer]` reads what an array
    would give, and no more; `np.asarray(store)` reads all of it.

    Example:
        >>> store = Store("runs/sst2/activations/train")
        >>> store
        <Store runs/sst2/activations/train: 6,920 rows x 13 layers x 768 neurons, float32>
        >>> store.matrix().shape, store[:100, -1].shape, store.labels()[:2]
        ((6920, 9984), (100, 768), array(['1', '0'], dtype='<U1'))
    """

    def __init__(self, location: str | Path):
        """Opens a finished store.

        Raises:
            UserError: if there is no store, it is not finished, a shard is missing, or its ledger is damaged or of
                another version.
        """
        self.location = str(location)
        self._kvstore = open_kvstore(self.location)
        refuse_links_out(self.location)
        ledger = read_ledger(self.location)
        if ledger is None:
            raise UserError(
                f"{self.location} is not an activation store: it has no ledger.json. Extract one with jaxred extract."
            )
        if not ledger.finished:
            raise UserError(
                f"The activation store {self.location} is not finished: {ledger.windows_finished} of "
                f"{ledger.n_windows} windows are "
                "written. Run the extraction again; it resumes where it stopped."
            )
        self.ledger = ledger
        folder = local_folder(self.location)
        if folder is not None:
            for key in list_keys(self._kvstore, "", self.location):
                refuse_special(folder / key, "a file of an activation store")
        self._refuse(lost_files(self.location, ledger))
        self._hidden_states = self._open("hidden_states", (ledger.n_rows, ledger.n_layers, ledger.hidden_size))

    def __repr__(self) -> str:
        kept = f" ({', '.join(map(str, self.ledger.layers))})" if self.ledger.layers else ""
        shape = f"{self.n_rows:,} rows x {self.n_layers} layers{kept} x {self.hidden_size:,} neurons"
        return f"<Store {self.location}: {shape}, {self.ledger.dtype}>"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, layers and neurons per layer."""
        return self.n_rows, self.n_layers, self.hidden_size

    @property
    def ndim(self) -> int:
        return 3

    @property
    def dtype(self) -> np.dtype:
        """Of what is read, whatever is stored."""
        return np.dtype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of the store, in memory.

        Raises:
            UserError: if it does not fit in memory, or is damaged.
        """
        if copy is False:
            raise ValueError(f"{self!r} cannot be an array without a copy: it is on a disk.")
        return np.asarray(self.matrix().reshape(self.shape), dtype)

    def __getitem__(self, index: Any) -> Float[np.ndarray, "..."]:
        """What an array [row, layer, neuron] gives for an index: numbers, slices, and at most one array.

        Raises:
            IndexError: for other indices, and those that do not exist.
            UserError: if what is asked for does not fit in memory, or is damaged.
        """
        parts = index if isinstance(index, tuple) else (index,)
        dots = [i for i, part in enumerate(parts) if part is Ellipsis]
        if dots:
            parts = parts[: dots[0]] + (slice(None),) * (4 - len(parts)) + parts[dots[0] + 1 :]
        parts += (slice(None),) * (3 - len(parts))
        arrays = [part for part in parts if not isinstance(part, int | np.integer | slice)]
        if len(parts) > 3 or len(arrays) > 1 or any(part is None or np.ndim(part) != 1 for part in arrays):
            raise IndexError(
                f"{self!r} is indexed by rows, layers and neurons, of which one may be a list or an array of one axis: "
                "take the others by slices or numbers, or use np.asarray(store)."
            )
        chosen = [
            np.asarray(np.arange(size)[part]) for size, part in zip(self.shape, parts, strict=True)
        ]  # by NumPy's rules
        self._require_memory(*(each.size for each in chosen))
        if not all(each.size for each in chosen):
            return np.empty([each.size for each in chosen if each.ndim], np.float32)
        stored = ts.cast(self._hidden_states, ts.float32).oindex[tuple(_as_slice(each) for each in chosen)]
        block = np.asarray(self._wait(stored.read(), "hidden_states"))
        if first_not_finite(block) is not None:
            raise self._damaged("hidden_states", ValueError("it holds a number that is not finite"))
        return block

    def verify(self) -> None:
        """Reads all of the store, for its checksums.

        Raises:
            UserError: if anything is damaged.
        """
        self._refuse(damaged_files(self.location, self.ledger))

    def _refuse(self, damaged: dict[str, str]) -> None:
        for file, fault in damaged.items():
            raise UserError(
                f"The activation store {self.location} is damaged: its file {file} {fault}. {remedy(self.ledger)}"
            )

    def check_unchanged(self) -> None:
        """Checks that no other process has replaced the store since it was opened.

        Raises:
            UserError: if one has.
        """
        if read_ledger(self.location) != self.ledger:
            raise UserError(f"The activation store {self.location} was replaced by another process: run again.")

    @property
    def has_words(self) -> bool:
        """Whether a row is a word, and not a sentence."""
        return self.ledger.rows == "word"

    @property
    def n_rows(self) -> int:
        return self.ledger.n_rows

    @property
    def layers(self) -> list[int]:
        """The encoder's layers that the store has, in the order of its axis."""
        return self.ledger.layers or [*range(self.n_layers)]

    @property
    def n_layers(self) -> int:
        return self.ledger.n_layers

    @property
    def hidden_size(self) -> int:
        return self.ledger.hidden_size

    def labels(self) -> np.ndarray:
        """Each row's label: a class name (classification) or a score (regression)."""
        values = self._read("labels")
        longest = 4 * max(map(len, self.ledger.label_names), default=0)  # bytes
        if longest * len(values) > available_bytes():
            raise UserError(
                f"The activation store {self.location} has a class of {longest // 4:,} characters, and one label per "
                f"row so wide would take {longest * len(values) / 1e9:,.1f} GB: shorten the labels, and make it again."
            )
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

    def windows(
        self, first: int = 0, step: int = 1, run: int | None = None
    ) -> Iterator[tuple[slice, Float[np.ndarray, "row layer neuron"]]]:
        """Reads the store a run of rows at a time, in float32; the next is read while the caller works on this one.

        A run is the rows of whole inner chunks.

        Args:
            first: the run to start with.
            step: read every `step`-th run.
            run: the rows per run, if they must be another store's.
        """
        slices = self._runs(run)[first::step]
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
            rows: which rows, in which order, each at most once; all by default.
            out: where to put them; new memory by default.

        Raises:
            UserError: if new memory does not suffice, or the store is damaged.

        Example:
            >>> store.matrix(np.arange(100)).shape
            (100, 9984)
        """
        rows = np.arange(self.n_rows) if rows is None else np.asarray(rows)
        if out is None:
            self._require_memory(len(rows), self.n_layers, self.hidden_size)
        matrix = np.empty((len(rows), self.n_layers * self.hidden_size), np.float32) if out is None else out
        self.fill((rows, matrix))
        return matrix

    def fill(self, *targets: tuple[np.ndarray, Float[np.ndarray, "_row neuron"]]) -> None:
        """Fills several matrices, as `matrix` does one, while the store is read once.

        Args:
            targets: for each matrix its rows, in order, each at most once, and where to put them.
        """
        positions = [np.full(self.n_rows, -1) for _ in targets]
        for position, (rows, _) in zip(positions, targets, strict=True):
            position[rows] = np.arange(len(rows))
        matrices = [matrix for _, matrix in targets]
        pending: deque[tuple[Any, np.ndarray, slice, list[tuple[np.ndarray, np.ndarray]]]] = deque()
        spare: list[np.ndarray] = []
        for run in self._runs():
            moves = [(matrix, position[run]) for matrix, position in zip(matrices, positions, strict=True)]
            space = _in_place(moves)
            if space is not None:
                moves = []
            elif spare:  # new memory for every run would take as long as reading it
                space = spare.pop()[: run.stop - run.start]
            else:
                space = np.empty((run.stop - run.start, self.n_layers * self.hidden_size), np.float32)
            block = space.reshape(len(space), self.n_layers, self.hidden_size)
            future = ts.array(block).write(ts.cast(self._hidden_states, ts.float32)[run])
            pending.append((future, block, run, moves))
            if len(pending) > 1:
                spare += self._place(*pending.popleft())
        while pending:
            self._place(*pending.popleft())

    def _require_memory(self, n_rows: int, n_layers: int, n_neurons: int) -> None:
        needed, free = 4 * n_rows * n_layers * n_neurons, available_bytes()
        if needed > free:
            raise UserError(
                f"{n_rows:,} rows x {n_layers} layers x {n_neurons:,} neurons of the activation store {self.location} "
                f"take {needed / 1e9:,.1f} GB in float32, but {free / 1e9:,.1f} GB of memory are free: take fewer rows "
                "or one layer, read it by `windows`, or pass a numpy.memmap as `out`."
            )

    def _place(
        self,
        future: Any,
        block: Float[np.ndarray, "run layer neuron"],
        run: slice,
        moves: list[tuple[np.ndarray, np.ndarray]],
    ) -> list[np.ndarray]:
        """Waits for a run and moves its rows into the matrices; nothing moves if they were read into them.

        Returns:
            The memory that may be used again, if any.
        """
        self._wait(future, "hidden_states")
        self._refuse_not_finite(block, run.start, 0)
        values = block.reshape(len(block), -1)
        for matrix, target in moves:
            chosen = np.flatnonzero(target >= 0)
            if len(chosen):
                matrix[target[chosen]] = values if len(chosen) == len(values) else values[chosen]
        return [values] if moves else []

    def _block(self, rows: slice, layers: slice) -> np.ndarray:
        return self._finish(self._start(rows, layers), rows, layers.start or 0)

    def _start(self, rows: slice, layers: slice) -> Any:
        return ts.cast(self._hidden_states, ts.float32)[rows, layers].read()

    def _runs(self, run: int | None = None) -> list[slice]:
        """The rows that are read at once: `run` of them, or those of inner chunks."""
        rows = run or run_rows(self.ledger.window_rows)
        return [slice(start, min(start + rows, self.n_rows)) for start in range(0, self.n_rows, rows)]

    def _finish(self, future: Any, rows: slice, first_layer: int) -> np.ndarray:
        block = self._wait(future, "hidden_states")
        self._refuse_not_finite(block, rows.start, first_layer)
        return block

    def _wait(self, future: Any, name: str) -> Any:
        try:
            return answer(future, TRANSFER_SECONDS)
        except REFUSALS as error:
            raise self._damaged(name, error) from error

    def _refuse_not_finite(self, block: np.ndarray, first_row: int, first_layer: int) -> None:
        bad = first_not_finite(block)
        if bad is not None:
            row, layer, neuron = bad
            raise UserError(
                f"The activation store {self.location} holds {block[bad]} at row {first_row + row}, layer "
                f"{first_layer + layer}, neuron {neuron}. {remedy(self.ledger)}"
            )

    def _open(self, name: str, shape: tuple[int, ...]) -> Any:
        try:
            array = answer(ts.open({"driver": "zarr3", "kvstore": child(self._kvstore, name)}), TRANSFER_SECONDS)
        except REFUSALS as error:
            raise self._damaged(name, error) from error
        if tuple(array.shape) != shape:
            raise self._damaged(name, ValueError(f"its shape is {tuple(array.shape)}, the ledger's is {shape}"))
        return array

    def _read(self, name: str) -> np.ndarray:
        return self._wait(self._open(name, (self.n_rows,)).read(), name)

    def _damaged(self, name: str, error: Exception) -> UserError:
        return UserError(
            f"The activation store {self.location} is damaged in {name} ({reason_of(error)}). {remedy(self.ledger)}"
        )


def _in_place(moves: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray | None:
    """The rows of the one matrix that a run is read into directly; None if its rows must be moved."""
    if len(moves) > 1:
        return None
    ((matrix, target),) = moves
    if not matrix.flags.c_contiguous or target[0] < 0 or not (np.diff(target) == 1).all():
        return None
    return matrix[target[0] : target[0] + len(target)]


def _as_slice(chosen: np.ndarray) -> Any:
    """A number, or a slice for positions that follow each other, which TensorStore reads faster than others."""
    if not chosen.ndim:
        return int(chosen)
    return slice(int(chosen[0]), int(chosen[-1]) + 1) if (np.diff(chosen) == 1).all() else chosen
