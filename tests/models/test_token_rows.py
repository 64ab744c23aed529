import jax.numpy as jnp
import numpy as np

from jaxred.models import token_rows

PACKED = jnp.array([[1, 1, 2, 2, 2, 3, 0, 0], [1, 2, 3, 4, 4, 4, 4, 4]], jnp.int32)


def test_each_sentence_counts_from_its_own_start():
    np.testing.assert_array_equal(token_rows.sentence_starts(PACKED)[0, :6], [0, 0, 2, 2, 2, 5])
    np.testing.assert_array_equal(token_rows.token_positions(PACKED)[0, :6], [0, 1, 0, 1, 2, 0])
    np.testing.assert_array_equal(token_rows.token_positions(PACKED)[1], [0, 0, 0, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(token_rows.sentence_lengths(PACKED)[0, :6], [2, 2, 3, 3, 3, 1])
    np.testing.assert_array_equal(token_rows.real_tokens(PACKED)[0], [True] * 6 + [False] * 2)


def test_of_rows_that_are_a_sentence_the_padding_may_be_on_either_side():
    mask = jnp.array([[False, True, True], [True, True, False]])
    np.testing.assert_array_equal(token_rows.token_positions(mask), [[0, 0, 1], [0, 1, 1]])
    np.testing.assert_array_equal(token_rows.positions_from_left(mask), [[0, 1, 2]])
    np.testing.assert_array_equal(token_rows.sentence_lengths(mask), [[2], [2]])
    assert token_rows.real_tokens(mask) is mask


def test_a_token_sees_its_own_sentence_alone():
    queries = jnp.array([[0, 3, 5], [1, 4, 7]])
    seen = np.asarray(token_rows.visible_tokens(PACKED, queries))
    assert [[np.flatnonzero(row).tolist() for row in rows] for rows in seen] == [
        [[0, 1], [2, 3, 4], [5]],
        [[1], [3, 4, 5, 6, 7], [3, 4, 5, 6, 7]],
    ]
    causal = np.asarray(token_rows.visible_tokens(PACKED, queries, causal=True, window=2))
    assert [[np.flatnonzero(row).tolist() for row in rows] for rows in causal] == [
        [[0], [2, 3], [5]],
        [[1], [3, 4], [6, 7]],
    ]
    np.testing.assert_array_equal(token_rows.at_queries(PACKED, queries), [[1, 2, 3], [2, 4, 4]])
