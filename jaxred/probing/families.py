"""Families of probes: which columns each probe owns, and where the columns are cut into segments.

Three kinds cover the studies: `layer_family` (every layer alone and every prefix of layers), `prefix_family` (the
first k columns of an order, for many k) and `subset_family` (any sets of columns).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import Bool, Int

from jaxred.probing.layout import Segment

SEGMENT_OVERHEAD = {"cpu": 0.02}  # what one more segment costs, as a share of the family's products
DEFAULT_OVERHEAD = 0.5  # on accelerators, where a launch outweighs products over masked columns
ALIGN = 128  # columns that segments are multiples of, where the matrix allows


@dataclass(frozen=True)
class Family:
    """Probes trained together. Segments are over the columns in the family's order."""

    columns: Int[np.ndarray, " column"]  # the matrix's columns, in the family's order
    rank: Int[np.ndarray, " column"]  # a probe's weights are listed and drawn in ascending order of this
    segments: tuple[Segment, ...]
    masks: tuple[Bool[np.ndarray, "_column _owner"] | None, ...]  # which weights of a segment exist; None: all
    n_probes: int
    names: tuple[str, ...] = ()  # of the probes, for messages

    def owned(self, probe: int) -> Int[np.ndarray, " column"]:
        """The columns of the matrix that a probe sees, in the order of its weights."""
        places = self.places(probe)
        found = np.concatenate([positions for _, _, positions in places]) if places else np.zeros(0, int)
        return self.columns[found[np.argsort(self.rank[found])]]

    def places(self, probe: int) -> list[tuple[int, int, Int[np.ndarray, " _column"]]]:
        """Where a probe's weights lie: segment number, place among its owners, and positions among the columns."""
        segments = []
        for number, (segment, mask) in enumerate(zip(self.segments, self.masks, strict=True)):
            if probe in segment.owners:
                owner = segment.owners.index(probe)
                positions = np.arange(segment.start, segment.stop)
                segments.append((number, owner, positions if mask is None else positions[mask[:, owner]]))
        return segments

    def only(self, probes: Sequence[int]) -> "Family":
        """Some of the probes, numbered in the order given."""
        if list(probes) == list(range(self.n_probes)):
            return self
        number = {probe: i for i, probe in enumerate(probes)}
        segments, masks = [], []
        for segment, mask in zip(self.segments, self.masks, strict=True):
            places = [i for i, owner in enumerate(segment.owners) if owner in number]
            if places:
                places.sort(key=lambda place: number[segment.owners[place]])
                segments.append(segment._replace(owners=tuple(number[segment.owners[place]] for place in places)))
                masks.append(None if mask is None else mask[:, places])
        names = tuple(self.names[probe] for probe in probes) if self.names else ()
        return Family(self.columns, self.rank, tuple(segments), tuple(masks), len(probes), names)

    def n_weights(self, n_outputs: int) -> Int[np.ndarray, " probe"]:
        """The weights that each probe holds in memory, masked ones included."""
        weights = np.zeros(self.n_probes, np.int64)
        for segment in self.segments:
            weights[list(segment.owners)] += (segment.stop - segment.start) * n_outputs
        return weights


def layer_family(n_layers: int, hidden_size: int) -> Family:
    """Every layer alone (probes 0 .. n_layers - 1), then layers 0..l together (probes n_layers + l)."""
    layer = np.arange(n_layers * hidden_size) // hidden_size
    owned = np.concatenate([layer[:, None] == np.arange(n_layers), layer[:, None] <= np.arange(n_layers)], axis=1)
    everywhere = np.arange(len(layer))
    names = [f"{kind}-{i}" for kind in ("layer", "layers-0") for i in range(n_layers)]
    return replace(_cut(everywhere, everywhere, owned, math.gcd(hidden_size, ALIGN)), names=tuple(names))


