"""Where some neurons are largest and smallest, overall and in each class, from one pass over the activations.

Memory is that of one window and of the sums: one number per neuron and pair of a group and a class that occurs.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jaxred.activations.in_memory import HiddenStates
from jaxred.activations.store import Store
from jaxred.activations.store.chunk_sizes import run_rows
from jaxred.errors import UserError
from jaxred.io.memory import available_bytes

READ_ROWS = run_rows(512)


@dataclass(frozen=True)
class Top:
    """The first k of some order, for each neuron: -1 and NaN where there are fewer."""

    rows: Int[np.ndarray, "neuron k"]  # of a row, or of the first row of a group
    means: Float[np.ndarray, "neuron k"]  # the activation, or its mean over the group's rows
    deviations: Float[np.ndarray, "neuron k"]  # over the group's rows; 0 for a row
    counts: Int[np.ndarray, "neuron k"]  # rows


@dataclass(frozen=True)
class Extremes:
    """Some neurons of some activations."""

    means: Float[np.ndarray, " neuron"]
    deviations: Float[np.ndarray, " neuron"]  # of all rows, not of a sample; exactly 0 for a constant neuron
    class_counts: Int[np.ndarray, " class"]
    class_means: Float[np.ndarray, "class neuron"]  # NaN for a class without rows
    class_deviations: Float[np.ndarray, "class neuron"]
    largest: Top
    smallest: Top
    largest_of_class: list[Top]  # by class; a group's rows of that class alone
    smallest_of_class: list[Top]
    correlations: Float[np.ndarray, " neuron"] | None  # with the rows' scores; NaN for a constant neuron


def extremes(
    activations: Store | HiddenStates,
    neurons: Int[np.ndarray, "neuron 2"],
    classes: Int[np.ndarray, " row"],
    n_classes: int,
    groups: Int[np.ndarray, " row"] | None = None,
    scores: Float[np.ndarray, " row"] | None = None,
    k: int = 10,
    k_of_class: int = 3,
    min_count: int = 3,
) -> Extremes:
    """The rows, or the groups of rows, with the largest and the smallest activations of some neurons.

    Ties are in the order of rows. Sums are taken in float64 of activations less the first row's.

    Args:
        activations: [row, layer, neuron].
        neurons: layer and index of each.
        classes: the class of each row; all 0 where there are none.
        n_classes: how many classes there are.
        groups: the group of each row, numbered by first occurrence, such as the type of a word. None: every row is
            looked at by itself.
        scores: of each row, to correlate with.
        k: how many are wanted.
        k_of_class: how many are wanted of each class.
        min_count: the fewest rows of a group, and of a group within a class.

    Raises:
        UserError: the sums do not fit in memory, or the store is damaged.
    """
    blocks = _Blocks(activations, np.asarray(neurons).reshape(-1, 2))
    ids = np.zeros(activations.n_rows, np.int64) if groups is None else np.asarray(groups, np.int64)
    pairs, pair_of_row = np.unique(ids * n_classes + classes, return_inverse=True)
    _require_memory(len(pairs), len(neurons))
    sums = _PairSums(len(pairs), blocks.first_row())
    tops = None if groups is not None else _RunningTops(len(neurons), n_classes, k, k_of_class)
    products, low, high = np.zeros(len(neurons)), sums.shift.copy(), sums.shift.copy()
    centred = None if scores is None else np.asarray(scores, np.float64) - np.mean(scores)
    for start, block in blocks:
        rows = slice(start, start + len(block))
        sums.add(block, pair_of_row[rows])
        low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
        if centred is not None:
            products += centred[rows] @ (block - sums.shift)
        if tops is not None:
            tops.add(block, start, classes[rows])
    pair_group, pair_class = np.divmod(pairs, n_classes)
    constant = low == high
    means, deviations, _ = sums.of(np.zeros(len(pairs), np.int64), 1, constant)
    class_means, class_deviations, class_counts = sums.of(pair_class, n_classes, constant)
    if tops is not None:
        largest, smallest, largest_of_class, smallest_of_class = tops.result()
    else:
        first = np.full(len(pairs), activations.n_rows)
        np.minimum.at(first, pair_of_row, np.arange(activations.n_rows))
        group_first = np.full(int(ids.max()) + 1, activations.n_rows)
        np.minimum.at(group_first, ids, np.arange(activations.n_rows))
        group_means, group_deviations, group_counts = sums.of(pair_group, len(group_first), constant)
        largest, smallest = (
            _top(group_means, group_deviations, group_counts, group_first, k, min_count, sign) for sign in (-1, 1)
        )
        pair_means, pair_deviations, pair_counts = sums.of(np.arange(len(pairs)), len(pairs), constant)
        per_class = []
        for number in range(n_classes):
            mine = np.flatnonzero(pair_class == number)
            means_of_class, deviations_of_class = pair_means[mine], pair_deviations[mine]
            per_class.append(
                [
                    _top(
                        means_of_class, deviations_of_class, pair_counts[mine], first[mine], k_of_class, min_count, sign
                    )
                    for sign in (-1, 1)
                ]
            )
        largest_of_class, smallest_of_class = ([both[i] for both in per_class] for i in (0, 1))
    correlations = None
    if centred is not None:
        scale = deviations[0] * np.sqrt(np.sum(centred**2) * len(centred))
        correlations = np.divide(products, scale, out=np.full(len(neurons), np.nan), where=scale > 0)
    return Extremes(
        means[0], deviations[0], class_counts, class_means, class_deviations,
        largest, smallest, largest_of_class, smallest_of_class, correlations,
    )  # fmt: skip


class _Blocks:
    """The activations of some neurons, some rows at a time, in float64; only the layers that have them are read."""

    def __init__(self, activations: Store | HiddenStates, neurons: Int[np.ndarray, "neuron 2"]):
        self._activations = activations
        self._layers, self._place = np.unique(neurons[:, 0], return_inverse=True)
        self._index = neurons[:, 1]

    def first_row(self) -> Float[np.ndarray, " neuron"]:
        return self._read(0, 1)[0]

    def __iter__(self):
        for start in range(0, self._activations.n_rows, READ_ROWS):
            yield start, self._read(start, min(start + READ_ROWS, self._activations.n_rows))

    def _read(self, start: int, stop: int) -> Float[np.ndarray, "row neuron"]:
        block = np.asarray(self._activations[start:stop, self._layers])
        return block[:, self._place, self._index].astype(np.float64)


class _PairSums:
    """Counts, sums and sums of squares by pair of group and class."""

    def __init__(self, n_pairs: int, shift: Float[np.ndarray, " neuron"]):
        self.shift = shift
        self._counts = np.zeros(n_pairs, np.int64)
        self._sums, self._squares = (np.zeros((n_pairs, len(shift))) for _ in range(2))

    def add(self, block: Float[np.ndarray, "row neuron"], pairs: Int[np.ndarray, " row"]) -> None:
        order = np.argsort(pairs, kind="stable")
        present, starts, counts = np.unique(pairs[order], return_index=True, return_counts=True)
        shifted = block[order] - self.shift
        self._counts[present] += counts
        self._sums[present] += np.add.reduceat(shifted, starts, axis=0)
        self._squares[present] += np.add.reduceat(shifted**2, starts, axis=0)

    def of(
        self, owner: Int[np.ndarray, " pair"], n_owners: int, constant: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means and deviations [owner, neuron], and counts [owner], of what owns each pair; NaN where it has no row.

        Args:
            owner: of each pair.
            n_owners: how many there are.
            constant: the neurons that are constant, whose deviations are exactly 0.
        """
        counts = np.zeros(n_owners, np.int64)
        sums, squares = (np.zeros((n_owners, len(self.shift))) for _ in range(2))
        np.add.at(counts, owner, self._counts)
        np.add.at(sums, owner, self._sums)
        np.add.at(squares, owner, self._squares)
        n = np.where(counts > 0, counts, np.nan)[:, None]
        means = sums / n
        variances = np.maximum(squares / n - means**2, 0)
        variances[:, constant] = np.where(np.isnan(n), np.nan, 0)
        variances[counts == 1] = 0
        return means + self.shift, np.sqrt(variances), counts


