"""Which tokens belong to which word: BERT's tokenizer on made-up vocabularies, MiniLM's and XLNet's own."""

import numpy as np
import pytest
from helpers.word_pieces import CONFIG, VOCABULARY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxred.errors import UserError
from jaxred.models import pretrained
from jaxred.models.bert import BertConfig
from jaxred.models.tokenization import Tokenizer
from jaxred.models.xlnet import XLNetConfig

ODD = [
    "naïve",
    "don't",
    "中文",
    "\u200b",
    "\u00ad",
    "\ufeff",
    "x" * 120,
    "[SEP]",
    "<sep>",
    "a b",
    "\U0001f600",
    "ｆｕｌｌ",
]


@pytest.fixture(scope="module")
def tokenizer(word_piece_folder):
    return Tokenizer(word_piece_folder, CONFIG)


@pytest.fixture(scope="module")
def minilm():
    try:
        return Tokenizer(pretrained.resolve("all-MiniLM-L6-v2"), BertConfig())
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def xlnet(xlnet_tokenizer_folder):
    return Tokenizer(xlnet_tokenizer_folder, XLNetConfig())


def spans(found):
    columns = (found.sentence_index, found.word_index, found.start, found.count)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_sub_words_of_known_words(tokenizer):
    found = tokenizer.encode_words([["The", "movies", "badly", "unknown", "."], ["a"]], 32)
    assert spans(found) == [(0, 0, 1, 1), (0, 1, 2, 2), (0, 2, 4, 2), (0, 3, 6, 1), (0, 4, 7, 1), (1, 0, 1, 1)]
    assert found.tokens.ids[0][6] == VOCABULARY.index("[UNK]")
    assert found.n_cut.tolist() == found.n_empty.tolist() == [0, 0]
    assert found.tokens.n_truncated == 0


def test_words_that_become_nothing_are_left_out_and_counted(tokenizer):
    found = tokenizer.encode_words([["a", "\u200b", "movies", "\x00", "the"], ["\u200b"], ["good"]], 32)
    assert spans(found) == [(0, 0, 1, 1), (0, 2, 2, 2), (0, 4, 4, 1), (2, 0, 1, 1)]
    assert found.n_empty.tolist() == [2, 1, 0]
    assert found.tokens.lengths.tolist() == [6, 2, 3]


@pytest.mark.parametrize(("max_length", "n_kept"), [(32, 4), (8, 4), (7, 3), (6, 3), (5, 2), (4, 2)])
def test_words_that_truncation_cuts_are_left_out_with_all_after_them(tokenizer, max_length, n_kept):
    found = tokenizer.encode_words([["a", "the", "movies", "badly"], ["a"]], max_length)
    assert spans(found)[:-1] == [(0, 0, 1, 1), (0, 1, 2, 1), (0, 2, 3, 2), (0, 3, 5, 2)][:n_kept]
    assert spans(found)[-1] == (1, 0, 1, 1)
    assert found.n_cut.tolist() == [4 - n_kept, 0]
    assert found.tokens.n_truncated == (n_kept < 4)
    assert found.tokens.lengths.max() <= max_length


def test_a_word_longer_than_all_its_room(tokenizer):
    found = tokenizer.encode_words([["a" + "," * 20, "the"]], 8)
    assert spans(found) == []
    assert found.n_cut.tolist() == [2]


def test_no_sentences_and_too_many_tokens(tokenizer):
    assert spans(tokenizer.encode_words([], 32)) == []
    with pytest.raises(UserError, match="max_length=33 is not possible"):
        tokenizer.encode_words([["a"]], 33)


def check_alignment(tokenizer, sentences, max_length):
    """Holds the alignment against tokenising every word alone, which these tokenizers must agree with."""
    found = tokenizer.encode_words(sentences, max_length)
    first, n_special = (1, 2) if tokenizer.layout.sentence_position == "first" else (0, 2)
    expected, n_cut, n_empty = [], [], []
    for row, words in enumerate(sentences):
        alone = [tokenizer.encode_words([[word]], min(tokenizer.longest, 512)).tokens.ids[0] for word in words]
        counts = [len(ids) - n_special for ids in alone]
        room, position, cut = max_length - n_special, 0, 0
        for word, count in enumerate(counts):
            if count and position + count <= room:
                expected.append((row, word, first + position, count))
                start = first + position
                np.testing.assert_array_equal(
                    found.tokens.ids[row][start : start + count], alone[word][first : first + count]
                )
            cut += bool(count) and position + count > room
            position += count
        n_cut.append(cut)
        n_empty.append(counts.count(0))
    assert spans(found) == expected
    assert found.n_cut.tolist() == n_cut
    assert found.n_empty.tolist() == n_empty
    assert (found.n_cut + found.n_empty + np.bincount(found.sentence_index, minlength=len(sentences))).tolist() == [
        len(words) for words in sentences
    ]


characters = st.characters(exclude_categories=["Cs"], exclude_characters="\u2581")
any_words = st.one_of(st.text(characters, min_size=1, max_size=8), st.sampled_from([*VOCABULARY[5:], *ODD]))
some_sentences = st.lists(st.lists(any_words, min_size=1, max_size=8), min_size=1, max_size=3)


@given(some_sentences, st.integers(4, 32))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_alignment_of_any_words(tokenizer, sentences, max_length):
    check_alignment(tokenizer, sentences, max_length)


@pytest.mark.minilm
@given(some_sentences, st.integers(4, 40))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_alignment_of_any_words_by_minilm(minilm, sentences, max_length):
    check_alignment(minilm, sentences, max_length)


@pytest.mark.shared
@given(some_sentences, st.integers(4, 40))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_alignment_of_any_words_by_xlnet(xlnet, sentences, max_length):
    check_alignment(xlnet, sentences, max_length)