def prefix_family(order: Int[np.ndarray, " column"], sizes: Sequence[int], n_columns: int | None = None) -> Family:
    """The first k columns of an order, for every k of `sizes` (ascending, each once).

    Args:
        order: columns, at least as many as the largest size.
        sizes: how many of them each probe sees.
        n_columns: all columns of the matrix, from which segments are filled up to a round width; masked, they take
            no part.
    """
    n_columns = len(order) if n_columns is None else n_columns
    align = math.gcd(n_columns, ALIGN)
    largest = -(-max(sizes, default=0) // align) * align
    columns = np.asarray(order)[:largest]
    if len(columns) < largest:
        others = np.setdiff1d(np.arange(n_columns), columns)
        columns = np.concatenate([columns, others[: largest - len(columns)]])
    owned = np.arange(largest)[:, None] < np.asarray(list(sizes), int)
    names = tuple(f"first-{size}" for size in sizes)
    return replace(_cut(columns, np.arange(largest), owned, align), names=names)


def subset_family(subsets: Sequence[Int[np.ndarray, " _column"]], n_columns: int) -> Family:
    """Any sets of the matrix's columns; a probe's weights are in ascending order of its columns.

    The family orders columns by the sets that hold them: those of the largest set come first, among them those of
    the second largest, and so on, so that segments are cut where few columns are masked.

    Args:
        subsets: the columns of each probe.
        n_columns: all columns of the matrix.
    """
    owned = np.zeros((n_columns, len(subsets)), bool)
    for probe, columns in enumerate(subsets):
        owned[columns, probe] = True
    largest_first = np.argsort(-owned.sum(0), kind="stable")
    order = np.lexsort((np.arange(n_columns), *(~owned[:, largest_first[::-1]]).T))
    n_owned = int(owned.any(1).sum())
    align = math.gcd(n_columns, ALIGN)
    columns = order[: -(-n_owned // align) * align]
    names = tuple(f"{len(subset)}-neurons" for subset in subsets)
    return replace(_cut(columns, columns, owned[columns], align), names=names)


def _cut(
    columns: Int[np.ndarray, " column"],
    rank: Int[np.ndarray, " column"],
    owned: Bool[np.ndarray, "column probe"],
    align: int,
) -> Family:
    """A family with segments cut so that few columns that a probe does not own are multiplied.

    A probe is an owner of a segment if any of its columns is there; its other columns are masked. The cuts, at
    multiples of `align`, minimise the masked weights plus an overhead for each segment, by dynamic programming.
    """
    n_probes = owned.shape[1]
    n_blocks = len(columns) // align
    if n_blocks == 0:
        return Family(columns[:0], rank[:0], (), (), n_probes)
    blocks = np.any(owned.reshape(n_blocks, align, n_probes), axis=1)
    overhead = SEGMENT_OVERHEAD.get(jax.default_backend(), DEFAULT_OVERHEAD) * owned.sum() / align
    changes = np.flatnonzero((blocks[1:] != blocks[:-1]).any(1)) + 1
    ends = [*changes.tolist(), n_blocks]
    best: list[tuple[float, list[int]]] = [(0.0, [])]  # for the first i runs of equal blocks: cost and cuts
    for last, stop in enumerate(ends, 1):
        owners = np.zeros(n_probes, bool)
        options = []
        for first in range(last, 0, -1):
            start = ends[first - 2] if first > 1 else 0
            owners |= blocks[start]
            cost, cuts = best[first - 1]
            options.append((cost + owners.sum() * (stop - start) + overhead, [*cuts, stop]))
        best.append(min(options, key=lambda option: option[0]))
    segments, masks = [], []
    for first, last in zip([0, *best[-1][1]], best[-1][1], strict=False):
        rows = slice(first * align, last * align)
        owners = np.flatnonzero(owned[rows].any(0))
        if len(owners):
            mask = owned[rows][:, owners]
            segments.append(Segment(rows.start, rows.stop, tuple(owners.tolist())))
            masks.append(None if mask.all() else mask)
    return Family(columns, rank, tuple(segments), tuple(masks), n_probes)