class _RunningTops:
    """The first k rows in either order, over all rows and in each class."""

    def __init__(self, n_neurons: int, n_classes: int, k: int, k_of_class: int):
        self._k = [k, k_of_class]
        self._n_classes = n_classes
        self._kept = {
            (sign, number): (np.zeros((0, n_neurons), np.int64), np.zeros((0, n_neurons)))
            for sign in (-1, 1)
            for number in range(-1, n_classes)
        }

    def add(self, block: Float[np.ndarray, "row neuron"], start: int, classes: Int[np.ndarray, " row"]) -> None:
        for (sign, number), (rows, values) in self._kept.items():
            mine = np.arange(len(block)) if number < 0 else np.flatnonzero(classes == number)
            if len(mine):
                numbers = np.broadcast_to((mine + start)[:, None], (len(mine), block.shape[1]))
                together = np.concatenate([values, sign * block[mine]])
                order = np.argsort(together, axis=0, kind="stable")[: self._k[number >= 0]]
                rows = np.take_along_axis(np.concatenate([rows, numbers]), order, 0)
                self._kept[sign, number] = rows, np.take_along_axis(together, order, 0)

    def result(self) -> tuple[Top, Top, list[Top], list[Top]]:
        largest, smallest = (self._top(sign, -1) for sign in (-1, 1))
        large, small = ([self._top(sign, number) for number in range(self._n_classes)] for sign in (-1, 1))
        return largest, smallest, large, small

    def _top(self, sign: int, number: int) -> Top:
        rows, values = (part.T for part in self._kept[sign, number])
        return _padded(rows, sign * values, np.zeros_like(values), np.ones_like(rows), self._k[number >= 0])


def _top(
    means: Float[np.ndarray, "group neuron"],
    deviations: Float[np.ndarray, "group neuron"],
    counts: Int[np.ndarray, " group"],
    first: Int[np.ndarray, " group"],
    k: int,
    min_count: int,
    sign: int,
) -> Top:
    """The first k groups of enough rows, by mean times sign; those of equal mean by their first row."""
    enough = np.flatnonzero(counts >= min_count)
    enough = enough[np.argsort(first[enough], kind="stable")]
    order = enough[np.argsort(sign * means[enough], axis=0, kind="stable")[:k].T]
    neuron = np.arange(means.shape[1])[:, None]
    return _padded(first[order], means[order, neuron], deviations[order, neuron], counts[order], k)


def _padded(rows: np.ndarray, means: np.ndarray, deviations: np.ndarray, counts: np.ndarray, k: int) -> Top:
    missing = ((0, 0), (0, k - rows.shape[1]))
    rows, counts = (np.pad(part, missing, constant_values=-1) for part in (rows, counts))
    means, deviations = (np.pad(part, missing, constant_values=np.nan) for part in (means, deviations))
    return Top(rows, means, deviations, counts)


def _require_memory(n_pairs: int, n_neurons: int) -> None:
    needed, free = 8 * 8 * n_pairs * n_neurons, available_bytes()
    if needed > free:
        raise UserError(
            f"The sums of {n_neurons:,} neurons over {n_pairs:,} words by class take about {needed / 1e9:,.1f} GB, but "
            f"{free / 1e9:,.1f} GB of memory are free: name fewer neurons."
        )
