"""Moments of all neurons together, from which come both their correlations and the layers' CKA.

`Sums` are what a pass over the rows leaves (see `streaming.py`); sums of different rows around one shift add up.
`Moments` are centred at the mean. Of the matrix of second moments the half on and above the diagonal is kept, in
pieces (`moment_sums.places`).
"""

import functools
import json
import logging
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxred.errors import UserError
from jaxred.io.files import replace_file
from jaxred.statistics import moment_sums as kernel
from jaxred.statistics.moment_sums import Place, RowSums

log = logging.getLogger("jaxred")

LARGEST_SQUARE = 640  # neurons of a square on the diagonal: half of what is computed there is computed twice
SMALLEST_VARIANCE = 64 * float(np.finfo(np.float32).tiny)  # below it, squares of float32 are lost
_ROWS_AT_ONCE = 1024  # of the matrix, in float64


def places(n_neurons: int) -> list[Place]:
    """Where the products of sums and moments of so many neurons stand."""
    return kernel.places(n_neurons, LARGEST_SQUARE)


@dataclass(frozen=True)
class Sums:
    """Sums over some rows of activations x, shifted: u = x - shift."""

    shift: Float[np.ndarray, " neuron"]
    rows: RowSums  # of NumPy arrays
    products: tuple[Float[np.ndarray, "_row _column"], ...]  # of the sum of u u^T, at its `places`

    def __add__(self, other: "Sums") -> "Sums":
        """Sums over the rows of both, which must have the same shift."""
        if not np.array_equal(self.shift, other.shift):
            raise ValueError("sums around different shifts do not add up")
        ours, theirs = self.rows, other.rows
        rows = RowSums(*(a + b for a, b in zip(ours, theirs, strict=True)))
        rows = rows._replace(low=np.minimum(ours.low, theirs.low), high=np.maximum(ours.high, theirs.high))
        return Sums(self.shift, rows, tuple(a + b for a, b in zip(self.products, other.products, strict=True)))

    def around(self, shift: Float[np.ndarray, " neuron"]) -> "Sums":
        """The same sums around another shift, so that sums of several passes add up.

        Multiplied out in float64 and rounded to float32. As either shift is near the mean of its rows, the products
        grow by the distance of the means; nothing cancels.
        """
        moved = shift.astype(np.float64) - self.shift
        rows, n = self.rows, self.n_rows
        total = np.asarray(rows.total, np.float64)
        products = tuple(product.copy() for product in self.products)
        for place, piece in _pieces(len(shift), products):
            mine, others = place.rows, place.columns
            piece += np.outer(n * moved[mine] - total[mine], moved[others]) - np.outer(moved[mine], total[others])
        norms, weighted = _moved(self, moved)
        rows = rows._replace(
            total=(total - n * moved).astype(np.float32),
            norms=norms.astype(np.float32),
            weighted=weighted.astype(np.float32),
        )
        return Sums(shift.astype(np.float32), rows, products)

    @property
    def n_rows(self) -> int:
        return int(self.rows.count)


