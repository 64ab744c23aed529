"""From the hidden states of a batch of sentences to one vector per sentence, or one per word."""

import jax
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


def last_positions(attention_mask: Bool[Array, "batch token"]) -> Int[Array, " batch"]:
    """Where the last real token of each sentence is, for `cls`.

        positions[b] = max {t: mask[b, t]}

    Args:
        attention_mask: True at real tokens; a row without any gives its last place.
    """
    return attention_mask.shape[1] - 1 - jnp.argmax(attention_mask[:, ::-1], axis=1)


def max(
    hidden_states: Float[Array, "batch token hidden"], attention_mask: Bool[Array, "batch token"]
) -> Float[Array, "batch hidden"]:
    """The largest value of each neuron over the real tokens of each sentence, special tokens included.

        pooled[b] = max_{t: mask[b, t]} hidden_states[b, t]

    Args:
        hidden_states: one layer's hidden states.
        attention_mask: True at real tokens; a row without any gives zeros.
    """
    real = attention_mask[:, :, None]
    largest = jnp.max(jnp.where(real, hidden_states, -jnp.inf), axis=1)
    return jnp.where(jnp.any(real, axis=1), largest, 0)


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


def words_at(
    hidden_states: Float[Array, "batch token hidden"], sentences: Int[Array, " word"], positions: Int[Array, " word"]
) -> Float[Array, "word hidden"]:
    """The hidden state at one token of each word, such as its last.

        pooled[w] = hidden_states[sentences[w], positions[w]]

    Args:
        hidden_states: one layer's hidden states.
        sentences: the row of each word's sentence in the batch.
        positions: the token to take for each word.
    """
    return hidden_states[sentences, positions]


def word_means(
    hidden_states: Float[Array, "batch token hidden"],
    sentences: Int[Array, " word"],
    starts: Int[Array, " word"],
    counts: Int[Array, " word"],
) -> Float[Array, "word hidden"]:
    """The mean hidden state over the tokens of each word.

        pooled[w] = sum_{i < counts[w]} hidden_states[sentences[w], starts[w] + i] / max(1, counts[w])

    Args:
        hidden_states: one layer's hidden states.
        sentences: the row of each word's sentence in the batch.
        starts: the first token of each word.
        counts: the tokens of each word; a word without any gives zeros.
    """

    def add(i: Int[Array, ""], total: Float[Array, "word hidden"]) -> Float[Array, "word hidden"]:
        is_of_word = (i < counts)[:, None]
        return total + jnp.where(is_of_word, hidden_states[sentences, jnp.where(i < counts, starts + i, 0)], 0)

    nothing = jnp.zeros((len(sentences), hidden_states.shape[-1]), hidden_states.dtype)
    total = jax.lax.fori_loop(0, jnp.max(counts, initial=0), add, nothing)
    return total / jnp.maximum(counts, 1)[:, None].astype(total.dtype)


def words(
    name: str,
    hidden_states: Float[Array, "batch token hidden"],
    sentences: Int[Array, " word"],
    starts: Int[Array, " word"],
    counts: Int[Array, " word"],
) -> Float[Array, "word hidden"]:
    """The vector of each word, by the name of the pooling: average, first or last."""
    if name == "average":
        return word_means(hidden_states, sentences, starts, counts)
    at = starts if name == "first" else starts + jnp.maximum(counts, 1) - 1
    return words_at(hidden_states, sentences, at)
