"""Neurons in the order in which a trained probe relies on them.

For class c sort |W_c| descending; T_c(p) is the shortest prefix whose cumulative weight is at least p * sum|W_c|,
never empty; T(p) is the union over classes. For p = 0, 1/S, ..., 1 the neurons of T(p) not listed before are
appended (Dalvi et al. 2020, section 4; the original's `get_neuron_ordering`, S = 1000 in all its experiments).

In closed form a neuron enters at the smallest, over classes, of the first p whose mass lies beyond the cumulative
weight before that neuron. The steps equal the original's because sums and thresholds are float32 in the same order
of operations.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

STEPS = 1000


class Ranking(NamedTuple):
    """Neurons by salience: `order[: cutoffs[i]]` is T(i / steps)."""

    order: Int[np.ndarray, " neuron"]  # positions among the probe's columns
    cutoffs: Int[np.ndarray, " step"]  # length steps + 1


def rank_neurons(weights: Float[np.ndarray, "neuron output"], steps: int = STEPS) -> Ranking:
    """Ranks the columns of a probe.

    Neurons that enter at the same step, whose order the original leaves to chance, are ordered by their largest
    share of a class's absolute weight, then by position.

    Args:
        weights: a probe's weights; one column an output (class).
        steps: the number of steps S of the mass p.
    """
    magnitude = np.abs(np.asarray(weights, np.float32))
    n_neurons = len(magnitude)
    if n_neurons == 0:
        return Ranking(np.zeros(0, np.int64), np.zeros(steps + 1, np.int64))
    step = np.full(n_neurons, steps + 1)
    share = np.zeros(n_neurons, np.float32)
    mass = np.arange(steps + 1) / steps
    for column in np.ascontiguousarray(magnitude.T):
        total = np.sum(column)
        order = np.argsort(-column, kind="stable")
        cumulative = np.cumsum(column[order])
        # T_c(p) has 1 + (the number of prefixes whose weight falls short of p * total) neurons, at most all of them.
        lengths = 1 + np.searchsorted(cumulative, (mass * float(total)).astype(np.float32), side="left")
        entered = np.searchsorted(lengths, np.arange(1, n_neurons + 1), side="left")
        step[order] = np.minimum(step[order], entered)
        share = np.maximum(share, column / total if total > 0 else 0)
    order = np.lexsort((np.arange(n_neurons), -share, step))
    cutoffs = np.searchsorted(step[order], np.arange(steps + 1), side="right")
    return Ranking(order, cutoffs)
