"""Scores by distance to scores by token, for attention by relative position."""

import jax.numpy as jnp
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
