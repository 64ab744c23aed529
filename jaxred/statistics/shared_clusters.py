"""Which clusters two clusterings of the same neurons have in common."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class Shared(NamedTuple):
    """The clusters that are the same set of neurons in two clusterings."""

    n_same: int
    n_same_of_several: int  # of two neurons or more; single neurons are easily the same
    share_of_several: float | None  # of all clusters of several, in either clustering (Dice); None if there are none


def same_clusters(one: Int[np.ndarray, " neuron"], other: Int[np.ndarray, " neuron"]) -> Shared:
    """Counts the clusters that are the same set in both.

    Args:
        one: each neuron's cluster, numbered from 1.
        other: the same of another clustering.
    """
    sizes, other_sizes = np.bincount(one), np.bincount(other)
    pairs, n_common = np.unique(np.stack([one, other]), axis=1, return_counts=True)
    same = (sizes[pairs[0]] == n_common) & (other_sizes[pairs[1]] == n_common)
    n_of_several = int(np.sum(same & (n_common > 1)))
    n_several = int(np.sum(sizes > 1) + np.sum(other_sizes > 1))
    return Shared(int(same.sum()), n_of_several, 2 * n_of_several / n_several if n_several else None)
