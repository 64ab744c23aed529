"""Plans, trains and scores families of probes: many probes, one read of the data.

A family is a set of probes over the columns of one matrix. Three kinds cover the studies: `layer_family` (every
layer alone and every prefix of layers), `prefix_family` (the first k columns of an order, for many k) and
`subset_family` (any sets of columns). A probe has the same weights whether it is trained alone or in a family.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxred.config import ProbeConfig
from jaxred.kernels import elastic_net
from jaxred.kernels.elastic_net import Params, Penalty, Segment

PREDICT_ROWS = 1024
SEGMENT_OVERHEAD = 0.05  # what one more segment may save: this share of the family's products


@dataclass(frozen=True)
class Family:
    """Probes trained together. Segments are over the columns in the family's order."""

    columns: Int[np.ndarray, " column"]  # the matrix's columns, in the family's order
    segments: tuple[Segment, ...]
    masks: tuple[np.ndarray | None, ...]  # [column, owner] of a segment: which of its weights exist; None: all
    n_probes: int

    def owned(self, probe: int) -> Int[np.ndarray, " column"]:
        """The columns of the matrix that a probe sees, in the order of its weights."""
        parts = [self.columns[segment.start : segment.stop][mine] for _, segment, _, mine in self.parts(probe)]
        return np.concatenate(parts) if parts else self.columns[:0]

    def parts(self, probe: int) -> list[tuple[int, Segment, int, np.ndarray | slice]]:
        """Where a probe's weights lie: segment number, segment, place among its owners, and which of its columns."""
        found = []
        for number, (segment, mask) in enumerate(zip(self.segments, self.masks, strict=True)):
            if probe in segment.owners:
                place = segment.owners.index(probe)
                found.append((number, segment, place, slice(None) if mask is None else mask[:, place]))
        return found


class Probe(NamedTuple):
    """A trained linear probe: outputs = features[:, columns] @ weights + bias."""

    columns: Int[np.ndarray, " column"]
    weights: Float[np.ndarray, "column output"]
    bias: Float[np.ndarray, " output"]
    losses: Float[np.ndarray, " epoch"]  # mean over the batches of each epoch, penalties included


@dataclass(frozen=True)
class Fit:
    """A trained family."""

    family: Family
    params: Params
    losses: Float[np.ndarray, "epoch probe"]
    regression: bool

    def probe(self, index: int) -> Probe:
        """One probe of the family, unpacked."""
        parts = [np.asarray(self.params.weights[n])[mine, place] for n, _, place, mine in self.family.parts(index)]
        n_outputs = self.params.bias.shape[1]
        weights = np.concatenate(parts) if parts else np.zeros((0, n_outputs), np.float32)
        return Probe(self.family.owned(index), weights, np.asarray(self.params.bias[index]), self.losses[:, index])

    def predict(self, features: Float[np.ndarray, "row column"]) -> np.ndarray:
        """Every probe's class ids [row, probe], or scores for regression."""
        columns, segments = self.family.columns, self.family.segments
        predictions = np.zeros((len(features), self.family.n_probes), np.float32 if self.regression else np.int32)
        for start in range(0, len(features), PREDICT_ROWS):
            rows = features[start : start + PREDICT_ROWS]
            short = PREDICT_ROWS - len(rows)
            block = np.pad(_take(rows, columns), ((0, short), (0, 0)))  # one shape, one compilation
            outputs = elastic_net.logits(self.params, jnp.asarray(block), segments=segments)
            best = outputs[..., 0] if self.regression else jnp.argmax(outputs, axis=-1)
            predictions[start : start + len(rows)] = np.asarray(best)[: len(rows)]
        return predictions


def layer_family(n_layers: int, hidden_size: int) -> Family:
    """Every layer alone (probes 0 .. n_layers - 1), then layers 0..l together (probes n_layers + l)."""
    segments = tuple(
        Segment(layer * hidden_size, (layer + 1) * hidden_size, (layer, *range(n_layers + layer, 2 * n_layers)))
        for layer in range(n_layers)
    )
    return Family(np.arange(n_layers * hidden_size), segments, (None,) * n_layers, 2 * n_layers)


def prefix_family(order: Int[np.ndarray, " column"], sizes: Sequence[int]) -> Family:
    """The first k columns of an order, for every k of `sizes` (ascending, each once)."""
    cuts = _merged_cuts(sizes)
    segments, masks = [], []
    for start, stop in zip([0, *cuts], cuts, strict=False):
        owners = [p for p, size in enumerate(sizes) if size > start]
        reach = np.array([min(sizes[p], stop) - start for p in owners])
        segments.append(Segment(start, stop, tuple(owners)))
        whole = (reach == stop - start).all()
        masks.append(None if whole else np.arange(stop - start)[:, None] < reach)
    return Family(np.asarray(order)[: max(sizes, default=0)], tuple(segments), tuple(masks), len(sizes))


