import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.activations.batching import LENGTHS, ROW_MULTIPLE, SLOT_SHARES, padded_length, plan_batches, word_batches
from jaxred.models.tokenization import TokenBatch, TokenizedWords, Tokenizer


@given(st.lists(st.integers(1, 700), max_size=200), st.integers(8, 5000))
@settings(max_examples=100, deadline=None)
def test_batches_cover_every_row_once_within_the_budget(lengths, budget):
    array = np.array(lengths, np.int32)
    batches = plan_batches(array, budget)
    rows = [row for batch in batches for row in batch.rows.tolist()]
    assert sorted(rows) == list(range(len(lengths)))
    for position, batch in enumerate(batches):
        assert 1 <= len(batch.rows) <= batch.n_rows
        assert batch.length >= array[batch.rows].max()
        assert batch.n_rows * batch.length <= max(budget, batch.length)
        if batch.n_rows * batch.length <= budget < (batch.n_rows + 1) * batch.length or batch.n_rows > 1:
            assert (batch.n_rows + ROW_MULTIPLE) * batch.length > budget  # no smaller than need be
        if position + 1 < len(batches):
            assert len(batch.rows) == batch.n_rows
            assert batch.length >= batches[position + 1].length
    shapes = {(batch.n_rows, batch.length) for batch in batches}
    assert len(shapes) == len({length for _, length in shapes}) <= len({padded_length(n) for n in lengths})
    assert {length for _, length in shapes} <= {*LENGTHS, 1024}


def test_little_padding_is_computed():
    lengths = np.random.default_rng(0).integers(3, 129, 4096)
    batches = plan_batches(lengths, 65536)
    assert len({(batch.n_rows, batch.length) for batch in batches}) <= 8
    assert sum(len(batch.rows) * batch.length for batch in batches) < 1.4 * lengths.sum()


@pytest.mark.parametrize(
    ("length", "padded"),
    [(1, 8), (8, 8), (9, 16), (24, 24), (25, 32), (129, 160), (512, 512), (513, 1024), (1024, 1024)],
)
def test_padded_lengths(length, padded):
    assert padded_length(length) == padded


class Padding(Tokenizer):
    """What `word_batches` asks of a tokenizer, with the padding on a side."""

    longest = 512

    def __init__(self, side):
        self.side = side

    def first_token(self, tokens, rows, length):
        return length - tokens.lengths[rows] if self.side == "left" else 0 * tokens.lengths[rows]

    def pad(self, tokens, rows, length, n_rows):
        """The number of the sentence times 1000, and the token's; -1 at padding."""
        padded = np.full((n_rows, length), -1)
        for i, row in enumerate(rows):
            start = int(self.first_token(tokens, row, length))
            padded[i, start : start + tokens.lengths[row]] = row * 1000 + np.arange(tokens.lengths[row])
        return padded


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=12),
    st.integers(1, 20),
    st.integers(8, 200),
    st.sampled_from(["left", "right"]),
)
@settings(max_examples=150, deadline=None)
def test_batches_hold_every_word_of_a_window_once(sentences, window_rows, budget, side):
    lengths = np.array([sum(counts) + 2 for counts in sentences], np.int32)
    words = [
        (row, word, 1 + sum(counts[:word]), count)
        for row, counts in enumerate(sentences)
        for word, count in enumerate(counts)
        if count
    ]
    if not words:
        return
    columns = np.array(words, np.int32).T
    nothing = np.zeros(len(sentences), np.int32)
    tokens = TokenBatch([], [], lengths, nothing, 0)
    found = TokenizedWords(tokens, *columns, nothing, nothing)
    for start in range(0, len(words), window_rows):
        window = slice(start, min(start + window_rows, len(words)))
        seen = []
        for rows, padded, slots in word_batches(found, window, Padding(side), budget):
            assert len(slots.sentences) <= padded.size
            assert len(slots.sentences) - len(rows) < -(-padded.size // SLOT_SHARES)
            for row, sentence, first, count in zip(rows.tolist(), *slots, strict=False):
                mine = padded[sentence, first : first + count]
                assert mine.tolist() == [words[row][0] * 1000 + words[row][2] + i for i in range(words[row][3])]
            assert not slots.counts[len(rows) :].any()
            seen += rows.tolist()
        assert sorted(seen) == list(range(window.start, window.stop))
