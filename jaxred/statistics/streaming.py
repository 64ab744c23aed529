"""One streaming pass over activations gives the sums of which moments are made (`jaxred.statistics.moments`).

Rows go in blocks to the devices, which take turns; where the products do not fit on one device, some devices share
them and see the same rows. Processes (`jax.distributed`) take turns with runs of rows. An unfinished pass is committed
now and then, and resumed.
"""

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxred.activations.in_memory import HiddenStates
from jaxred.activations.matrix import aligned, device_bytes
from jaxred.activations.store import Store
from jaxred.activations.store.side_by_side import SideBySide
from jaxred.errors import UserError
from jaxred.statistics import moment_sums as kernel
from jaxred.statistics import moments
from jaxred.statistics.moment_sums import Place, RowSums
from jaxred.statistics.moments import Moments, Sums, places

BLOCK_ROWS = 1024  # rows multiplied at once; short blocks also keep float32 sums accurate
COMMIT_SECONDS = 60.0  # between commits of an unfinished pass
N_HALVES = 2

Products = tuple[Float[jax.Array, "_row _column"], ...]


@functools.partial(jax.jit, static_argnums=2, donate_argnums=(0, 1))
def _add(
    rows: RowSums | None,
    products: Products,
    where: tuple[Place, ...],
    block: Float[jax.Array, "row neuron"],
    used: Bool[jax.Array, " row"],
    shift: Float[jax.Array, " neuron"],
) -> tuple[RowSums | None, Products]:
    """Adds a block to the sums over its rows, where this device keeps them, and to its products."""
    shifted = kernel.shifted(block, used, shift)
    added = None if rows is None else kernel.add_rows(rows, block, used, shifted)
    return added, kernel.add_products(products, where, shifted)


class Accumulator:
    """Sums over rows that come in any portions, for several parts of them, on the devices of this process."""

    def __init__(self, shift: Float[np.ndarray, " neuron"], n_layers: int, n_parts: int = 1):
        """Starts with no rows.

        Args:
            shift: what rows are shifted by; it should be near their mean.
            n_layers: layers of the same number of neurons each.
            n_parts: parts that are summed separately.
        """
        self.shift, self.n_layers = shift.astype(np.float32), n_layers
        devices = jax.local_devices()
        shared_by = _shared_by(2 * n_parts * len(shift) * (len(shift) + 1), len(devices))
        self.groups = [devices[i : i + shared_by] for i in range(0, len(devices), shared_by)]
        self.shares = [_share(places(len(shift)), device, shared_by) for device in range(shared_by)]
        self._shift = {device: jax.device_put(self.shift, device) for device in devices}
        self._rows = [[self._no_rows(group[0]) for _ in range(n_parts)] for group in self.groups]
        self._products = [[self._no_products(group) for _ in range(n_parts)] for group in self.groups]
        self._blocks: list[np.ndarray | None] = [None] * n_parts  # that are being filled
        self._filled = [0] * n_parts
        self._in_work: list[np.ndarray | None] = [None] * len(self.groups)  # which devices may read as they lie
        self._turn = 0

    def _no_rows(self, device: Any) -> RowSums:
        return jax.device_put(kernel.no_rows(len(self.shift), self.n_layers), device)

    def _no_products(self, group: Sequence[Any]) -> list[Products]:
        return [
            jax.device_put(kernel.no_products(share), device) for device, share in zip(group, self.shares, strict=True)
        ]

    def add(self, rows: Float[np.ndarray, "row neuron"], part: int = 0) -> None:
        """Adds rows to a part; they are copied, and summed as soon as they fill a block."""
        while len(rows):
            block, filled = self._blocks[part], self._filled[part]
            if block is None:
                block = self._blocks[part] = aligned((BLOCK_ROWS, len(self.shift)))
            some = rows[: BLOCK_ROWS - filled]
            block[filled : filled + len(some)] = some
            self._filled[part] += len(some)
            if self._filled[part] == BLOCK_ROWS:
                self._dispatch(part)
            rows = rows[len(some) :]

    def _dispatch(self, part: int) -> None:
        block, filled = self._blocks[part], self._filled[part]
        assert block is not None
        block[filled:] = 0
        used = np.arange(BLOCK_ROWS) < filled
        turn = self._turn % len(self.groups)
        rows, products = self._rows[turn], self._products[turn]
        self._turn += 1
        jax.block_until_ready((rows, products))  # one block in work, so that no more wait in memory
        self._blocks[part], self._filled[part] = self._in_work[turn], 0  # that one is done with
        self._in_work[turn] = block
        for i, device in enumerate(self.groups[turn]):
            data = *jax.device_put((block, used), device), self._shift[device]
            kept = rows[part] if i == 0 else None
            kept, products[part][i] = _add(kept, products[part][i], self.shares[i], *data)
            if kept is not None:
                rows[part] = kept

    def sums(self) -> list[Sums]:
        """The sums of each part, over all devices."""
        for part, filled in enumerate(self._filled):
            if filled:
                self._dispatch(part)
        halves = []
        for part in range(len(self._filled)):
            over_groups = []
            for rows, products in zip(self._rows, self._products, strict=True):
                arrays = RowSums(*(np.asarray(value) for value in rows[part]))
                by_device = zip(*products[part], strict=True)
                whole = [np.asarray(mine[0]) if len(mine) == 1 else np.concatenate(mine) for mine in by_device]
                over_groups.append(Sums(self.shift, arrays, tuple(whole)))
            halves.append(_summed(over_groups))
        return halves

    def restore(self, parts: Sequence[Sums]) -> None:
        """Goes on from what `sums` gave."""
        for part, sums in enumerate(parts):
            self._rows[0][part] = jax.device_put(RowSums(*sums.rows), self.groups[0][0])
            for i, device in enumerate(self.groups[0]):
                whole = zip(places(len(self.shift)), self.shares[i], sums.products, strict=True)
                mine = tuple(product[own.top - place.top : own.bottom - place.top] for place, own, product in whole)
                self._products[0][part][i] = jax.device_put(mine, device)


