import jax.numpy as jnp
import numpy as np
import pytest

from jaxred.models import pooling

HIDDEN = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)


def own(mask):
    return pooling.own_tokens(jnp.asarray(mask))


def test_the_position_of_each_sentence_is_taken():
    pooled = pooling.at(jnp.asarray(HIDDEN), jnp.array([[0], [4], [2]]))[:, 0]
    np.testing.assert_array_equal(pooled, HIDDEN[[0, 1, 2], [0, 4, 2]])


def test_mean_is_over_real_tokens_wherever_they_are():
    mask = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 1, 1], [1, 0, 0, 0, 0]], bool)
    pooled = pooling.mean(jnp.asarray(HIDDEN), own(mask))[:, 0]
    np.testing.assert_allclose(pooled, [HIDDEN[i, mask[i]].mean(0) for i in range(3)], rtol=1e-6, atol=1e-7)


def test_mean_ignores_what_stands_at_padding_and_is_zero_without_tokens():
    mask = np.array([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
    hidden = np.where(mask[:, :, None], HIDDEN, np.nan)
    pooled = np.asarray(pooling.mean(jnp.asarray(hidden), own(mask))[:, 0])
    np.testing.assert_allclose(pooled[0], HIDDEN[0, :2].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(pooled[1], 0)


def test_mean_keeps_bfloat16():
    assert pooling.mean(jnp.ones((1, 2, 3), jnp.bfloat16), jnp.ones((1, 1, 2), bool)).dtype == jnp.bfloat16


SENTENCES, STARTS, COUNTS = np.array([2, 0, 0, 1, 0]), np.array([4, 0, 1, 2, 0]), np.array([1, 1, 4, 3, 0])


def test_words_are_taken_where_they_are():
    pooled = pooling.words_at(jnp.asarray(HIDDEN), jnp.asarray(SENTENCES), jnp.asarray(STARTS))
    np.testing.assert_array_equal(pooled, HIDDEN[SENTENCES, STARTS])


def test_means_of_words_are_over_their_tokens_alone():
    words = zip(SENTENCES, STARTS, COUNTS, strict=True)
    spans = [HIDDEN[s, a : a + n].mean(0) if n else np.zeros(4) for s, a, n in words]
    rest = HIDDEN.copy()
    rest[2, :4] = np.nan  # of no word
    pooled = pooling.word_means(*map(jnp.asarray, (rest, SENTENCES, STARTS, COUNTS)))
    np.testing.assert_allclose(pooled, spans, rtol=1e-6, atol=1e-7)
    bare = pooling.word_means(jnp.ones((1, 2, 3), jnp.bfloat16), *(jnp.zeros(2, int) for _ in range(3)))
    assert bare.dtype == jnp.bfloat16
    np.testing.assert_array_equal(bare, 0)


@pytest.mark.parametrize("side", [slice(None), slice(None, None, -1)], ids=["right", "left"])
def test_the_last_real_token_and_the_largest_values(side):
    mask = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]], bool)[:, side]
    hidden = np.where(mask[:, :, None], HIDDEN, np.nan)
    last = [np.flatnonzero(row)[-1] for row in mask]
    taken = pooling.at(jnp.asarray(hidden), pooling.last_positions(own(mask)))[:, 0]
    np.testing.assert_array_equal(taken, HIDDEN[range(3), last])
    largest = [HIDDEN[i, mask[i]].max(0) for i in range(3)]
    np.testing.assert_array_equal(pooling.max(jnp.asarray(hidden), own(mask))[:, 0], largest)
    np.testing.assert_array_equal(pooling.max(jnp.asarray(hidden), jnp.zeros((3, 1, 5), bool)), 0)


def test_sentences_of_packed_rows_are_pooled_as_in_rows_of_their_own():
    numbers = np.array([[1, 1, 2, 2, 2], [1, 2, 2, 3, 0], [0, 0, 0, 0, 0]], np.int32)
    of_slots = pooling.own_tokens(jnp.asarray(numbers), 3)
    expected = {"mean": np.zeros((3, 3, 4)), "max": np.zeros((3, 3, 4)), "last": np.zeros((3, 3, 4))}
    for row, slot in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]:
        tokens = HIDDEN[row][numbers[row] == slot + 1]
        expected["mean"][row, slot], expected["max"][row, slot] = tokens.mean(0), tokens.max(0)
        expected["last"][row, slot] = tokens[-1]
    hidden = jnp.asarray(HIDDEN)
    np.testing.assert_allclose(pooling.mean(hidden, of_slots), expected["mean"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(pooling.max(hidden, of_slots), expected["max"], rtol=1e-6)
    taken = np.where(np.any(of_slots, axis=2)[:, :, None], pooling.at(hidden, pooling.last_positions(of_slots)), 0)
    np.testing.assert_allclose(taken, expected["last"], rtol=1e-6)
