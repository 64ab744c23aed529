"""One streaming pass over the activations gives both the neuron correlations and the layer-by-layer CKA matrix."""

import functools
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxred.errors import UserError
from jaxred.files import replace_file
from jaxred.kernels import moments as kernel
from jaxred.store import Store

BLOCK_ROWS = 1024  # rows multiplied at once; short blocks also keep float32 sums accurate


@dataclass(frozen=True)
class Moments:
    """Moments of all neurons over a set of rows."""

    n_rows: int
    mean: Float[np.ndarray, " neuron"]
    centred: Float[np.ndarray, "neuron neuron"]  # sum over rows of (x - mean)(x - mean)^T
    constant: Bool[np.ndarray, " neuron"]

    def correlation(self) -> Float[np.ndarray, "neuron neuron"]:
        """Pearson's r between neurons; equals `nan_to_num(np.corrcoef(X.T))` with ones on the diagonal.

        A constant neuron has no correlation: it gets 0 with every other neuron, as in the original.
        """
        deviation = np.sqrt(np.diagonal(self.centred).astype(np.float64))
        inverse = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0).astype(np.float32)
        correlation = self.centred * inverse[:, None] * inverse[None, :]
        correlation = np.clip((correlation + correlation.T) / 2, -1, 1)
        np.fill_diagonal(correlation, 1)
        return correlation

    def cka(self, hidden_size: int) -> Float[np.ndarray, "layer layer"]:
        """Linear CKA between layers (Kornblith et al. 2019; Dalvi et al. 2020, section 5.1).

        CKA(X, Y) = ||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F), columns centred. NaN for a layer whose neurons are all
        constant: its similarity to anything is not defined.
        """
        n_layers = len(self.mean) // hidden_size
        blocks = self.centred.reshape(n_layers, hidden_size, n_layers, hidden_size)
        norms = np.array(
            [[np.square(blocks[i, :, j], dtype=np.float64).sum() for j in range(n_layers)] for i in range(n_layers)]
        )
        own = np.sqrt(np.diagonal(norms))
        scale = np.outer(own, own)
        return np.divide(norms, scale, out=np.full_like(norms, np.nan), where=scale > 0)


def from_blocks(blocks: Iterable[Float[np.ndarray, "row neuron"]]) -> Moments:
    """Moments over the rows of all blocks, which are read once and need not fit in memory together."""
    update = jax.jit(kernel.update, donate_argnums=0)
    sums = None
    for block in blocks:
        for begin in range(0, len(block), BLOCK_ROWS):
            piece = block[begin : begin + BLOCK_ROWS]
            if sums is None:
                sums = kernel.start(jnp.asarray(piece.mean(0, dtype=np.float64), jnp.float32))
            used = np.arange(BLOCK_ROWS) < len(piece)
            padded = piece if len(piece) == BLOCK_ROWS else np.pad(piece, ((0, BLOCK_ROWS - len(piece)), (0, 0)))
            sums = update(sums, jnp.asarray(padded), jnp.asarray(used))
    if sums is None or float(sums.count) < 2:
        raise UserError("Correlations need at least 2 rows of activations.")
    mean, centred, constant = jax.jit(kernel.finish)(sums)
    return Moments(int(sums.count), np.asarray(mean), np.asarray(centred), np.asarray(constant))


def from_store(
    store: Store, rows: np.ndarray | None = None, progress: Callable[[int], Any] = lambda n: None
) -> Moments:
    """Moments over the rows of a store.

    Args:
        store: the activations.
        rows: which rows; all by default. Their order does not matter.
        progress: told the number of rows of each window as it is read.
    """
    wanted = np.ones(store.n_rows, bool) if rows is None else np.isin(np.arange(store.n_rows), rows)

    def blocks() -> Iterator[np.ndarray]:
        for window, block in store.windows():
            yield block.reshape(len(block), -1)[wanted[window]]
            progress(len(block))

    return from_blocks(blocks())


def save(path: Path, moments: Moments, identity: dict[str, Any]) -> None:
    """Writes moments with what they are the moments of."""
    arrays = {"mean": moments.mean, "centred": moments.centred, "constant": moments.constant}
    described = json.dumps({"identity": identity, "n_rows": moments.n_rows}, sort_keys=True)
    replace_file(path, functools.partial(np.savez, **arrays, description=np.array(described)))


def load(path: Path, identity: dict[str, Any]) -> Moments | None:
    """Moments saved for this identity; None where there are none, or only those of something else, or a damaged
    file.
    """
    try:
        with np.load(path, allow_pickle=False) as saved:
            description = json.loads(str(saved["description"]))
            if description["identity"] != identity:
                return None
            return Moments(description["n_rows"], saved["mean"], saved["centred"], saved["constant"])
    except (OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None