def from_blocks(blocks: Iterable[Float[np.ndarray, "_row neuron"]], n_layers: int = 1) -> Sums:
    """Sums over the rows of all blocks, which are read once and need not fit in memory together.

    Raises:
        UserError: if there are no rows.
    """
    accumulator = None
    for block in blocks:
        if len(block) and accumulator is None:
            accumulator = Accumulator(block[:BLOCK_ROWS].mean(0, dtype=np.float64), n_layers)
        if accumulator is not None:
            accumulator.add(block)
    if accumulator is None:
        raise UserError("Correlations need at least 2 rows of activations, but there are 0.")
    return accumulator.sums()[0]


def from_store(
    store: Store | SideBySide | HiddenStates,
    rows: np.ndarray | None = None,
    progress: Callable[[int], Any] = lambda n: None,
    unfinished: Path | None = None,
    identity: dict[str, Any] | None = None,
) -> list[Sums]:
    """Sums over two halves of the rows of a store: those of one random half of the sentences, and the others.

    Args:
        store: the activations, of one model or of two.
        rows: which rows; all by default. Their order does not matter.
        progress: called with the number of rows of each run as it is read.
        unfinished: a file for the sums so far, from which a killed pass resumes.
        identity: of the pass, by which that file is recognised.

    Raises:
        UserError: if there are no rows, or the store holds a value that is not finite.
    """
    chosen = np.ones(store.n_rows, bool) if rows is None else np.isin(np.arange(store.n_rows), rows)
    half = halves(store.sentence_index())
    earlier = None if unfinished is None else moments.load(unfinished, identity or {})
    shift = _early_mean(store, chosen) if earlier is None else earlier[0][0].shift
    accumulator = Accumulator(shift, store.n_layers, N_HALVES)
    n_runs = 0
    if earlier is not None:
        accumulator.restore(earlier[0])
        n_runs = earlier[1] or 0
        progress(sum(sums.n_rows for sums in earlier[0]))
    committed = time.monotonic()
    for window, block in store.windows(jax.process_index() + n_runs * jax.process_count(), jax.process_count()):
        flat = block.reshape(len(block), -1)
        for part in range(N_HALVES):
            accumulator.add(flat[chosen[window] & (half[window] == part)], part)
        n_runs += 1
        progress(len(block))
        if unfinished is not None and time.monotonic() - committed > COMMIT_SECONDS:
            moments.save(unfinished, accumulator.sums(), identity or {}, n_runs)
            committed = time.monotonic()
    return [_over_processes(sums) for sums in accumulator.sums()]


def moments_of(store: Store, rows: np.ndarray | None = None) -> Moments:
    """The moments over the rows of a store, all of them by default.

    Raises:
        UserError: if there are fewer than 2 rows, or the store holds a value that is not finite.
    """
    first, second = from_store(store, rows)
    return Moments.of(first + second)


def halves(sentence_index: Int[np.ndarray, " row"]) -> Int[np.ndarray, " row"]:
    """The half, 0 or 1, that each row belongs to: all rows of a sentence to the same, and as many sentences to each."""
    sentences, unit = np.unique(sentence_index, return_inverse=True)
    return (np.random.default_rng(0).permutation(len(sentences)) % N_HALVES)[unit]


def _early_mean(store: Store | SideBySide | HiddenStates, chosen: np.ndarray) -> Float[np.ndarray, " neuron"]:
    """Of the first rows, the same for every process."""
    for window, block in store.windows():
        if chosen[window].any():
            return block.reshape(len(block), -1)[chosen[window]].mean(0, dtype=np.float64)
    raise UserError("Correlations need at least 2 rows of activations, but there are 0.")


def _shared_by(n_bytes: int, n_devices: int) -> int:
    """How many devices share the products: as few as can hold them, next to a copy that is being made."""
    possible = [n for n in range(1, n_devices + 1) if n_devices % n == 0]
    return next((n for n in possible if 2 * n_bytes / n <= device_bytes()), n_devices)


def _share(where: Sequence[Place], device: int, shared_by: int) -> tuple[Place, ...]:
    """What one of the devices that share the products holds: some rows of what stands at each place."""

    def row(place: Place, device: int) -> int:
        return place.top + (place.bottom - place.top) * device // shared_by

    return tuple(place._replace(top=row(place, device), bottom=row(place, device + 1)) for place in where)


def _summed(sums: Sequence[Sums]) -> Sums:
    total = sums[0]
    for other in sums[1:]:
        total += other
    return total


def _over_processes(sums: Sums) -> Sums:
    """The sums of all processes together, in every one of them."""
    if jax.process_count() == 1:
        return sums
    from jax.experimental import multihost_utils

    def gather(array: Any) -> np.ndarray:
        return np.asarray(multihost_utils.process_allgather(jnp.asarray(array)))

    rows = RowSums(*(gather(value) for value in sums.rows))
    total = RowSums(*(value.sum(0) for value in rows))._replace(low=rows.low.min(0), high=rows.high.max(0))
    return Sums(sums.shift, total, tuple(gather(product).sum(0) for product in sums.products))