@dataclass(frozen=True)
class Moments:
    """Centred moments of all neurons over a set of rows.

    Example:
        >>> moments = Moments.of(from_store(store))
        >>> moments
        <Moments of 6,920 rows: 13 layers x 768 neurons>
        >>> moments.correlation().shape, moments.cka().shape
        ((9984, 9984), (13, 13))
    """

    n_rows: int
    n_layers: int
    mean: Float[np.ndarray, " neuron"]
    products: tuple[Float[np.ndarray, "_row _column"], ...]  # of the sum of (x - mean)(x - mean)^T, at its `places`
    constant: Bool[np.ndarray, " neuron"]  # their moments are exact zeros
    norms: Float[np.ndarray, "layer layer"]  # sum over rows of |x_l - mean_l|^2 |x_m - mean_m|^2

    def __repr__(self) -> str:
        return f"<Moments of {self.n_rows:,} rows: {self.n_layers} layers x {self.hidden_size:,} neurons>"

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
        mean = (sums.shift + offset).astype(np.float32)
        products = tuple(product.copy() for product in sums.products)
        for place, piece in _pieces(len(mean), products):
            piece -= np.outer(rows.total[place.rows], offset[place.columns].astype(np.float32))
        unseen = _diagonal(len(mean), products) / (n - 1) < SMALLEST_VARIANCE
        constant = np.asarray(rows.low == rows.high) | unseen
        moments = cls(n, len(rows.norms), mean, products, constant, _moved(sums, offset)[0])
        moments._forget(constant)
        return moments

    def without(self, neurons: Int[np.ndarray, " gone"]) -> "Moments":
        """The moments with some neurons as if they were constant, so that CKA does not see them."""
        gone = np.isin(np.arange(self.n_neurons), neurons)
        products = tuple(product.copy() for product in self.products)
        rest = replace(self, products=products, constant=self.constant | gone)
        rest._forget(gone)
        return rest

    def _forget(self, neurons: Bool[np.ndarray, " neuron"]) -> None:
        for place, product in zip(places(self.n_neurons), self.products, strict=True):
            product[neurons[place.rows]] = 0
            product[:, neurons[place.columns]] = 0

    @property
    def n_neurons(self) -> int:
        return len(self.mean)

    @property
    def hidden_size(self) -> int:
        return self.n_neurons // self.n_layers

    def variance(self) -> Float[np.ndarray, " neuron"]:
        """Of each neuron, in float64, with n - 1 in the denominator."""
        return _diagonal(self.n_neurons, self.products) / (self.n_rows - 1)

    def centred(self) -> Float[np.ndarray, "neuron neuron"]:
        """The sum over rows of (x - mean)(x - mean)^T, whole."""
        return self._whole(np.ones(self.n_neurons, np.float32))

    def correlation(self) -> Float[np.ndarray, "neuron neuron"]:
        """Pearson's r between neurons; equals `nan_to_num(np.corrcoef(X.T))` with ones on the diagonal.

        A constant neuron has no correlation: it gets 0 with every other neuron, as in the original. So does one that
        varies less than SMALLEST_VARIANCE, where the original has the correlation of what is left of it.
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
        for place, product in zip(places(self.n_neurons), self.products, strict=True):
            mine = whole[place.rows, place.columns]
            np.multiply(product, scale[place.rows, None], out=mine)
            mine *= scale[place.columns]
            if place.is_corner:
                whole[place.columns, place.rows] = mine.T
            else:
                mine[:] = (mine + mine.T) / 2
        return whole

    def _layers(self, neurons: slice) -> tuple[slice, Int[np.ndarray, " layer"]]:
        """The layers that some neurons are of, and where each begins among them."""
        first, last = neurons.start // self.hidden_size, (neurons.stop - 1) // self.hidden_size
        return slice(first, last + 1), np.maximum(np.arange(first, last + 1) * self.hidden_size - neurons.start, 0)

    def cka(self, debiased: bool = False) -> Float[np.ndarray, "layer layer"]:
        """Linear CKA between layers (Kornblith et al. 2019; Dalvi et al. 2020, section 5.1).

        CKA(X, Y) = ||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F), columns centred. NaN for a layer whose neurons are all
        constant: its similarity to anything is not defined.

        Args:
            debiased: take the unbiased estimator of HSIC (Song et al. 2007) in place of each squared norm, so that few
                rows of many neurons do not look alike; it may be below 0. NaN also with fewer than 4 rows.
        """
        similarity = np.zeros((self.n_layers, self.n_layers))
        for place, piece in _pieces(self.n_neurons, self.products):
            (above, tops), (before, lefts) = self._layers(place.rows), self._layers(place.columns)
            squares = np.add.reduceat(np.square(piece, dtype=np.float64), lefts, axis=1)
            sums = np.add.reduceat(squares, tops, axis=0)
            similarity[above, before] += sums
            if place.is_corner:
                similarity[before, above] += sums.T
        if debiased:
            n, traces = self.n_rows, self.variance().reshape(self.n_layers, -1).sum(1) * (self.n_rows - 1)
            if n < 4:
                return np.full_like(similarity, np.nan)
            similarity += np.outer(traces, traces) / ((n - 1) * (n - 2)) - n / (n - 2) * self.norms
        own = np.sqrt(np.maximum(np.diagonal(similarity), 0))
        scale = np.outer(own, own)
        return np.divide(similarity, scale, out=np.full_like(similarity, np.nan), where=scale > 0)


def _pieces(n_neurons: int, products: Sequence[np.ndarray]) -> Iterator[tuple[Place, np.ndarray]]:
    """The products, a few rows of the matrix at a time, with where these stand."""
    for place, product in zip(places(n_neurons), products, strict=True):
        for start in range(0, len(product), _ROWS_AT_ONCE):
            piece = product[start : start + _ROWS_AT_ONCE]
            top = place.top + start
            yield place._replace(top=top, bottom=top + len(piece)), piece


def _diagonal(n_neurons: int, products: Sequence[np.ndarray]) -> Float[np.ndarray, " neuron"]:
    squares = [p for place, p in zip(places(n_neurons), products, strict=True) if not place.is_corner]
    return np.concatenate([np.diagonal(square) for square in squares]).astype(np.float64)


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
    by_layer = np.zeros((n_layers, len(offset)))  # row l: d_l at its own neurons
    by_layer[np.repeat(np.arange(n_layers), each.shape[1]), np.arange(len(offset))] = offset
    e_u = np.zeros_like(by_layer)  # sum of e_l u
    for place, piece in _pieces(len(offset), sums.products):
        right = piece.astype(np.float64)
        e_u[:, place.columns] += by_layer[:, place.rows] @ right
        if place.is_corner:
            e_u[:, place.rows] += by_layer[:, place.columns] @ right.T
    e = by_layer @ total  # sum of e_l
    a_e = weighted @ by_layer.T  # sum of a_l e_m
    # The sums of a over rows are the traces of u u^T, layer by layer.
    a = _diagonal(len(offset), sums.products).reshape(n_layers, -1).sum(1)
    norms = (
        np.asarray(rows.norms, np.float64)
        - 2 * (a_e + a_e.T)
        + 4 * (e_u @ by_layer.T)
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
        arrays |= {f"{i}.product.{j}": product for j, product in enumerate(sums.products)}
    described = {"identity": identity, "parts": len(parts), "places": places(len(parts[0].shift)), "runs": n_runs}
    description = np.array(json.dumps(described, sort_keys=True))
    replace_file(path, functools.partial(np.savez, **arrays, description=description))


def load(path: Path, identity: dict[str, Any]) -> tuple[list[Sums], int | None] | None:
    """Sums saved for this identity, and how many runs of rows an unfinished pass had seen; None where there are none,
    or only those of something else or at other places, or a damaged file, which is named.
    """
    try:
        with np.load(path, allow_pickle=False) as saved:
            _check(saved.zip)
            described = json.loads(str(saved["description"]))
            shift, parts = saved["shift"], []
            where = [list(place) for place in places(len(shift))]
            if described["identity"] != identity or described.get("places") != where:
                return None
            for i in range(described["parts"]):
                rows = RowSums(*(saved[f"{i}.{name}"] for name in RowSums._fields))
                parts.append(Sums(shift, rows, tuple(saved[f"{i}.product.{j}"] for j in range(len(where)))))
            return parts, described["runs"]
    except FileNotFoundError:
        return None
    except _DAMAGED as error:
        log.warning("%s is damaged (%s): it is made again", path, error)
        return None


_DAMAGED = (
    OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, RuntimeError, MemoryError, OverflowError,
    zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


def _check(archive: zipfile.ZipFile) -> None:
    """Reads all members for their CRC-32 before any is believed: that of one that says it is shorter is never reached.

    Raises:
        BadZipFile: if one does not fit.
    """
    damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} does not fit its checksum")


def damage(path: Path) -> str | None:
    """What is wrong with a file of sums, by its checksums; None where nothing is."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive)
    except _DAMAGED as error:
        return str(error)
    return None
