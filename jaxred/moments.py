"""Moments of all neurons together, from which come both their correlations and the layers' CKA.

`Sums` are what a pass over the rows leaves (`jaxred.streaming`); sums of different rows around one shift add up.
`Moments` are centred at the mean. Second moments are kept as strips: strip i holds tile i's neurons against those of
tile i and all tiles after it, half of the matrix.
"""

import functools
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxred.errors import UserError
from jaxred.files import replace_file
from jaxred.kernels.moments import RowSums

LARGEST_TILE, SMALLEST_TILE = 1024, 128  # neurons; a tile divides a layer where it can


def tile_of(hidden_size: int) -> int:
    """Neurons of a tile: the largest share of a layer that is not too large, or the layer."""
    sizes = range(min(LARGEST_TILE, hidden_size), SMALLEST_TILE - 1, -1)
    return next((size for size in sizes if hidden_size % size == 0), hidden_size)


@dataclass(frozen=True)
class Sums:
    """Sums over some rows of activations x, shifted: u = x - shift."""

    shift: Float[np.ndarray, " neuron"]
    rows: RowSums  # of NumPy arrays
    strips: tuple[Float[np.ndarray, "tile rest"], ...]  # of the sum of u u^T

    def __add__(self, other: "Sums") -> "Sums":
        """Sums over the rows of both, which must have the same shift."""
        if not np.array_equal(self.shift, other.shift):
            raise ValueError("sums around different shifts do not add up")
        mine, theirs = self.rows, other.rows
        rows = RowSums(*(a + b for a, b in zip(mine, theirs, strict=True)))
        rows = rows._replace(low=np.minimum(mine.low, theirs.low), high=np.maximum(mine.high, theirs.high))
        return Sums(self.shift, rows, tuple(a + b for a, b in zip(self.strips, other.strips, strict=True)))

    def around(self, shift: Float[np.ndarray, " neuron"]) -> "Sums":
        """The same sums around another shift, so that sums of several passes add up.

        Multiplied out in float64 and rounded to float32. As either shift is near the mean of its rows, the products
        grow by the distance of the means; nothing cancels.
        """
        moved = shift.astype(np.float64) - self.shift
        rows, n = self.rows, self.n_rows
        total = np.asarray(rows.total, np.float64)
        strips = []
        for start, strip in _placed(self.strips):
            mine = slice(start, start + len(strip))
            change = np.outer(n * moved[mine] - total[mine], moved[start:]) - np.outer(moved[mine], total[start:])
            strips.append((strip + change).astype(np.float32))
        norms, weighted = _moved(self, moved)
        rows = rows._replace(
            total=(total - n * moved).astype(np.float32),
            norms=norms.astype(np.float32),
            weighted=weighted.astype(np.float32),
        )
        return Sums(shift.astype(np.float32), rows, tuple(strips))

    @property
    def n_rows(self) -> int:
        return int(self.rows.count)


