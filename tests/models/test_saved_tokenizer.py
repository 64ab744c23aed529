"""Tokenizers without transformers: the same tokens, for any text."""

import functools

import pytest
from helpers import small_models
from helpers.small_models import TEXTS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxred.errors import UserError
from jaxred.models.loading import abstract_encoder
from jaxred.models.saved_tokenizer import SavedTokenizer
from jaxred.models.tokenization import Tokenizer

TEXT = st.lists(st.one_of(st.sampled_from(" ".join(TEXTS).split()), st.text(max_size=6)), min_size=1, max_size=25)


@pytest.fixture(scope="module", params=["bert", "roberta", "xlnet", "gpt2", "llama"])
def both(request, tmp_path_factory):
    """A tokenizer by transformers, and what was saved of it."""
    folder = small_models.write_encoder(tmp_path_factory.mktemp(request.param) / "encoder", request.param)
    config = abstract_encoder(folder).config
    theirs = Tokenizer(folder, config)
    (folder / "saved.json").write_text(theirs.saved.to_json())
    saved = SavedTokenizer.read(folder / "saved.json", theirs.saved.special)
    return theirs, Tokenizer(folder, config, saved)


def tokens(batch):
    return [[row.tolist() for row in rows] for rows in (batch.ids, batch.token_type_ids)], batch.n_truncated


def outcome(function):
    try:
        return function()
    except UserError as error:
        return str(error)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=TEXT, other=TEXT, max_length=st.integers(6, 16))
def test_ids_segments_words_and_truncation_are_the_same(both, words, other, max_length):
    texts, pairs = [" ".join(words), "film"], [" ".join(other), "plot"]
    for second in (None, pairs):
        first, again = (
            outcome(
                functools.partial(lambda each, second: tokens(each.encode(texts, second, max_length)), each, second)
            )
            for each in both
        )
        assert first == again
    kept, found = (outcome(lambda each=each: each.encode_words([words, other], max_length)) for each in both)
    if isinstance(kept, str):
        assert kept == found
        return
    assert tokens(kept.tokens) == tokens(found.tokens)
    for name in ("sentence_index", "word_index", "start", "count", "n_cut", "n_empty"):
        assert getattr(kept, name).tolist() == getattr(found, name).tolist()


def test_what_was_saved_is_saved_again(both):
    theirs, saved = both
    saved.encode(["film"], None, 8)
    assert saved.saved.to_json() == theirs.saved.to_json()


def test_a_file_that_is_no_tokenizer_is_named(tmp_path, both):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer.json is not a tokenizer"):
        SavedTokenizer.read(tmp_path / "tokenizer.json", both[0].saved.special)
