import dataclasses
import json
import shutil

import numpy as np
import pytest
from helpers.word_pieces import CONFIG, VOCABULARY

from jaxred.errors import UserError
from jaxred.models import pretrained
from jaxred.models.bert import BertConfig
from jaxred.models.tokenization import Tokenizer
from jaxred.models.tokenizer_files import files, tokenizer_digest
from jaxred.models.xlnet import XLNetConfig

TEXTS = ["The movie was badly good.", "", "movies", "the bad, the good and the movie was a movie and a movie"]
PAIRS = ["good", "the movie, and a movie, and a movie was bad.", "", "the movies and the movies"]


@pytest.fixture(scope="module")
def tokenizer(word_piece_folder):
    return Tokenizer(word_piece_folder, CONFIG)


# Encoding ----------------------------------------------------------------------------------------------------------


def test_ids_of_known_words(tokenizer):
    tokens = tokenizer.encode(["The movies was, badly unknown."], None, max_length=32)
    words = ["[CLS]", "the", "movie", "##s", "was", ",", "bad", "##ly", "[UNK]", ".", "[SEP]"]
    np.testing.assert_array_equal(tokens.ids[0], [VOCABULARY.index(word) for word in words])
    assert tokens.ids[0].dtype == tokens.token_type_ids[0].dtype == np.int32
    assert tokens.n_truncated == 0


@pytest.mark.parametrize("max_length", [32, 9, 8])
@pytest.mark.parametrize("pairs", [None, PAIRS])
def test_same_as_transformers(word_piece_folder, tokenizer, pairs, max_length):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(word_piece_folder)(
        TEXTS, pairs, truncation="longest_first", max_length=max_length
    )
    tokens = tokenizer.encode(TEXTS, pairs, max_length=max_length)
    assert [row.tolist() for row in tokens.ids] == theirs["input_ids"]
    assert [row.tolist() for row in tokens.token_type_ids] == theirs["token_type_ids"]
    assert tokens.lengths.tolist() == [len(row) for row in theirs["input_ids"]]
    assert tokens.positions.tolist() == [0] * len(TEXTS)
    assert len(tokens) == len(TEXTS)


def test_the_longer_of_a_pair_is_cut(tokenizer):
    tokens = tokenizer.encode(["a a a a a a a a", "a a"], ["the the", "the the the the the the the the"], max_length=9)
    assert [row.tolist().count(VOCABULARY.index("a")) for row in tokens.ids] == [4, 2]
    assert [row.tolist().count(VOCABULARY.index("the")) for row in tokens.ids] == [2, 4]
    assert [row.sum() for row in tokens.token_type_ids] == [3, 5]


def test_truncated_sentences_are_counted(tokenizer):
    texts = ["a " * 6, "a " * 7, "a " * 5, "a " * 20]
    tokens = tokenizer.encode(texts, None, max_length=8)
    assert tokens.lengths.tolist() == [8, 8, 7, 8]
    assert tokens.n_truncated == 2


def test_an_encoding_does_not_remember_the_last_one(tokenizer):
    tokenizer.encode(["a " * 20], None, max_length=5)
    assert tokenizer.encode(["a " * 20], None, max_length=32).lengths.tolist() == [22]


def test_nothing_to_encode(tokenizer):
    tokens = tokenizer.encode([], None, max_length=32)
    assert len(tokens) == tokens.lengths.size == tokens.n_truncated == 0


def test_more_tokens_than_positions(tokenizer):
    with pytest.raises(UserError, match=r"max_length=33 is not possible: the model has 32 positions"):
        tokenizer.encode(TEXTS, None, max_length=33)


def test_more_tokens_than_the_model_knows(word_piece_folder):
    small = Tokenizer(word_piece_folder, dataclasses.replace(CONFIG, vocab_size=len(VOCABULARY) - 1))
    small.encode(["a movie."], None, max_length=32)
    with pytest.raises(UserError, match="gives token 15, but the model next to it knows only 15 tokens"):
        small.encode(["a movie, good"], None, max_length=32)


def test_pairs_for_a_model_without_second_sentences(word_piece_folder):
    single = Tokenizer(word_piece_folder, dataclasses.replace(CONFIG, type_vocab_size=1))
    single.encode(TEXTS, None, max_length=32)
    with pytest.raises(UserError, match="gives token type 1, but the model next to it knows only 1 token types"):
        single.encode(TEXTS, PAIRS, max_length=32)


@pytest.mark.minilm
def test_packaged_tokenizer_is_read_as_it_is():
    from transformers import AutoTokenizer

    try:
        folder = pretrained.resolve("all-MiniLM-L6-v2")
    except UserError as error:
        pytest.skip(str(error))
    texts = ["A sentence, with naïve déjà-vu & 中文 words!", "word " * 300]
    tokens = Tokenizer(folder, BertConfig()).encode(texts, texts[::-1], max_length=128)
    theirs = AutoTokenizer.from_pretrained(folder)(texts, texts[::-1], truncation="longest_first", max_length=128)
    assert [row.tolist() for row in tokens.ids] == theirs["input_ids"]
    assert tokens.n_truncated == 2


