"""Rows of tokens: of one sentence each, or of several that follow each other.

Which tokens belong together, the attention mask says. Where it is a bool, True is a real token, and a row is a
sentence; where it is a number, it is that of the sentence in its row, from 1, and 0 is padding. A token then sees its
own sentence alone, and counts its position from the sentence's start: a sentence has the same vectors in any row.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

Mask = Bool[Array, "batch token"] | Int[Array, "batch token"]


def is_packed(attention_mask: Mask) -> bool:
    """Whether rows are of several sentences."""
    return attention_mask.dtype != jnp.bool_


def real_tokens(attention_mask: Mask) -> Bool[Array, "batch token"]:
    """True at real tokens."""
    return attention_mask != 0 if is_packed(attention_mask) else attention_mask


def sentence_starts(attention_mask: Int[Array, "batch token"]) -> Int[Array, "batch token"]:
    """Where the sentence of each token starts in its row, of packed rows."""
    before = jnp.pad(attention_mask, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    places = jnp.arange(attention_mask.shape[1])[None]
    return jax.lax.cummax(jnp.where(attention_mask != before, places, 0), axis=1)


def token_positions(attention_mask: Mask) -> Int[Array, "batch token"]:
    """Where each real token stands in its sentence, from 0, whichever side the padding is on."""
    if is_packed(attention_mask):
        return jnp.arange(attention_mask.shape[1])[None] - sentence_starts(attention_mask)
    return jnp.maximum(jnp.cumsum(attention_mask, axis=1) - 1, 0)


def positions_from_left(attention_mask: Mask) -> Int[Array, "rows token"]:
    """`token_positions` where padding follows the sentence: one row for all, where a row is a sentence."""
    return token_positions(attention_mask) if is_packed(attention_mask) else jnp.arange(attention_mask.shape[1])[None]


def sentence_lengths(attention_mask: Mask) -> Int[Array, "batch _"]:
    """How many real tokens the sentence of each token has; one number for all of a row that is a sentence."""
    if not is_packed(attention_mask):
        return jnp.sum(attention_mask, axis=1, keepdims=True)
    return jnp.sum(attention_mask[:, :, None] == attention_mask[:, None, :], axis=2)


def at_queries(of_tokens: Int[Array, "rows _"], queries: Int[Array, "batch query"]) -> Int[Array, "_ _"]:
    """What is known of tokens, of those alone that attend; one number for a row stays one."""
    if of_tokens.shape[1] == 1:
        return of_tokens
    n_rows = max(len(of_tokens), len(queries))
    return jnp.take_along_axis(jnp.broadcast_to(of_tokens, (n_rows, of_tokens.shape[1])), queries, axis=1)


def visible_tokens(
    attention_mask: Mask, queries: Int[Array, "batch query"], causal: bool = False, window: int = 0
) -> Bool[Array, "batch _ token"]:
    """Which tokens each query sees: of its own sentence.

    Args:
        attention_mask: which tokens belong together.
        queries: where the queries stand.
        causal: a token sees itself and those before it alone.
        window: a token sees those at a distance of less than so many; 0: all.
    """
    visible = real_tokens(attention_mask)[:, None, :]
    if is_packed(attention_mask):
        own = jnp.take_along_axis(attention_mask, queries, axis=1)
        visible &= own[:, :, None] == attention_mask[:, None, :]
    if not causal and not window:
        return visible
    distance = queries[:, :, None] - jnp.arange(attention_mask.shape[1])[None, None]
    if causal:
        visible &= distance >= 0
    if window:
        visible &= jnp.abs(distance) < window
    return visible
