"""From the hidden states of a batch of sentences to one vector per sentence, or one per word."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxred.models.token_rows import Mask, is_packed


def at(
    hidden_states: Float[Array, "batch token hidden"], positions: Int[Array, "batch slot"]
) -> Float[Array, "batch slot hidden"]:
    """The hidden states at some positions of each row, such as that of each sentence's [CLS] token.

        pooled[b, s] = hidden_states[b, positions[b, s]]

    Args:
        hidden_states: one layer's hidden states.
        positions: the tokens to take from each row.
    """
    return jnp.take_along_axis(hidden_states, positions[:, :, None], axis=1)


def own_tokens(attention_mask: Mask, n_slots: int = 1) -> Bool[Array, "batch slot token"]:
    """Which tokens each sentence of a row has: the first, the second, ... of them.

    Args:
        attention_mask: which tokens belong together.
        n_slots: the most sentences that a row has; 1 where rows are not packed.
    """
    if not is_packed(attention_mask):
        return attention_mask[:, None]
    return attention_mask[:, None] == jnp.arange(1, n_slots + 1)[None, :, None]


def last_positions(own: Bool[Array, "batch slot token"]) -> Int[Array, "batch slot"]:
    """Where the last token of each sentence is, for `at`.

        positions[b, s] = max {t: own[b, s, t]}

    Args:
        own: the tokens of each sentence; one without any gives the last place.
    """
    return own.shape[2] - 1 - jnp.argmax(own[:, :, ::-1], axis=2)


def max(
    hidden_states: Float[Array, "batch token hidden"], own: Bool[Array, "batch slot token"]
) -> Float[Array, "batch slot hidden"]:
    """The largest value of each neuron over the tokens of each sentence, special tokens included.

        pooled[b, s] = max_{t: own[b, s, t]} hidden_states[b, t]

    Args:
        hidden_states: one layer's hidden states.
        own: the tokens of each sentence; one without any gives zeros.
    """

    def of_slot(own: Bool[Array, "batch token"]) -> Float[Array, "batch hidden"]:
        largest = jnp.max(jnp.where(own[:, :, None], hidden_states, -jnp.inf), axis=1)
        return jnp.where(jnp.any(own, axis=1)[:, None], largest, 0)

    return jnp.stack([of_slot(own[:, slot]) for slot in range(own.shape[1])], axis=1)


def mean(
    hidden_states: Float[Array, "batch token hidden"], own: Bool[Array, "batch slot token"]
) -> Float[Array, "batch slot hidden"]:
    """The mean hidden state over the tokens of each sentence, special tokens included.

        pooled[b, s] = sum_t own[b, s, t] hidden_states[b, t] / max(1, sum_t own[b, s, t])

    Args:
        hidden_states: one layer's hidden states.
        own: the tokens of each sentence; one without any gives zeros.
    """
    if own.shape[1] == 1:
        total = jnp.sum(jnp.where(own[:, 0, :, None], hidden_states, 0), axis=1)[:, None]
    else:
        total = jnp.einsum(
            "bst,bth->bsh", own.astype(hidden_states.dtype), hidden_states, precision=jax.lax.Precision.HIGHEST
        )
    return total / jnp.maximum(jnp.sum(own, axis=2), 1)[:, :, None].astype(total.dtype)


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