@dataclass(frozen=True)
class Moments:
    """Centred moments of all neurons over a set of rows."""

    n_rows: int
    n_layers: int
    mean: Float[np.ndarray, " neuron"]
    strips: tuple[Float[np.ndarray, "tile rest"], ...]  # of the sum over rows of (x - mean)(x - mean)^T
    constant: Bool[np.ndarray, " neuron"]  # their moments are exact zeros
    norms: Float[np.ndarray, "layer layer"]  # sum over rows of |x_l - mean_l|^2 |x_m - mean_m|^2

    @classmethod
    def of(cls, sums: Sums) -> "Moments":
        """Centres sums.

        Raises:
            UserError: if they are of fewer than 2 rows.
        """
        if sums.n_rows < 2:
            raise UserError(f"Correlations need at least 2 rows of activations, but there are {sums.n_rows}.")
        rows, n = sums.rows, sums.n_rows
        offset = np.asarray(rows.total, np.float64) / n
        constant = np.asarray(rows.low == rows.high)
        strips = []
        for start, strip in _placed(sums.strips):
            mine = slice(start, start + len(strip))
            centred = strip - np.outer(rows.total[mine], offset[start:].astype(np.float32))
            centred[constant[mine]] = 0
            centred[:, constant[start:]] = 0
            strips.append(centred)
        mean = (sums.shift + offset).astype(np.float32)
        return cls(n, len(rows.norms), mean, tuple(strips), constant, _moved(sums, offset)[0])

    @property
    def n_neurons(self) -> int:
        return len(self.mean)

    @property
    def hidden_size(self) -> int:
        return self.n_neurons // self.n_layers

    def variance(self) -> Float[np.ndarray, " neuron"]:
        """Of each neuron, in float64, with n - 1 in the denominator."""
        diagonal = np.concatenate([np.diagonal(strip) for strip in self.strips])
        return diagonal.astype(np.float64) / (self.n_rows - 1)

    def centred(self) -> Float[np.ndarray, "neuron neuron"]:
        """The sum over rows of (x - mean)(x - mean)^T, whole."""
        return self._whole(np.ones(self.n_neurons, np.float32))

    def correlation(self) -> Float[np.ndarray, "neuron neuron"]:
        """Pearson's r between neurons; equals `nan_to_num(np.corrcoef(X.T))` with ones on the diagonal.

        A constant neuron has no correlation: it gets 0 with every other neuron, as in the original.
        """
        deviation = np.sqrt(self.variance() * (self.n_rows - 1))
        inverse = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0).astype(np.float32)
        correlation = self._whole(inverse)
        np.clip(correlation, -1, 1, out=correlation)
        np.fill_diagonal(correlation, 1)
        return correlation

    def _whole(self, scale: Float[np.ndarray, " neuron"]) -> Float[np.ndarray, "neuron neuron"]:
        """Both halves of the matrix, rows and columns multiplied by a scale; no copy of it is made on the way."""
        whole = np.empty((self.n_neurons, self.n_neurons), np.float32)
        for start, strip in _placed(self.strips):
            stop = start + len(strip)
            mine = whole[start:stop, start:]
            np.multiply(strip, scale[start:stop, None], out=mine)
            mine *= scale[start:]
            own = mine[:, : len(strip)]
            own[:] = (own + own.T) / 2
            whole[stop:, start:stop] = mine[:, len(strip) :].T
        return whole

    def cka(self, debiased: bool = False) -> Float[np.ndarray, "layer layer"]:
        """Linear CKA between layers (Kornblith et al. 2019; Dalvi et al. 2020, section 5.1).

        CKA(X, Y) = ||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F), columns centred. NaN for a layer whose neurons are all
        constant: its similarity to anything is not defined.

        Args:
            debiased: take the unbiased estimator of HSIC (Song et al. 2007) in place of each squared norm, so that few
                rows of many neurons do not look alike; it may be below 0. NaN also with fewer than 4 rows.
        """
        n_tiles, per_layer = len(self.strips), len(self.strips) // self.n_layers
        tiles = np.zeros((n_tiles, n_tiles))
        for i, strip in enumerate(self.strips):
            blocks = strip.reshape(len(strip), n_tiles - i, -1)
            tiles[i, i:] = tiles[i:, i] = [np.square(blocks[:, j], dtype=np.float64).sum() for j in range(n_tiles - i)]
        similarity = tiles.reshape(self.n_layers, per_layer, self.n_layers, per_layer).sum((1, 3))
        if debiased:
            n, traces = self.n_rows, self.variance().reshape(self.n_layers, -1).sum(1) * (self.n_rows - 1)
            if n < 4:
                return np.full_like(similarity, np.nan)
            similarity += np.outer(traces, traces) / ((n - 1) * (n - 2)) - n / (n - 2) * self.norms
        own = np.sqrt(np.maximum(np.diagonal(similarity), 0))
        scale = np.outer(own, own)
        return np.divide(similarity, scale, out=np.full_like(similarity, np.nan), where=scale > 0)


def _placed(strips: Sequence[np.ndarray]) -> list[tuple[int, np.ndarray]]:
    """Each strip with the neuron at which it starts."""
    n_neurons = strips[0].shape[1]
    return [(n_neurons - strip.shape[1], strip) for strip in strips]


