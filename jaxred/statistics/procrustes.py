"""Procrustes distance between layers, from the kept moments."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float

from jaxred.io.processors import n_cores
from jaxred.statistics.layer_products import cross_product
from jaxred.statistics.moments import Moments


def procrustes(moments: Moments) -> Float[np.ndarray, "layer layer"]:
    """sqrt(2 - 2 ||X'Y||_*) of all pairs of layers, each scaled to unit Frobenius norm (Ding 2021; Williams 2021).

    It is 0 for layers that differ by a rotation and a scale, and at most sqrt(2). Products are kept in float32 and
    singular values are roots of eigenvalues, several times as fast as an SVD: very small
    distances (a few 1e-3) are not told from 0. NaN for a constant layer.
    """
    n_layers = moments.n_layers
    norms = np.sqrt(moments.variance().reshape(n_layers, -1).sum(1) * (moments.n_rows - 1))
    varied = np.flatnonzero(norms > 0).tolist()
    pairs = [(i, j) for i in varied for j in varied if j < i]

    def of_pair(pair: tuple[int, int]) -> float:
        i, j = pair
        product = cross_product(moments, i, j) / (norms[i] * norms[j])
        singular = np.sqrt(np.maximum(np.linalg.eigvalsh(product @ product.T), 0))
        return float(np.sqrt(2 - 2 * min(singular.sum(), 1.0)))

    distance = np.full((n_layers, n_layers), np.nan)
    distance[varied, varied] = 0
    with ThreadPoolExecutor(n_cores()) as pool:
        for (i, j), found in zip(pairs, pool.map(of_pair, pairs), strict=True):
            distance[i, j] = distance[j, i] = found
    return distance
