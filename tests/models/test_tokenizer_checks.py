"""Tokenizers that do not fit their model, and texts that they do not know, are found before anything is encoded."""

import json

import pytest
from helpers.word_pieces import CONFIG, VOCABULARY
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, processors

from jaxred.errors import UserError
from jaxred.models.bert import BertConfig
from jaxred.models.tokenization import Tokenizer
from jaxred.models.xlnet import XLNetConfig

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def folder_of(path, vocabulary, settings=None):
    (path / "config.json").write_text(json.dumps(CONFIG.to_dict()))
    (path / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary))
    if settings is not None:
        (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


def fast_folder(path, model, processor=None, normalizer=None):
    """A tokenizer.json alone, of any kind of model."""
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processor
    backend.normalizer = normalizer
    backend.save(str(path / "tokenizer.json"))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "cls", "sep")}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "config.json").write_text(json.dumps(CONFIG.to_dict()))
    return path


def sentence(first="[CLS] $A [SEP]"):
    ids = [(name, i) for i, name in enumerate(SPECIAL)]
    return processors.TemplateProcessing(single=first, pair=f"{first} $B", special_tokens=ids)


def word_level(unknown="[UNK]", words=("a", "movie")):
    return models.WordLevel({word: i for i, word in enumerate([*SPECIAL, *words])}, unk_token=unknown)


# Vocabularies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocabulary", [[], SPECIAL, [*SPECIAL, "[unused0]", "[unused1]"]])
def test_an_empty_vocabulary(tmp_path, vocabulary):
    with pytest.raises(UserError, match=r"is empty|unknown token"):
        Tokenizer(folder_of(tmp_path, vocabulary), CONFIG)


def test_a_vocabulary_without_the_unknown_token(tmp_path):
    with pytest.raises(UserError, match=r"does not have the unknown token \[UNK\].*tokenizer_config\.json"):
        Tokenizer(folder_of(tmp_path, [word for word in VOCABULARY if word != "[UNK]"]), CONFIG)


def test_other_names_of_special_tokens(tmp_path):
    names = {"[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[PAD]": "<pad>", "[MASK]": "<mask>"}
    folder = folder_of(tmp_path, [names.get(word, word) for word in VOCABULARY])
    with pytest.raises(UserError, match="does not have the unknown token"):
        Tokenizer(folder, CONFIG)
    keys = {"[UNK]": "unk", "[CLS]": "cls", "[SEP]": "sep", "[PAD]": "pad", "[MASK]": "mask"}
    folder_of(tmp_path, [names.get(w, w) for w in VOCABULARY], {f"{keys[k]}_token": v for k, v in names.items()})
    assert Tokenizer(folder, CONFIG).encode(["zebra a"], None, 8).ids[0].tolist() == [2, 1, 6, 3]


def test_a_model_that_fails_at_unknown_words(tmp_path):
    model = models.Unigram([("[PAD]", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("a", -1.0)])
    with pytest.raises(UserError, match="no unknown token"):
        Tokenizer(fast_folder(tmp_path, model, sentence()), CONFIG)


def test_a_model_that_leaves_unknown_words_out(tmp_path, caplog):
    model = models.BPE({word: i for i, word in enumerate([*SPECIAL, "a", "b"])}, [])
    with caplog.at_level("WARNING", "jaxred"):
        tokenizer = Tokenizer(fast_folder(tmp_path, model, sentence()), CONFIG)
    assert "no token for unknown words" in caplog.text
    with pytest.raises(UserError, match="makes no token of any of 2 sentences of the train split"):
        tokenizer.check_text(["xyz", "z"], "the train split", 8)


# Capitals ----------------------------------------------------------------------------------------------------------

CASED = [*SPECIAL, *(f"Wort{i}" for i in range(20)), *(f"##t{i}" for i in range(20))]


@pytest.mark.parametrize("settings", [None, {}])
def test_a_cased_vocabulary_that_would_be_lower_cased(tmp_path, settings):
    with pytest.raises(UserError, match=r'is cased, .* 20 of its 40 .*"do_lower_case": false'):
        Tokenizer(folder_of(tmp_path, CASED, settings), CONFIG)


def test_the_folder_says_so_itself(tmp_path, caplog):
    with caplog.at_level("WARNING", "jaxred"):
        Tokenizer(folder_of(tmp_path, CASED, {"do_lower_case": False}), CONFIG)
        assert not caplog.text
        Tokenizer(folder_of(tmp_path, CASED, {"do_lower_case": True}), CONFIG)
    assert "is cased, but its tokenizer lower-cases all text" in caplog.text


def test_a_vocabulary_without_capitals_that_is_not_lower_cased(tmp_path, caplog):
    with caplog.at_level("WARNING", "jaxred"):
        Tokenizer(folder_of(tmp_path, VOCABULARY), CONFIG)
        assert not caplog.text
        Tokenizer(folder_of(tmp_path, VOCABULARY, {"do_lower_case": False}), CONFIG)
    assert "has no capitals" in caplog.text


# The sentence's token ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processor", [None, sentence("$A [SEP]"), sentence("$A [CLS]"), sentence("[SEP] $A")])
def test_output_that_does_not_begin_with_the_sentence_token(tmp_path, processor):
    with pytest.raises(UserError, match=r"does not put \[CLS\] first, as bert has it"):
        Tokenizer(fast_folder(tmp_path, word_level(), processor, normalizers.Lowercase()), CONFIG)


def test_output_that_does_not_end_with_the_sentence_token(tmp_path):
    with pytest.raises(UserError, match=r"does not put \[CLS\] last, as xlnet has it"):
        Tokenizer(fast_folder(tmp_path, word_level(), sentence(), normalizers.Lowercase()), XLNetConfig())


# Texts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [["\u0444\u0438\u043b\u044c\u043c"] * 9, [["\u4e2d", "\u6587"]] * 3])
def test_a_text_of_unknown_words_is_rejected(word_piece_folder, texts):
    with pytest.raises(UserError, match=r"knows nearly nothing of the dev split: \d+ of \d+ tokens .* are \[UNK\]"):
        Tokenizer(word_piece_folder, CONFIG).check_text(texts, "the dev split", 32)


def test_a_text_of_some_unknown_words_is_warned_of(word_piece_folder, caplog):
    with caplog.at_level("WARNING", "jaxred"):
        Tokenizer(word_piece_folder, CONFIG).check_text(["the movie was bad"] * 20, "the test split", 32)
        assert not caplog.text
        Tokenizer(word_piece_folder, CONFIG).check_text(["the movie zebra was bad"] * 20, "the test split", 32)
    assert "the test split: 20 of 100 tokens of 20 sentences are [UNK]" in caplog.text


def test_what_the_tokenizer_raises_is_a_sentence(word_piece_folder):
    tokenizer = Tokenizer(word_piece_folder, BertConfig(vocab_size=len(VOCABULARY)))
    tokenizer._tokenizer.backend_tokenizer.model = models.WordLevel({"a": 5}, unk_token="none")
    with pytest.raises(UserError, match="cannot take the text"):
        tokenizer.encode(["zebra"], None, 32)