def _moved(
    sums: Sums, offset: Float[np.ndarray, " neuron"]
) -> tuple[Float[np.ndarray, "layer layer"], Float[np.ndarray, "layer neuron"]]:
    """Sums over rows of |u_l - d_l|^2 |u_m - d_m|^2 and of |u_l - d_l|^2 (u - d), where d is the offset.

    All is multiplied out in float64. With a = |u_l|^2, e = d_l u_l and c = |d_l|^2, a row's shares are
    (a_l - 2 e_l + c_l)(a_m - 2 e_m + c_m) and (a_l - 2 e_l + c_l)(u - d).
    """
    rows, n, n_layers = sums.rows, sums.n_rows, len(sums.rows.norms)
    each = offset.reshape(n_layers, -1)
    c = np.square(each).sum(1)
    weighted, total = np.asarray(rows.weighted, np.float64), np.asarray(rows.total, np.float64)
    apart = np.zeros((n_layers, len(offset)))  # row l: d_l at its own neurons
    apart[np.repeat(np.arange(n_layers), each.shape[1]), np.arange(len(offset))] = offset
    e_u = np.zeros_like(apart)  # sum of e_l u
    for start, strip in _placed(sums.strips):
        stop, right = start + len(strip), strip.astype(np.float64)
        e_u[:, start:] += apart[:, start:stop] @ right
        e_u[:, start:stop] += apart[:, stop:] @ right[:, len(strip) :].T
    e = apart @ total  # sum of e_l
    a_e = weighted @ apart.T  # sum of a_l e_m
    # The sums of a over rows are the traces of u u^T, layer by layer.
    trace = np.concatenate([np.diagonal(strip) for strip in sums.strips]).astype(np.float64)
    a = trace.reshape(n_layers, -1).sum(1)
    norms = (
        np.asarray(rows.norms, np.float64)
        - 2 * (a_e + a_e.T)
        + 4 * (e_u @ apart.T)
        + np.outer(a, c)
        + np.outer(c, a)
        - 2 * (np.outer(e, c) + np.outer(c, e))
        + n * np.outer(c, c)
    )
    return norms, weighted - 2 * e_u + np.outer(c, total) - np.outer(a - 2 * e + n * c, offset)


def save(path: Path, parts: Sequence[Sums], identity: dict[str, Any], n_runs: int | None = None) -> None:
    """Writes sums with what they are the sums of.

    Args:
        path: the file, replaced whole or not at all.
        parts: sums around one shift.
        identity: what decided them.
        n_runs: of an unfinished pass, how many runs of rows it has seen.
    """
    arrays: dict[str, np.ndarray] = {"shift": parts[0].shift}
    for i, sums in enumerate(parts):
        arrays |= {f"{i}.{name}": np.asarray(value) for name, value in sums.rows._asdict().items()}
        arrays |= {f"{i}.strip.{j}": strip for j, strip in enumerate(sums.strips)}
    described = {"identity": identity, "parts": len(parts), "strips": len(parts[0].strips), "runs": n_runs}
    description = np.array(json.dumps(described, sort_keys=True))
    replace_file(path, functools.partial(np.savez, **arrays, description=description))


def load(path: Path, identity: dict[str, Any]) -> tuple[list[Sums], int | None] | None:
    """Sums saved for this identity, and how many runs of rows an unfinished pass had seen; None where there are none,
    or only those of something else, or a damaged file.
    """
    try:
        with np.load(path, allow_pickle=False) as saved:
            described = json.loads(str(saved["description"]))
            if described["identity"] != identity:
                return None
            shift, parts = saved["shift"], []
            for i in range(described["parts"]):
                rows = RowSums(*(saved[f"{i}.{name}"] for name in RowSums._fields))
                parts.append(Sums(shift, rows, tuple(saved[f"{i}.strip.{j}"] for j in range(described["strips"]))))
            return parts, described["runs"]
    except (OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None
