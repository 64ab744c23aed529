"""Batches: every sentence once per epoch, in an order that seed and epoch decide, and arrays that hold it all."""

import numpy as np
import pytest
from helpers.small_models import TEXTS, write_encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.finetuning.batches import LENGTHS, Rows, epoch_order, padded, padded_length
from jaxred.models import pretrained
from jaxred.models.loading import architecture
from jaxred.models.tokenization import Tokenizer

orders = given(
    lengths=st.lists(st.integers(2, 600), min_size=1, max_size=300).map(np.array),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 1000),
    group=st.booleans(),
)


@settings(deadline=None, max_examples=60)
@orders
def test_every_sentence_comes_once_per_epoch(lengths, batch_size, seed, epoch, group):
    order = epoch_order(lengths, batch_size, seed, epoch, group)
    np.testing.assert_array_equal(np.sort(np.concatenate(order)), np.arange(len(lengths)))
    assert len(order) == -(-len(lengths) // batch_size)
    sizes = sorted(map(len, order), reverse=True)
    assert sizes[:-1] == [batch_size] * (len(order) - 1)
    assert sizes[-1] == len(lengths) - batch_size * (len(order) - 1)  # the last short batch is used too
    again = epoch_order(lengths, batch_size, seed, epoch, group)
    assert [batch.tolist() for batch in order] == [batch.tolist() for batch in again]


@pytest.mark.parametrize("group", [False, True])
def test_seeds_and_epochs_have_orders_of_their_own(group):
    lengths = np.random.default_rng(0).integers(3, 60, 500)
    runs = {(seed, epoch): epoch_order(lengths, 8, seed, epoch, group) for seed in (1, 2) for epoch in range(3)}
    assert len({tuple(np.concatenate(run).tolist()) for run in runs.values()}) == 6
    assert len({tuple(sorted(run[0].tolist())) for run in runs.values()}) == 6  # other sentences share a batch


def test_similar_lengths_come_together_in_a_random_order():
    lengths = np.random.default_rng(0).integers(3, 120, 2000)
    spread = {
        group: np.mean([np.ptp(lengths[batch]) for batch in epoch_order(lengths, 8, 42, 0, group)])
        for group in (True, False)
    }
    assert spread[True] < 5 < 60 < spread[False]
    longest = [lengths[batch].max() for batch in epoch_order(lengths, 8, 42, 0)]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.2


@settings(deadline=None, max_examples=60)
@given(longest=st.integers(1, 4000))
def test_padded_lengths_hold_the_sentence_and_are_few(longest):
    length = padded_length(longest)
    assert longest <= length
    assert length in LENGTHS or length % LENGTHS[-1] == 0
    assert padded_length(length) == length


TYPES = {"right": "bert", "left": "xlnet"}


@pytest.fixture(scope="module", params=TYPES)
def side_and_tokenizer(request, tmp_path_factory):
    folder = write_encoder(tmp_path_factory.mktemp("encoder"), TYPES[request.param])
    raw = pretrained.read_config(folder)
    config = architecture(TYPES[request.param]).config_type.from_dict(raw, folder / pretrained.CONFIG)
    return request.param, Tokenizer(folder, config)


def sentence_rows(tokenizer, kind=np.int32):
    return Rows(tokenizer.encode(TEXTS, None, 30), np.arange(len(TEXTS), dtype=kind))


def word_rows(tokenizer):
    words = tokenizer.encode_words([text.split() for text in TEXTS], 30)
    return Rows(words.tokens, np.arange(len(words.word_index), dtype=np.int32), words)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_padded_holds_every_sentence_with_its_target(side_and_tokenizer, data):
    side, tokenizer = side_and_tokenizer
    rows = sentence_rows(tokenizer)
    batch_size = data.draw(st.integers(1, 12))
    sentences = np.array(data.draw(st.permutations(range(len(TEXTS)))))[: data.draw(st.integers(1, batch_size))]
    n_parts, multiple = data.draw(st.integers(1, batch_size)), data.draw(st.integers(1, 4))
    batch = padded(rows, sentences, tokenizer, batch_size, n_parts, multiple)
    n_rows = batch.targets.shape[1]
    assert n_rows % multiple == 0
    assert batch.tokens.input_ids.shape == (n_parts, n_rows, padded_length(int(rows.tokens.lengths[sentences].max())))
    assert all(array.shape[:2] == (n_parts, n_rows) for array in batch.tokens)
    real = batch.weights > 0
    assert batch.weights.sum() == len(sentences)
    assert batch.targets[real].tolist() == sentences.tolist()  # parts follow each other
    mask = batch.tokens.attention_mask
    np.testing.assert_array_equal(mask.any(-1), real)
    assert mask[..., -1 if side == "left" else 0][real].all()
    for sentence, ids, of_row in zip(sentences, batch.tokens.input_ids[real], mask[real], strict=True):
        assert ids[of_row].tolist() == list(rows.tokens.ids[sentence])
    again = padded(rows, sentences, tokenizer, batch_size, n_parts, multiple)
    np.testing.assert_array_equal(batch.tokens.input_ids, again.tokens.input_ids)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_the_target_of_a_word_is_at_its_tokens(side_and_tokenizer, data):
    _, tokenizer = side_and_tokenizer
    rows = word_rows(tokenizer)
    batch_size = data.draw(st.integers(1, 9))
    sentences = np.array(data.draw(st.permutations(range(len(TEXTS)))))[: data.draw(st.integers(1, batch_size))]
    n_parts, multiple = data.draw(st.integers(1, batch_size)), data.draw(st.integers(1, 3))
    batch = padded(rows, sentences, tokenizer, batch_size, n_parts, multiple)
    words = rows.words
    assert words is not None
    assert batch.words is not None
    seen = []
    for part in range(n_parts):
        for slot in np.flatnonzero(batch.weights[part]):
            word = batch.targets[part, slot]
            start, count = batch.words.starts[part, slot], batch.words.counts[part, slot]
            in_batch = batch.tokens.input_ids[part, batch.words.rows[part, slot], start : start + count]
            first = words.start[word]
            ids = words.tokens.ids[words.sentence_index[word]]
            assert in_batch.tolist() == list(ids[first : first + words.count[word]])
            assert count > 0
            seen.append(int(word))
        assert not batch.words.counts[part][batch.weights[part] == 0].any()
    assert seen == np.concatenate(rows.of_sentences(sentences)).tolist()


def test_a_subset_of_words_is_that_of_its_sentences(side_and_tokenizer):
    _, tokenizer = side_and_tokenizer
    rows = word_rows(tokenizer)
    sentences = np.array([7, 2, 11])
    subset = rows.subset(sentences)
    whole, alone = padded(rows, sentences, tokenizer, 3), padded(subset, np.arange(3), tokenizer, 3)
    for one, other in zip((*whole.tokens, *whole.words), (*alone.tokens, *alone.words), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(whole.targets, alone.targets)
    assert subset.n_sentences == 3
    assert len(subset) == whole.weights.sum()


def test_scores_keep_their_type_and_truncated_sentences_fit(side_and_tokenizer):
    _, tokenizer = side_and_tokenizer
    rows = sentence_rows(tokenizer, np.float32)
    batch = padded(rows, np.arange(4), tokenizer, 4)
    assert batch.targets.dtype == np.float32
    limit = tokenizer.longest
    assert batch.tokens.input_ids.shape[2] <= limit