# Padding -----------------------------------------------------------------------------------------------------------


def test_padding_right(tokenizer):
    tokens = tokenizer.encode(["a", "good movie", "bad"], ["the", "", "a a"], max_length=32)
    batch = tokenizer.pad(tokens, rows=[2, 0], length=8, n_rows=3)
    a, the, bad, cls, sep = (VOCABULARY.index(word) for word in ("a", "the", "bad", "[CLS]", "[SEP]"))
    np.testing.assert_array_equal(
        batch.input_ids, [[cls, bad, sep, a, a, sep, 0, 0], [cls, a, sep, the, sep, 0, 0, 0], [0] * 8]
    )
    np.testing.assert_array_equal(batch.attention_mask, [[1] * 6 + [0] * 2, [1] * 5 + [0] * 3, [0] * 8])
    np.testing.assert_array_equal(batch.token_type_ids, [[0, 0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0, 0, 0], [0] * 8])
    np.testing.assert_array_equal(batch.positions, [0, 0, 0])
    assert batch.attention_mask.dtype == bool
    assert batch.input_ids.dtype == batch.token_type_ids.dtype == np.int32


def test_padding_left_with_the_sentence_last(word_piece_folder):
    """What XLNet asks for, of a tokenizer that says nothing of where [CLS] is."""
    tokenizer = Tokenizer(word_piece_folder, CONFIG)
    tokenizer.layout = XLNetConfig.tokens
    tokenizer._tokenizer.cls_token = None
    tokens = tokenizer.encode(["a movie", "the"], None, max_length=32)
    batch = tokenizer.pad(tokens, rows=[0, 1], length=5, n_rows=2)
    np.testing.assert_array_equal(batch.attention_mask, [[0, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    np.testing.assert_array_equal(batch.token_type_ids, [[4, 0, 0, 0, 0], [4, 4, 0, 0, 0]])
    np.testing.assert_array_equal(batch.input_ids[batch.attention_mask], np.concatenate(tokens.ids))
    np.testing.assert_array_equal(batch.positions, [4, 4])
    np.testing.assert_array_equal(tokens.positions, [3, 2])


# XLNet's layout ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def xlnet(xlnet_tokenizer_folder):
    return Tokenizer(xlnet_tokenizer_folder, XLNetConfig())


@pytest.fixture(scope="module")
def hugging_face_xlnet(xlnet_tokenizer_folder):
    from transformers import XLNetTokenizer

    return XLNetTokenizer.from_pretrained(xlnet_tokenizer_folder)


@pytest.mark.shared
@pytest.mark.parametrize("task", ["sst2", "mrpc", "rte"])
@pytest.mark.parametrize("max_length", [128, 32])
def test_xlnet_tokens_are_those_of_transformers(xlnet, hugging_face_xlnet, glue_dev, task, max_length):
    examples = glue_dev[task][:300]
    texts = [example.text for example in examples]
    pairs = None if examples[0].pair is None else [example.pair for example in examples]
    length = max_length + 5
    theirs = hugging_face_xlnet(
        texts, pairs, truncation="longest_first", max_length=max_length, padding=False, return_token_type_ids=True
    )
    tokens = xlnet.encode(texts, pairs, max_length)
    assert [row.tolist() for row in tokens.ids] == theirs["input_ids"]
    assert [row.tolist() for row in tokens.token_type_ids] == theirs["token_type_ids"]
    assert tokens.n_truncated == sum(len(row) > max_length for row in hugging_face_xlnet(texts, pairs)["input_ids"])

    padded = hugging_face_xlnet.pad(theirs, padding="max_length", max_length=length, return_tensors="np")
    batch = xlnet.pad(tokens, range(len(texts)), length, len(texts))
    np.testing.assert_array_equal(batch.input_ids, padded["input_ids"])
    np.testing.assert_array_equal(batch.attention_mask, padded["attention_mask"])
    np.testing.assert_array_equal(batch.token_type_ids[batch.attention_mask], np.concatenate(theirs["token_type_ids"]))
    assert set(batch.token_type_ids[~batch.attention_mask].tolist()) == {4}  # the original's; transformers says 3
    assert set(batch.positions.tolist()) == {length - 1}
    assert set(batch.input_ids[:, -1].tolist()) == {hugging_face_xlnet.cls_token_id}
    assert set(batch.token_type_ids[:, -1].tolist()) == {2}


@pytest.mark.shared
def test_xlnet_of_a_sentencepiece_model_alone_is_refused(xlnet_tokenizer_folder, tmp_path):
    """transformers 5.23 makes "year-old" of it into "year", "-", " old"."""
    for name in ("config.json", "spiece.model"):
        shutil.copy(xlnet_tokenizer_folder / name, tmp_path)
    with pytest.raises(
        UserError, match=r"spiece\.model alone, .*: put the tokenizer\.json of the same model next to it"
    ):
        Tokenizer(tmp_path, XLNetConfig())


def test_an_xlnet_beside_the_tokenizer_of_a_bert_is_refused(tokenizer, tmp_path):
    tokenizer._tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"does not put \[CLS\] last, as xlnet has it: use the tokenizer that came"):
        Tokenizer(tmp_path, XLNetConfig()).encode(["a movie"], None, max_length=32)


def test_xlnet_without_a_tokenizer(tmp_path):
    with pytest.raises(UserError, match=r"has no tokenizer: tokenizer\.json is not there"):
        Tokenizer(tmp_path, XLNetConfig())


# Folders without a usable tokenizer --------------------------------------------------------------------------------


def test_no_tokenizer(tmp_path):
    with pytest.raises(UserError, match=r"has no tokenizer: neither tokenizer\.json nor vocab\.txt is there"):
        Tokenizer(tmp_path, CONFIG)


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_broken_tokenizer(tmp_path, word_piece_folder, content):
    shutil.copy(word_piece_folder / "config.json", tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=r"cannot be read .*: download its files again"):
        Tokenizer(tmp_path, CONFIG)


def test_code_in_the_folder_is_not_run(tmp_path, word_piece_folder):
    shutil.copytree(word_piece_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "custom.py").write_text("raise SystemExit('run')")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Custom", "auto_map": {"AutoTokenizer": ["custom.Custom", "custom.Custom"]}})
    )
    with pytest.raises(UserError, match="cannot be read"):
        Tokenizer(tmp_path, CONFIG)


# Fingerprints ------------------------------------------------------------------------------------------------------


def test_the_digest_is_of_the_tokenizer_files(tmp_path, word_piece_folder):
    shutil.copytree(word_piece_folder, tmp_path, dirs_exist_ok=True)
    first = tokenizer_digest(word_piece_folder)
    (tmp_path / "config.json").write_text("{}")
    assert tokenizer_digest(tmp_path) == first
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    second = tokenizer_digest(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(reversed(VOCABULARY)))
    assert len({first, second, tokenizer_digest(tmp_path)}) == 3


def test_the_digest_covers_files_of_any_name_that_transformers_picks(tmp_path, word_piece_folder, monkeypatch):
    """Whatever is opened in the folder is covered: a changed file is another tokenizer."""
    Tokenizer(word_piece_folder, CONFIG)._tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").rename(tmp_path / "tokenizer.4.0.0.json")
    content = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({**content, "fast_tokenizer_files": ["tokenizer.4.0.0.json"]})
    )
    (tmp_path / "config.json").write_text((word_piece_folder / "config.json").read_text())
    (tmp_path / "vocab.txt").write_text((word_piece_folder / "vocab.txt").read_text())
    opened, really_open = set(), open
    monkeypatch.setattr("builtins.open", lambda file, *a, **k: (opened.add(str(file)), really_open(file, *a, **k))[1])
    Tokenizer(tmp_path, CONFIG)
    monkeypatch.undo()
    read = {path for path in opened if path.startswith(str(tmp_path))} - {str(tmp_path / "config.json")}
    assert str(tmp_path / "tokenizer.4.0.0.json") in read
    assert read <= {str(path) for path in files(tmp_path)}
    seen = {tokenizer_digest(tmp_path)}
    for path in files(tmp_path):
        path.write_text(path.read_text() + " ")
        seen.add(tokenizer_digest(tmp_path))
    assert len(seen) == len(files(tmp_path)) + 1


@pytest.mark.parametrize("name", ["../tokenizer.4.0.json", "/tmp/tokenizer.4.0.json", "sub/tokenizer.4.0.json", "a\\b"])
def test_a_tokenizer_file_outside_the_folder_is_not_opened(tmp_path, word_piece_folder, name):
    shutil.copytree(word_piece_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"fast_tokenizer_files": [name]}))
    with pytest.raises(UserError, match="a tokenizer is read from files in its own folder alone"):
        tokenizer_digest(tmp_path)


@pytest.mark.parametrize("key", ["vocab", "merges"])
def test_a_vocabulary_that_is_named_by_its_path_is_not_opened(tmp_path, word_piece_folder, key):
    shutil.copytree(word_piece_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({key: "/etc/hostname"}))
    with pytest.raises(UserError, match=f"{key}='/etc/hostname' is not supported"):
        Tokenizer(tmp_path, CONFIG)