def subset_family(subsets: Sequence[Int[np.ndarray, " column"]], n_columns: int) -> Family:
    """Any sets of the matrix's first `n_columns` columns; a probe's weights are in ascending order of its columns."""
    mask = np.zeros((n_columns, len(subsets)), bool)
    for probe, columns in enumerate(subsets):
        mask[columns, probe] = True
    whole = Segment(0, n_columns, tuple(range(len(subsets))))
    return Family(np.arange(n_columns), (whole,), (mask,), len(subsets))


def fit(
    family: Family,
    features: Float[np.ndarray, "row column"],
    targets: Int[np.ndarray, " row"] | Float[np.ndarray, " row"],
    n_outputs: int,
    config: ProbeConfig,
) -> Fit:
    """Trains every probe of a family.

    Args:
        family: which probes.
        features: the training matrix; batches follow its row order.
        targets: class ids (integers) or scores (floats, with one output).
        n_outputs: the number of classes; 1 for regression.
        config: penalties, learning rate, epochs, batch size, seed.
    """
    regression = not np.issubdtype(targets.dtype, np.integer)
    everyone = np.ones(family.n_probes, np.float32)
    penalty = Penalty(*(jnp.asarray(everyone * value) for value in (config.l1, config.l2, config.learning_rate)))
    order = None
    if config.shuffle:
        draw = np.random.default_rng(config.seed)
        order = jnp.asarray(np.stack([draw.permutation(len(features)) for _ in range(config.epochs)]), jnp.int32)
    params, losses = elastic_net.train(
        _initial_params(family, n_outputs, config.seed),
        jnp.asarray(_take(features, family.columns)),
        jnp.asarray(targets, jnp.float32 if regression else jnp.int32),
        penalty,
        tuple(None if mask is None else jnp.asarray(mask) for mask in family.masks),
        order,
        segments=family.segments,
        batch_size=config.batch_size,
        epochs=config.epochs,
        squared_l2=config.squared_l2,
    )
    jax.block_until_ready(params)
    return Fit(family, params, np.asarray(losses), regression)


def _initial_params(family: Family, n_outputs: int, seed: int) -> Params:
    """PyTorch's default for a linear layer: weights and bias uniform in +-1/sqrt(columns).

    The draw depends on the seed and on the probe's own size, not on its place in the family.
    """
    weights = [np.zeros((s.stop - s.start, len(s.owners), n_outputs), np.float32) for s in family.segments]
    bias = np.zeros((family.n_probes, n_outputs), np.float32)
    for probe in range(family.n_probes):
        size = len(family.owned(probe))
        bound = 1 / np.sqrt(size) if size else 0
        draw = np.random.default_rng([seed, size, n_outputs])
        values = draw.uniform(-bound, bound, (size, n_outputs))
        bias[probe] = draw.uniform(-bound, bound, n_outputs)
        for number, segment, place, mine in family.parts(probe):
            count = segment.stop - segment.start if isinstance(mine, slice) else int(mine.sum())
            weights[number][mine, place], values = values[:count], values[count:]
    return Params(tuple(jnp.asarray(w) for w in weights), jnp.asarray(bias))


def _merged_cuts(sizes: Sequence[int]) -> list[int]:
    """Where to cut an order of columns so that few segments waste few products on columns that a probe does not own.

    Sizes that end inside one segment make their probes carry masked columns up to its end. The cuts minimise those
    columns plus SEGMENT_OVERHEAD of all owned columns for each segment, by dynamic programming over the sizes.
    """
    ends = sorted({size for size in sizes if size > 0})
    overhead = SEGMENT_OVERHEAD * sum(sizes)
    count = {end: sizes.count(end) if isinstance(sizes, list) else list(sizes).count(end) for end in ends}
    best: list[tuple[float, list[int]]] = [(0.0, [])]  # for the first i ends: cost and cuts
    for last in range(1, len(ends) + 1):
        options, waste = [], 0.0
        for first in range(last, 0, -1):
            waste += count[ends[first - 1]] * (ends[last - 1] - ends[first - 1])
            cost, cuts = best[first - 1]
            options.append((cost + waste + overhead, [*cuts, ends[last - 1]]))
        best.append(min(options))
    return best[-1][1]


def _take(features: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The columns in order, without a copy where they are the first ones as they lie."""
    if np.array_equal(columns, np.arange(len(columns))):
        return features[:, : len(columns)]
    return features[:, columns]
