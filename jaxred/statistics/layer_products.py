"""Cross products of two layers out of the kept moments, in one piece."""

import numpy as np
from jaxtyping import Float

from jaxred.statistics.moments import Moments, places


def cross_product(moments: Moments, layer: int, other: int) -> Float[np.ndarray, "neuron other_neuron"]:
    """X'Y of two layers, columns centred, in float64.

    Args:
        moments: of all neurons.
        layer: of X.
        other: of Y.
    """
    if layer > other:
        return cross_product(moments, other, layer).T
    size = moments.hidden_size
    whole = np.zeros((size, size))
    top, left = layer * size, other * size
    for place, product in zip(places(moments.n_neurons), moments.products, strict=True):
        _add(whole, product, (place.top - top, place.left - left))
        if place.is_corner and layer == other:
            _add(whole, product.T, (place.left - top, place.top - left))
    return (whole + whole.T) / 2 if layer == other else whole


def _add(whole: np.ndarray, product: np.ndarray, at: tuple[int, int]) -> None:
    """Adds the part of a product that falls into the whole, which the product's corner stands at `at` of."""
    low = [max(start, 0) for start in at]
    high = [min(start + n, size) for start, n, size in zip(at, product.shape, whole.shape, strict=True)]
    if all(a < b for a, b in zip(low, high, strict=True)):
        to = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        whole[to] += product[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, at, strict=True))]
