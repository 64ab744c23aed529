"""What needs nearest neighbours, on a sample of rows: mutual kNN of layers, and TwoNN's intrinsic dimension."""

import numpy as np
from jaxtyping import Float

N_SAMPLED = 2000  # rows
N_NEIGHBOURS = 10
LEFT_OUT = 0.1  # the share of rows with the largest ratios, as in Facco et al. 2017
_CANDIDATES = 8  # rows whose distances are taken again without cancellation
_DECIMALS = 12  # of cosines, so that exact duplicates tie and the row's number decides


def mutual_knn(rows: Float[np.ndarray, "row layer neuron"], k: int = N_NEIGHBOURS) -> Float[np.ndarray, "layer layer"]:
    """The mean share of a row's k nearest rows by cosine that two layers have in common (Huh et al. 2024).

    Rows whose vector is 0 have no cosine: they are nobody's neighbour, and a pair of layers counts the rows that are
    not 0 in both. By chance, it is k / (rows - 1).

    Args:
        rows: a sample.
        k: the number of neighbours.

    Returns:
        NaN for a layer with no more than k + 1 rows that are not 0, or whose rows are all the same.
    """
    n_rows, n_layers, _ = rows.shape
    member = np.zeros((n_layers, n_rows, n_rows), bool)
    has = np.zeros((n_layers, n_rows), bool)
    for layer in range(n_layers):
        values = rows[:, layer].astype(np.float64)
        norms = np.linalg.norm(values, axis=1)
        has[layer] = norms > 0
        if has[layer].sum() <= k + 1 or not (values != values[0]).any():
            has[layer] = False
            continue
        units = values / np.where(norms > 0, norms, 1)[:, None]
        cosines = np.round(units @ units.T, _DECIMALS)
        cosines[:, ~has[layer]] = -2
        np.fill_diagonal(cosines, -3)
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        np.put_along_axis(member[layer], nearest, True, axis=1)
    shared = np.full((n_layers, n_layers), np.nan)
    for i in range(n_layers):
        for j in range(i + 1):
            both = has[i] & has[j]
            if both.any():
                shared[i, j] = shared[j, i] = (member[i, both] & member[j, both]).sum() / (k * both.sum())
    return shared


def two_nn(rows: Float[np.ndarray, "row neuron"]) -> float:
    """The intrinsic dimension by the two nearest neighbours of every row (Facco et al. 2017).

    With mu = r_2 / r_1, sorted, and F_i = i / n, -ln(1 - F) = d ln mu: d is the slope of the line through the origin by
    least squares, over all but the tenth of the rows with the largest mu. Exact duplicates of a row are left out first,
    since mu is not defined at distance 0.

    Returns:
        NaN with fewer than 10 different rows, or where all ratios are 1.
    """
    values = np.unique(rows.astype(np.float64), axis=0)
    n = len(values)
    if n < 10:
        return float("nan")
    values -= values.mean(0)
    squares = np.square(values).sum(1)
    distances = squares[:, None] + squares - 2 * values @ values.T
    np.fill_diagonal(distances, np.inf)
    nearest = np.argpartition(distances, _CANDIDATES, axis=1)[:, :_CANDIDATES]
    exact = [np.linalg.norm(values[near] - value, axis=1) for near, value in zip(nearest, values, strict=True)]
    first, second = np.sort(exact, axis=1)[:, :2].T
    logs = np.sort(np.log(second / first))
    kept = int(n * (1 - LEFT_OUT))
    x, y = logs[:kept], -np.log1p(-np.arange(1, kept + 1) / n)
    return float(x @ y / (x @ x)) if (x > 0).any() else float("nan")


def sampled(rows: np.ndarray, n: int = N_SAMPLED, seed: int = 0) -> np.ndarray:
    """The numbers of up to n of the rows, drawn without replacement, ascending."""
    if len(rows) <= n:
        return np.sort(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, n, replace=False))
