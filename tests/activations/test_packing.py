"""Every sentence and word is in one batch, where its tokens are said to be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.activations.packing import SLOT_SHARES, justified_budget, pack, pack_words
from jaxred.models.token_layout import TokenLayout
from jaxred.models.tokenization import TokenBatch, TokenizedWords, Tokenizer


class Padding(Tokenizer):
    """What packing asks of a tokenizer."""

    pad_token_id, longest, layout = -1, 512, TokenLayout(pad_token_type_id=4)

    def __init__(self):
        pass


TOKENIZER = Padding()


def numbered(lengths):
    """Sentences whose tokens are their number times 1000 and the token's; the last stands for the sentence."""
    ids = [row * 1000 + np.arange(length, dtype=np.int32) for row, length in enumerate(lengths)]
    types = [np.full(length, row % 2, np.int32) for row, length in enumerate(lengths)]
    return TokenBatch(ids, types, np.array(lengths, np.int32), np.array(lengths, np.int32) - 1, 0)


@given(st.lists(st.integers(1, 700), max_size=200), st.integers(8, 5000), st.booleans())
@settings(max_examples=100, deadline=None)
def test_every_sentence_is_once_in_a_row_that_is_no_longer_than_allowed(lengths, budget, one_slot):
    tokens = numbered(lengths)
    batches = pack(tokens.lengths, budget, longest=700, one_slot=one_slot)
    assert sorted(row for batch in batches for row in batch.sentences.tolist()) == list(range(len(lengths)))
    for batch in batches:
        n_rows, length, n_slots = batch.shape
        assert length <= 700
        assert n_rows * length <= max(budget, length)
        assert n_slots <= max(length // 2, 1)
        assert one_slot or batch.slots.max() < n_slots
        if one_slot:
            assert n_slots == 1
            continue
        ids, numbers, types, positions = batch.tokens(TOKENIZER, tokens)
        assert np.count_nonzero(numbers) == tokens.lengths[batch.sentences].sum()
        assert (ids[numbers == 0] == -1).all()
        assert (types[numbers == 0] == 4).all()
        for sentence, row, slot in zip(batch.sentences, batch.rows, batch.slots, strict=True):
            own = numbers[row] == slot + 1
            np.testing.assert_array_equal(ids[row, own], tokens.ids[sentence])
            np.testing.assert_array_equal(types[row, own], tokens.token_type_ids[sentence])
            assert np.all(np.diff(np.flatnonzero(own)) == 1)
            assert ids[row, positions[row, slot]] == sentence * 1000 + lengths[sentence] - 1
        assert len(set(batch.places.tolist())) == len(batch.places)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60), st.randoms())
@settings(max_examples=30, deadline=None)
def test_the_shapes_depend_on_the_lengths_alone(lengths, random):
    first = pack(np.array(lengths), 512)
    again = pack(np.array(lengths), 512)
    assert [(batch.shape, batch.sentences.tolist()) for batch in first] == [
        (batch.shape, batch.sentences.tolist()) for batch in again
    ]


@pytest.mark.parametrize(
    ("name", "least"), [("short", 0.96), ("even", 0.95), ("equal", 0.999), ("long tail", 0.9), ("tiny", 0.9)]
)
def test_hardly_any_padding_is_computed_in_few_shapes(name, least):
    random = np.random.default_rng(0)
    lengths = {
        "short": np.clip(random.lognormal(2.4, 0.6, 4096).astype(int) + 2, 3, 128),
        "even": random.integers(3, 129, 4096),
        "equal": np.full(4096, 128),
        "long tail": np.concatenate([random.integers(5, 20, 4000), random.integers(300, 512, 40)]),
        "tiny": random.integers(1, 4, 4096),
    }[name]
    batches = pack(lengths, 2048, 512)
    assert len({batch.shape for batch in batches}) <= 4
    assert lengths.sum() >= least * sum(batch.n_tokens for batch in batches)


def test_a_budget_is_no_more_than_there_are_tokens():
    assert justified_budget(10**9, np.full(100, 20)) == 2048
    assert justified_budget(10**9, np.full(1000, 20)) == 32768
    assert justified_budget(512, np.full(1000, 20)) == 512


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=12),
    st.integers(1, 20),
    st.integers(8, 200),
)
@settings(max_examples=100, deadline=None)
def test_batches_hold_every_word_of_a_window_once(sentences, window_rows, budget):
    tokens = numbered([sum(counts) + 2 for counts in sentences])
    words = [
        (row, word, 1 + sum(counts[:word]), count)
        for row, counts in enumerate(sentences)
        for word, count in enumerate(counts)
        if count
    ]
    if not words:
        return
    nothing = np.zeros(len(sentences), np.int32)
    of_words = TokenizedWords(tokens, *np.array(words, np.int32).T, nothing, nothing)
    for start in range(0, len(words), window_rows):
        window = slice(start, min(start + window_rows, len(words)))
        seen = []
        for work in pack_words(of_words, window, TOKENIZER, budget):
            rows, batch, slots = work.rows + start, work.batch, work.words
            assert len(slots.rows) - len(rows) < -(-batch.input_ids.size // SLOT_SHARES)
            for number, row, first, count in zip(rows.tolist(), *slots, strict=False):
                of_word = batch.input_ids[row, first : first + count]
                sentence, _, first_token, n_tokens = words[number]
                assert of_word.tolist() == [sentence * 1000 + first_token + i for i in range(n_tokens)]
            assert not slots.counts[len(rows) :].any()
            seen += rows.tolist()
        assert sorted(seen) == list(range(window.start, window.stop))
