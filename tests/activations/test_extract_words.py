import functools
import shutil
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import processes, tiny_encoder
from helpers.dying_storage import not_gone_on_with, states
from helpers.tiny_encoder import contents, extract, modified, row_error, study_config

from jaxred.activations import extract as module
from jaxred.activations.encode import encode_fn
from jaxred.activations.packing import WordSlots
from jaxred.activations.store import Store, read_ledger
from jaxred.errors import UserError
from jaxred.models.tokenization import PaddedBatch
from jaxred.runs.workdir import Workdir

MAX_LENGTH = 12
EMPTY = "\u200b"  # becomes no token
LABELS = ("X", "Y", "Z")


def made_up(n, seed):
    """Sentences of words, some unknown, some of two tokens, some of none; a few longer than MAX_LENGTH allows."""
    rng = np.random.default_rng(seed)
    kinds = [*tiny_encoder.WORDS, *(f"{w}-{w}" for w in tiny_encoder.WORDS[:9]), "unknown", EMPTY]
    return [[str(w) for w in rng.choice(kinds, rng.integers(1, 12))] for _ in range(n)]


def write(folder, sizes=(12, 5), seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number, (split, n) in enumerate(zip(("train", "test"), sizes, strict=True)):
        sentences = [["w1", "w2"], *made_up(n - 1, seed + number)]
        tags = [[LABELS[(i + j) % 3] for j in range(len(words))] for i, words in enumerate(sentences)]
        for suffix, lines in ((".word", sentences), (".label", tags)):
            (folder / f"{split}{suffix}").write_text("".join(" ".join(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """A tiny random BERT whose vocabulary has a hyphen, so that words may have several tokens."""
    folder = tiny_encoder.write_encoder(tmp_path_factory.mktemp("encoder"))
    with (folder / "vocab.txt").open("a") as file:
        file.write("-\n")
    return folder


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return write(tmp_path_factory.mktemp("task"))


def word_config(encoder_folder, task, **extraction):
    config = study_config(encoder_folder, task, **{"max_length": MAX_LENGTH, "window_rows": 7, **extraction})
    config.task.name = "parallel_words"
    return config


@pytest.fixture(scope="module")
def config(encoder_folder, task):
    return word_config(encoder_folder, task)


@pytest.fixture(scope="module")
def expected(task, encoder, tokenizer):
    """The vectors by a plain loop: every sentence alone, its words' tokens counted one word after the other."""

    forward = jax.jit(lambda *row: encoder(*row))

    @functools.cache
    def hidden_states(ids):
        row = np.array(ids, np.int32)[None]
        return np.asarray(forward(row, np.ones(row.shape, bool), np.zeros_like(row)))[:, 0]

    def run(split, pooling):
        rows, place, labels = [], [], []
        lines = [(task / f"{split}{suffix}").read_text().splitlines() for suffix in (".word", ".label")]
        for number, (text, tags) in enumerate(zip(*lines, strict=True)):
            pieces = [tokenizer.encode([word], None, 32).ids[0][1:-1] for word in text.split(" ")]
            hidden = hidden_states((2, *np.concatenate(pieces)[: MAX_LENGTH - 2].tolist(), 3))
            start = 1
            for word, (mine, tag) in enumerate(zip(pieces, tags.split(" "), strict=True)):
                end = start + len(mine)
                if len(mine) and end <= MAX_LENGTH - 1:
                    span = hidden[:, start:end]
                    rows.append({"first": span[:, 0], "last": span[:, -1], "average": span.mean(1)}[pooling])
                    place.append((number, word))
                    labels.append(tag)
                start = end
        return np.stack(rows), place, labels

    return run


def places(store):
    return list(zip(store.sentence_index().tolist(), store.word_index().tolist(), strict=True))


@pytest.mark.parametrize("pooling", ["last", "first", "average"])
def test_vectors_are_those_of_a_plain_loop(tmp_path, encoder_folder, task, expected, pooling):
    stores = extract(word_config(encoder_folder, task, word_pooling=pooling), Workdir(tmp_path).stores)
    for split, store in stores.items():
        rows, place, labels = expected(split, pooling)
        assert store.has_words
        assert places(store) == place
        assert store.labels().tolist() == labels
        assert row_error(store.matrix(), rows) < 1e-6
    assert {len(read_ledger(tmp_path / "activations" / split).identity) for split in stores} == {8}


def test_the_poolings_differ(expected):
    rows = [expected("train", pooling)[0] for pooling in ("last", "first", "average")]
    assert min(row_error(rows[i], rows[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-2


@pytest.mark.parametrize(
    "fields", [{"window_rows": 1}, {"window_rows": 3}, {"window_rows": 4096}, {"token_budget": 12}, {"token_budget": 0}]
)
def test_vectors_do_not_depend_on_windows_and_batches(tmp_path, encoder_folder, task, undisturbed, fields):
    found = extract(word_config(encoder_folder, task, **fields), Workdir(tmp_path).stores)["train"]
    whole = Store(undisturbed / "activations" / "train")
    assert row_error(found.matrix(), whole.matrix()) < 1e-6
    assert places(found) == places(whole)


def test_what_is_left_out_is_in_the_ledger(undisturbed, task, expected):
    for split in ("train", "test"):
        store = Store(undisturbed / "activations" / split)
        lines = [line.split(" ") for line in (task / f"{split}.word").read_text().splitlines()]
        empty = {i + 1: line.count(EMPTY) for i, line in enumerate(lines) if EMPTY in line}
        notes = store.ledger.notes
        assert notes["words"] == sum(map(len, lines))
        assert (notes["words_without_tokens"], notes["without_tokens_lines"]) == (sum(empty.values()), list(empty))
        assert store.n_rows == notes["words"] - notes["words_without_tokens"] - notes["words_truncated"]
        assert notes["sentences_truncated"] == len(notes["truncated_lines"])
    assert notes["sentences_dropped"] == notes["sentences_too_long"] == 0
    assert Store(undisturbed / "activations" / "train").ledger.notes["words_truncated"] > 0


def test_left_out_words_are_warned_of(tmp_path, config, caplog, monkeypatch):
    monkeypatch.setattr(module.log, "propagate", True)
    extract(config, Workdir(tmp_path).stores)
    text = caplog.text
    assert "train: " in text
    assert "words are left out, of which the tokenizer makes no token (sentences at lines" in text
    assert "words are left out, of sentences longer than extraction.max_length tokens" in text


def test_labels_unseen_in_train_are_warned_of(tmp_path, encoder_folder, task, caplog, monkeypatch):
    changed = tmp_path / "task"
    shutil.copytree(task, changed)
    tags = (changed / "test.label").read_text()
    (changed / "test.label").write_text("New" + tags[1:])
    monkeypatch.setattr(module.log, "propagate", True)
    config = word_config(encoder_folder, changed)
    config.task.fallback_label = "X"
    extract(config, Workdir(tmp_path / "workdir").stores)
    assert "test: 1 labels unseen in train (New) count as 'X'" in caplog.text


@pytest.mark.parametrize("fallback", ["", "W"])
def test_labels_unseen_in_train_without_a_fallback_are_refused_before_anything_is_encoded(
    tmp_path, encoder_folder, task, fallback
):
    changed = tmp_path / "task"
    shutil.copytree(task, changed)
    tags = (changed / "test.label").read_text()
    (changed / "test.label").write_text("New" + tags[1:])
    config = word_config(encoder_folder, changed)
    config.task.fallback_label = fallback
    with pytest.raises(
        UserError, match=r"The test split has 1 label\(s\) never seen in train, such as 'New'"
    ) as caught:
        extract(config, Workdir(tmp_path / "workdir").stores)
    assert ("'W' is no class of train" in str(caught.value)) == bool(fallback)
    assert not (tmp_path / "workdir").exists()


def test_a_split_without_any_vector_is_refused(tmp_path, encoder_folder, task):
    changed = tmp_path / "task"
    shutil.copytree(task, changed)
    (changed / "test.word").write_text(EMPTY)
    (changed / "test.label").write_text("X")
    with pytest.raises(UserError, match="No word of the test split has a vector"):
        extract(word_config(encoder_folder, changed), Workdir(tmp_path / "workdir").stores)


@pytest.mark.parametrize(("field", "value"), [("word_pooling", "first"), ("max_length", 10)])
def test_settings_are_part_of_the_identity_and_the_others_pooling_is_not(
    tmp_path, encoder_folder, task, undisturbed, field, value
):
    copy = tmp_path / "copy"
    shutil.copytree(undisturbed, copy)
    before = modified(copy)
    extract(word_config(encoder_folder, task, pooling="mean"), Workdir(copy).stores)
    assert modified(copy) == before
    with pytest.raises(UserError, match="holds activations of another configuration"):
        extract(word_config(encoder_folder, task, **{field: value}), Workdir(copy).stores)


def test_an_extraction_that_dies_at_any_change_of_the_storage_is_gone_on_with(
    tmp_path, encoder_folder, encoder, tokenizer, monkeypatch
):
    config = word_config(encoder_folder, write(tmp_path / "task", (5, 3), seed=7))
    config.task.limit_instances = -1
    encode = encode_fn(encoder, "last", "float32")
    monkeypatch.setattr("jaxred.activations.encode.encode_fn", lambda *_, **__: encode)
    monkeypatch.setattr("jaxred.models.load_encoder", lambda *_: encoder)
    monkeypatch.setattr(module, "Tokenizer", lambda *_: tokenizer)
    extract(config, Workdir(tmp_path / "undisturbed").stores)
    expected = contents(tmp_path / "undisturbed")
    ledger = read_ledger(tmp_path / "undisturbed" / "activations" / "train")
    assert ledger is not None
    assert ledger.n_windows > 2
    workdir = tmp_path / "workdir"
    left = states(monkeypatch, lambda: extract(config, Workdir(workdir).stores), workdir, tmp_path / "states")
    assert len(left) > 2 * ledger.n_windows
    assert not not_gone_on_with(left, lambda state: extract(config, Workdir(state).stores), expected)


def test_a_killed_extraction_is_gone_on_with(tmp_path, encoder_folder, compilations):
    config = word_config(encoder_folder, write(tmp_path / "task", (80, 10), seed=3), window_rows=3)
    extract(config, Workdir(tmp_path / "undisturbed").stores)
    process = processes.start(tiny_encoder.run_extraction, config, tmp_path / "killed", compilations)
    train, until = tmp_path / "killed" / "activations" / "train", time.monotonic() + 120
    while process.is_alive() and time.monotonic() < until:
        ledger = read_ledger(train)
        if ledger is not None and ledger.windows_finished >= 20:
            break
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not read_ledger(train).finished
    extract(config, Workdir(tmp_path / "killed").stores)
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


def test_only_word_rows_leave_the_device(encoder):
    encode = encode_fn(encoder, "last", "bfloat16")
    n_rows, length = 4, 8
    arrays = [jnp.ones((n_rows, length), dtype) for dtype in (jnp.int32, bool, jnp.int32)]
    batch = PaddedBatch(*map(np.asarray, arrays), np.zeros(n_rows, np.int32))
    slots = WordSlots(*(np.zeros(8, np.int32) for _ in range(3)))
    found = jax.eval_shape(encode.function, encode.state, batch, slots)
    assert found.shape == (8, encoder.config.n_layers + 1, encoder.config.hidden_size)
    assert found.dtype == jnp.bfloat16
