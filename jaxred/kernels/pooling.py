"""From the hidden states of a batch of sentences to one vector a sentence."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def cls(
    hidden_states: Float[Array, "batch token hidden"], positions: Int[Array, " batch"]
) -> Float[Array, "batch hidden"]:
    """The hidden state at one position of each sentence, such as its [CLS] token.

        pooled[b] = hidden_states[b, positions[b]]

    Args:
        hidden_states: one layer's hidden states.
        positions: the token to take from each sentence.
    """
    return jnp.take_along_axis(hidden_states, positions[:, None, None], axis=1)[:, 0]


def mean(
    hidden_states: Float[Array, "batch token hidden"], attention_mask: Bool[Array, "batch token"]
) -> Float[Array, "batch hidden"]:
    """The mean hidden state over the real tokens of each sentence, special tokens included.

        pooled[b] = sum_t mask[b, t] hidden_states[b, t] / max(1, sum_t mask[b, t])

    Args:
        hidden_states: one layer's hidden states.
        attention_mask: True at real tokens; a row without any gives zeros.
    """
    real = attention_mask[:, :, None]
    total = jnp.sum(jnp.where(real, hidden_states, 0), axis=1)
    return total / jnp.maximum(jnp.sum(real, axis=1), 1).astype(total.dtype)
