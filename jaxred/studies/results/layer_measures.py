"""Measures of layers without labels: `jaxred.studies.layer_measures`."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jaxred.studies.results.base import Result


@dataclass(frozen=True)
class OfHalves:
    """A measure of all rows, and the same of each of two halves of the sentences."""

    whole: np.ndarray  # [layer] or [layer, layer]; NaN where it is not defined
    halves: list[np.ndarray]


@dataclass(frozen=True)
class DropOrder:
    """The transformer layers in the order in which a measure would drop them."""

    measure: str
    layers: list[int]  # first to last; layers whose measure is not defined are not in it
    agreement_of_halves: float  # Kendall's tau between the orders of two halves; NaN where it is not defined


@dataclass(frozen=True)
class Block:
    """The block of so many successive layers over which the vectors turn least."""

    n_layers: int
    first: int
    last: int
    distance: float  # angular, from the input of the first to the output of the last
    of_halves: list[float]  # the same block's distance in each half


@dataclass(frozen=True)
class AgreementOfOrders:
    """How far two measures would drop the same layers first."""

    measures: list[str]
    tau: float  # Kendall's, of the two orders
    overlap: float  # the mean share of the first s layers in common, s = 1 to one less than the number of layers
    overlap_by_chance: float  # of two random orders


@dataclass(frozen=True, kw_only=True)
class LayerMeasures(Result):
    """What each layer changes and how many directions it uses, whatever the task."""

    name: ClassVar[str] = "layer_measures"

    n_rows: int
    n_sampled: int  # rows for neighbours
    n_neighbours: int
    n_sentences: int  # whose tokens block_influence_of_tokens is over; 0: there is none, as there is no text
    n_layers: int  # with the embeddings, layer 0
    by_layer: dict[str, OfHalves]
    by_pair: dict[str, OfHalves]
    orders: list[DropOrder]
    blocks: list[Block]
    agreements: list[AgreementOfOrders]

    def rows(self) -> list[dict[str, Any]]:
        """One row per layer."""
        return [
            {"layer": layer, **{name: float(values.whole[layer]) for name, values in self.by_layer.items()}}
            for layer in range(self.n_layers)
        ]
