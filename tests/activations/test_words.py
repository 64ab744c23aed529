import numpy as np
import pytest
from helpers.tiny_encoder import sentences

from jaxred.activations import words as module
from jaxred.activations.words import left_out, plan_words, word_labels
from jaxred.data.examples import LabelledSentence
from jaxred.errors import UserError

TEXTS = [tuple(text.split()) for text in (*sentences(40, 3, (1, 12)), "w1 \u200b w2", "\u200b", "w3")]
SENTENCES = [LabelledSentence(words, tuple("ab"[i % 2] for i in range(len(words))), 3 * n) for n, words in
             enumerate(TEXTS)]  # fmt: skip


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_of_sentences_give_the_plan_of_all_at_once(tokenizer, monkeypatch, block):
    monkeypatch.setattr(module, "SENTENCES", block)
    plan, whole = plan_words(tokenizer, SENTENCES, 8), tokenizer.encode_words(TEXTS, 8)
    for name in ("sentence_index", "word_index", "n_cut", "n_empty"):
        np.testing.assert_array_equal(getattr(plan, name), getattr(whole, name))
    assert plan.n_tokens == whole.tokens.lengths.sum()
    assert plan.n_cut.sum() > 0
    assert plan.n_empty.sum() == 2


@pytest.mark.parametrize("size", [1, 5, 64])
def test_windows_are_tokenised_to_the_words_that_were_planned(tokenizer, size):
    plan, whole = plan_words(tokenizer, SENTENCES, 8), tokenizer.encode_words(TEXTS, 8)
    for start in range(0, len(plan), size):
        rows = slice(start, min(start + size, len(plan)))
        words, own = plan.tokenized(rows, SENTENCES, tokenizer, 8)
        first = plan.sentence_index[rows.start]
        np.testing.assert_array_equal(words.sentence_index[own] + first, whole.sentence_index[rows])
        for name in ("word_index", "start", "count"):
            np.testing.assert_array_equal(getattr(words, name)[own], getattr(whole, name)[rows])
        for here, there in zip(words.sentence_index[own], whole.sentence_index[rows], strict=True):
            np.testing.assert_array_equal(words.tokens.ids[here], whole.tokens.ids[there])


def test_labels_and_what_is_left_out(tokenizer):
    plan = plan_words(tokenizer, SENTENCES, 8)
    labels = word_labels(plan, SENTENCES, "train")
    assert labels == word_labels(tokenizer.encode_words(TEXTS, 8), SENTENCES, "train")
    assert len(labels) == len(plan)
    notes = left_out(plan, SENTENCES)
    assert notes["without_tokens_lines"] == [3 * 40, 3 * 41]
    assert notes["sentences_truncated"] == len(notes["truncated_lines"]) > 0


def test_no_word_has_a_vector(tokenizer):
    none = SENTENCES[41:42]
    with pytest.raises(UserError, match="No word of the train split has a vector"):
        word_labels(plan_words(tokenizer, none, 8), none, "train")
    assert len(plan_words(tokenizer, [], 8)) == 0
