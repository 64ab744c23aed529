"""What is removed in one forward pass, as arrays: neurons of each layer's output, and whole layers.

Layer 0 is the embedding output and layer l the output of the transformer layer l, of the last one after the norm that
follows it, where there is one: the hidden states that the studies read. A neuron is removed at every token.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int


class Interventions(NamedTuple):
    """Several sets of what is removed; each set is one forward pass."""

    removed: Bool[np.ndarray, "set layer hidden"]  # neurons, at their layer's output
    skipped: Bool[np.ndarray, "set layer"]  # layers whose output is their input; layer 0 never is

    @property
    def first(self) -> Int[np.ndarray, " set"]:
        """The first layer whose output each set changes; the last layer where it changes nothing."""
        changes = self.removed.any(2) | self.skipped
        return np.where(changes.any(1), changes.argmax(1), changes.shape[1] - 1)

    def __len__(self) -> int:  # type: ignore[override]
        return len(self.removed)

    def of(self, sets: Sequence[int] | np.ndarray) -> "Interventions":
        """Some of the sets, in this order."""
        return Interventions(self.removed[sets], self.skipped[sets])


def remove_neurons(sets: Iterable[np.ndarray], n_layers: int, hidden_size: int) -> Interventions:
    """Sets of neurons.

    Args:
        sets: of each set the columns of its neurons, layer * hidden_size + index.
        n_layers: with the embedding output.
        hidden_size: neurons of a layer.
    """
    columns = [np.asarray(each, np.int64) for each in sets]
    removed = np.zeros((len(columns), n_layers * hidden_size), bool)
    for row, each in zip(removed, columns, strict=True):
        row[each] = True
    return Interventions(removed.reshape(-1, n_layers, hidden_size), np.zeros((len(columns), n_layers), bool))


def skip_layers(sets: Iterable[Sequence[int]], n_layers: int, hidden_size: int) -> Interventions:
    """Sets of transformer layers, counted from 1, whose output is their input.

    Args:
        sets: of each set the numbers of its layers.
        n_layers: with the embedding output.
        hidden_size: neurons of a layer.

    Raises:
        ValueError: a layer is not from 1 to the last.
    """
    layers = [list(each) for each in sets]
    skipped = np.zeros((len(layers), n_layers), bool)
    for row, each in zip(skipped, layers, strict=True):
        if any(not 1 <= layer < n_layers for layer in each):
            raise ValueError(f"Layers {each} cannot be skipped: they are counted from 1 to {n_layers - 1}.")
        row[each] = True
    return Interventions(np.zeros((len(layers), n_layers, hidden_size), bool), skipped)


def together(*parts: Interventions) -> Interventions:
    """The sets of all of them, in their order."""
    return Interventions(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
