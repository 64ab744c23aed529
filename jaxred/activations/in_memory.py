"""Activations in memory, which are taken wherever a store is."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxred.activations.store import Store
from jaxred.activations.store.chunk_sizes import run_rows
from jaxred.activations.store.ledger import Ledger
from jaxred.errors import UserError

_WINDOW_ROWS = 4096


class HiddenStates:
    """Every layer's vectors of some texts, [row, layer, neuron], in float32; layer 0 is the embedding output.

    Example:
        >>> states = jaxred.hidden_states(["a fine film", "a bore"])
        >>> states.shape, states.matrix().shape
        ((2, 7, 384), (2, 2688))
    """

    def __init__(self, values: np.ndarray, sentence_index: np.ndarray | None = None):
        """Takes an array.

        Args:
            values: [row, layer, neuron].
            sentence_index: [row], ascending, where the rows are words; by default every row is a sentence.

        Raises:
            UserError: the array has another number of axes, no rows, or numbers that are not finite.
        """
        values = np.asarray(values)
        if values.ndim != 3 or not values.size or not np.issubdtype(values.dtype, np.floating):
            fix = "leave the rows out" if not values.size else "pass numbers, as in values.astype('float32')"
            if values.ndim == 2:
                fix = "reshape it to (rows, layers, neurons), as in values[:, None] for one layer"
            elif values.ndim != 3:
                fix = "pass one vector for each row and layer"
            raise UserError(
                f"Activations are [row, layer, neuron] of floats, but here is {values.dtype} of shape {values.shape}: "
                f"{fix}."
            )
        values = values.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            row, layer, neuron = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise UserError(
                f"The activation of row {row}, layer {layer}, neuron {neuron} is {values[row, layer, neuron]}, but "
                "finite numbers are expected: leave that row out."
            )
        self._values = values
        self._sentence_index = np.arange(len(values)) if sentence_index is None else np.asarray(sentence_index)

    def __repr__(self) -> str:
        n_rows, n_layers, hidden_size = self.shape
        return f"<HiddenStates: {n_rows:,} rows x {n_layers} layers x {hidden_size:,} neurons>"

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._values, dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, int, int]:
        n_rows, n_layers, hidden_size = self._values.shape
        return n_rows, n_layers, hidden_size

    @property
    def n_rows(self) -> int:
        return self.shape[0]

    @property
    def n_layers(self) -> int:
        return self.shape[1]

    @property
    def hidden_size(self) -> int:
        return self.shape[2]

    def matrix(self) -> Float[np.ndarray, "row neuron"]:
        """[row, layer * hidden_size + neuron]: one column per neuron, as probes take them."""
        return self._values.reshape(len(self), -1)

    def layer(self, layer: int) -> Float[np.ndarray, "row neuron"]:
        """One layer's vectors."""
        return self._values[:, layer]

    def sentence_index(self) -> Int[np.ndarray, " row"]:
        """Each row's sentence."""
        return self._sentence_index

    def windows(self, first: int = 0, step: int = 1) -> Iterator[tuple[slice, Float[np.ndarray, "row layer neuron"]]]:
        """Some rows at a time, as `Store.windows` gives them."""
        run = run_rows(_WINDOW_ROWS)
        starts = range(0, self.n_rows, run)
        for start in starts[first::step]:
            rows = slice(start, min(start + run, self.n_rows))
            yield rows, self._values[rows]


class MemoryWriter:
    """Takes the windows of an extraction into memory, in place of a `StoreWriter`."""

    def __init__(self, ledger: Ledger):
        self.ledger = ledger
        self.windows = [*range(ledger.n_windows)]
        self.values = np.empty((ledger.n_rows, ledger.n_layers, ledger.hidden_size), np.float32)

    def restore(self, index: int, block: Float[np.ndarray, "row layer neuron"]) -> Bool[np.ndarray, " row"]:
        """No row of a window is there already."""
        return np.zeros(len(block), bool)

    def keep(self, index: int, block: Float[np.ndarray, "row layer neuron"], rows: Int[np.ndarray, " done"]) -> None:
        """Rows of a window that is not whole yet need not be kept."""

    def write(
        self, index: int, block: Float[np.ndarray, "row layer neuron"], notes: dict[str, Any] | None = None
    ) -> None:
        """Takes a window."""
        self.values[self.ledger.window(index)] = block

    def finish(self) -> None:
        """Nothing waits."""


def as_activations(given: Any) -> "Store | HiddenStates":
    """A store, activations in memory, or an array [row, layer, neuron] as what can be read in windows.

    Args:
        given: one of these, or the path of a store.

    Raises:
        UserError: it is none of them.
    """
    if isinstance(given, Store | HiddenStates):
        return given
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        return Store(given)
    try:
        return HiddenStates(np.asarray(given))
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"Activations are an array [row, layer, neuron], but here is a {type(given).__name__} of rows of different "
            "shapes: pass one vector for each row and layer."
        ) from None
