"""Text without words is reported before anything is encoded."""

import pytest

from jaxred.data.checks import refuse_wordless
from jaxred.data.examples import Dataset, Example, LabelledSentence, WordDataset
from jaxred.errors import UserError


def words(*sentences):
    rows = [LabelledSentence(tuple(text.split()), ("X",) * len(text.split()), 1) for text in sentences]
    good = [LabelledSentence(("a", "dog", "."), ("X", "Y", "Z"), 1)]
    return WordDataset("ud_pos", "classification", {"train": good, "test": rows}, {})


@pytest.mark.parametrize("texts", [["_ _ _", "_ _"], ["_ - _", "* *"], ["_"], ["word word", "word"]])
def test_a_split_without_words(texts):
    with pytest.raises(UserError, match=r"test split of task ud_pos has no words: all \d of them are '"):
        refuse_wordless(words(*texts))


def test_sentences_without_words(caplog):
    with caplog.at_level("WARNING", "jaxred"):
        refuse_wordless(words("a cat", "_ _ _", "."))
    assert "test: 1 of 3 sentences have no words, but only '_' for each" in caplog.text


def test_words_are_words(caplog):
    refuse_wordless(words("a _ cat", "."))
    refuse_wordless(words("one"))
    assert not caplog.text


def test_sentences_of_underscores():
    rows = [Example("_ _ _", None, label) for label in "AB"]
    with pytest.raises(UserError, match="has no words: all 6 of them are '_'"):
        refuse_wordless(Dataset("parallel", "classification", {"train": rows, "test": rows}))
