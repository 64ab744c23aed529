"""Distances between tokens, for attention by relative position: their buckets, and scores by distance to by token."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def by_token(scores: Float[Array, "head token distance"]) -> Float[Array, "head token token"]:
    """Scores by distance n, n - 1, ... become scores by token: the one of tokens i and j is at n - i + j.

    In the flattened rows a token's score is one column further to the left than that of the row before; so the rows
    are cut again, one shorter, after the first n columns. No copy is made by loops or gathers. Where the distances end
    at 0, the scores of later tokens have no meaning.
    """
    n_tokens, n_distances = scores.shape[-2:]
    flat = scores.reshape(*scores.shape[:-2], n_tokens * n_distances)[..., n_tokens:]
    return flat.reshape(*scores.shape[:-2], n_tokens, n_distances - 1)[..., :n_tokens]


def of_tokens(
    scores: Float[Array, "head row distance"],
    rows: Int[Array, " row"],
    columns: Int[Array, " column"],
    n_tokens: int,
) -> Float[Array, "head row column"]:
    """`by_token` of some tokens, wherever they stand, and some others: each one's distances are picked."""
    picked = n_tokens - rows[:, None] + columns[None]
    return jnp.take_along_axis(scores, picked[None], axis=-1, mode="clip")


def log_buckets(distances: Int[np.ndarray, "*shape"], n_buckets: int, n_positions: int) -> Int[np.ndarray, "*shape"]:
    """The buckets of DeBERTa: a distance is its own up to mid = n_buckets // 2; beyond it, a distance d > 0 has

        mid + ceil(log(d / mid) / log((n_positions - 1) / mid) * (mid - 1))

    and -d the negative of it. In float32, rounded as PyTorch rounds it: at the border of two buckets an exact number
    may be in the other one.
    """
    mid = n_buckets // 2
    ratios = np.maximum(np.abs(distances), mid).astype(np.float32) / np.float32(mid)
    share = _log(ratios) / _log(np.float32((n_positions - 1) / mid))
    buckets = np.ceil(share * np.float32(mid - 1)) + np.float32(mid)
    return np.where(np.abs(distances) <= mid, distances, np.sign(distances) * buckets).astype(np.int64)


def _log(x: Any) -> Any:
    """The float32 next to the logarithm."""
    return np.log(np.float64(x)).astype(np.float32)
