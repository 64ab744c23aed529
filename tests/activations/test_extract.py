import dataclasses
import functools
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny_encoder
from helpers.tiny_encoder import (
    CONFIG,
    MAX_LENGTH,
    contents,
    extract,
    modified,
    row_error,
    sentences,
    study_config,
    write_task,
)

from jaxred.activations.encode import Encode, encode_fn
from jaxred.activations.extract import extract_sentences
from jaxred.activations.store import Ledger, Store, StoreWriter
from jaxred.config import ExtractionConfig, SourceConfig, StudyConfig, TaskConfig
from jaxred.data.examples import Example
from jaxred.errors import UserError
from jaxred.models import load_encoder
from jaxred.models.tokenization import Tokenizer
from jaxred.runs import study
from jaxred.runs.workdir import Workdir

N_TRAIN, N_TEST = 18, 6


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    texts = {"train": sentences(N_TRAIN), "test": sentences(N_TEST, seed=1)}
    return write_task(tmp_path_factory.mktemp("task"), texts)


@pytest.fixture(scope="module")
def config(encoder_folder, task):
    return study_config(encoder_folder, task)


@pytest.fixture
def copy(undisturbed, tmp_path):
    return Path(shutil.copytree(undisturbed, tmp_path / "copy"))


LONG = 16  # sentences truncated to it are padded to two lengths, 8 and 16


def words(n, first=0):
    return " ".join(f"w{(first + 7 * i) % 30}" for i in range(n))


EXAMPLES = [Example(text, None, "even") for text in (words(3), words(25), *sentences(16, 2, (1, 20)))]
PAIRS = [  # the first two have as many tokens as the examples', special tokens included
    Example(a, b, "even")
    for a, b in zip((words(1), words(12), *sentences(5, 3)), (words(1, 3), words(9, 3), *sentences(5, 4)), strict=True)
]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory, encoder, tokenizer):
    """The vectors of some examples, [row, layer, neuron]."""

    def run(examples, model=encoder, **fields):
        config = ExtractionConfig(**{"max_length": LONG, "token_budget": 128, "window_rows": 4096, **fields})
        folder = tmp_path_factory.mktemp("vectors")
        n_layers = model.config.n_layers + 1
        ledger = Ledger(
            {}, len(examples), n_layers, model.config.hidden_size, config.dtype, config.window_rows, ["even"]
        )
        rows = np.zeros(len(examples), np.int32)
        encode = encode_fn(model, config.pooling, config.dtype)
        extract_sentences(encode, tokenizer, examples, StoreWriter(folder, ledger, rows, rows), config, "test")
        return Store(folder).matrix().reshape(len(examples), n_layers, -1)

    return run


@pytest.fixture(scope="module")
def plain_vectors(vectors):
    return vectors(EXAMPLES)


@pytest.fixture(scope="module")
def hidden_states(encoder, tokenizer):
    """Every token's hidden states of one example, from the model alone, without padding: [layer, token, neuron]."""
    call = jax.jit(lambda ids, types: encoder(ids, jnp.ones(ids.shape, bool), types))

    @functools.cache
    def run(example):
        pairs = None if example.pair is None else [example.pair]
        tokens = tokenizer.encode([example.text], pairs, LONG)
        return np.asarray(call(tokens.ids[0][None], tokens.token_type_ids[0][None]))[:, 0]

    return run


# The vectors -------------------------------------------------------------------------------------------------------


POOLS = {"cls": lambda hidden: hidden[:, 0], "mean": lambda hidden: hidden.mean(1)}


@pytest.mark.parametrize("pooling", POOLS)
@pytest.mark.parametrize("examples", [EXAMPLES, PAIRS], ids=["sentences", "pairs"])
def test_vectors_are_those_of_a_direct_model_call(vectors, hidden_states, pooling, examples):
    direct = [hidden_states(example) for example in examples[:2]]
    assert [hidden.shape[1] for hidden in direct] == [5, LONG]  # padded, truncated
    found = vectors(examples, pooling=pooling)
    assert row_error(found[:2], np.stack([POOLS[pooling](hidden) for hidden in direct])) < 1e-6


@pytest.mark.parametrize("fields", [{"token_budget": 16}, {"token_budget": 0}, {"window_rows": 1}, {"window_rows": 5}])
def test_vectors_do_not_depend_on_batches_and_windows(vectors, plain_vectors, fields):
    assert row_error(vectors(EXAMPLES, **fields), plain_vectors) < 1e-6


def test_vectors_do_not_depend_on_the_order(vectors, plain_vectors):
    order = np.random.default_rng(0).permutation(len(EXAMPLES))
    found = vectors([EXAMPLES[i] for i in order], window_rows=5)
    assert row_error(found, plain_vectors[order]) < 1e-6
    assert row_error(found, plain_vectors) > 1e-2


@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_narrow_types_are_the_rounded_vectors(vectors, plain_vectors, dtype, precision):
    short = [i for i, example in enumerate(EXAMPLES) if len(example.text.split()) <= 6]
    assert len(short) > 3
    narrow, wide = vectors([EXAMPLES[i] for i in short], dtype=dtype), plain_vectors[short]
    assert np.abs(narrow - wide).max() > 0
    np.testing.assert_allclose(narrow, wide, rtol=1.01 * precision, atol=1e-6)
    np.testing.assert_array_equal(narrow, narrow.astype(jnp.dtype(dtype)).astype(np.float32))


def test_what_float16_cannot_hold_is_refused(vectors, tmp_path_factory, encoder_folder):
    folder = Path(shutil.copytree(encoder_folder, tmp_path_factory.mktemp("large") / "encoder"))
    large = tiny_encoder.write_encoder(folder)
    model = load_encoder(large)
    scale = model.embeddings.norm.scale
    scale.set_value(scale[...] * 1e6)
    with pytest.raises(
        UserError, match=r"gave -?inf for row 0, layer 0, neuron \d+, which float16 .*float32 or bfloat16"
    ):
        vectors(EXAMPLES[:1], model=model, dtype="float16")


@pytest.mark.parametrize("n_layers", [0, 1])
def test_the_first_layers_alone_are_the_same(tmp_path, encoder_folder, task, undisturbed, n_layers):
    stores = extract(study_config(encoder_folder, task, n_layers=n_layers), Workdir(tmp_path).stores)
    whole = Store(undisturbed / "activations" / "train")
    assert stores["train"].n_layers == n_layers + 1
    assert stores["train"].ledger.encoder_parameters == whole.ledger.encoder_parameters[: n_layers + 1]
    for layer in range(n_layers + 1):
        assert row_error(stores["train"].layer(layer), whole.layer(layer)) < 1e-6


def test_sentences_may_fill_every_position_of_the_model(tmp_path, tmp_path_factory):
    odd = tiny_encoder.BertConfig(**{**CONFIG.__dict__, "max_position_embeddings": 20})
    folder = tiny_encoder.write_encoder(tmp_path_factory.mktemp("odd"), odd)
    texts = {"train": sentences(10, 0, (30, 40)), "test": sentences(2, 1, (30, 40))}
    config = study_config(folder, write_task(tmp_path / "task", texts), max_length=20)
    stores = extract(config, Workdir(tmp_path / "workdir").stores)
    model, tokenizer = load_encoder(folder), Tokenizer(folder, odd)
    tokens = tokenizer.encode(texts["test"], None, 20)
    assert tokens.lengths.tolist() == [20, 20]
    ids = jnp.asarray(np.stack(tokens.ids))
    call = jax.jit(lambda ids: model(ids, jnp.ones(ids.shape, bool), jnp.zeros_like(ids))[:, :, 0])
    expected = call(ids).swapaxes(0, 1)
    assert row_error(stores["test"].matrix(), np.asarray(expected)) < 1e-6


# The stores --------------------------------------------------------------------------------------------------------


def test_stores_say_what_they_hold(config, undisturbed, task, encoder):
    for split, n in (("train", N_TRAIN), ("test", N_TEST)):
        store = Store(undisturbed / "activations" / split)
        assert (store.n_rows, store.n_layers, store.hidden_size) == (n, CONFIG.n_layers + 1, CONFIG.hidden_size)
        assert store.labels().tolist() == (task / f"{split}.label").read_text().split()
        assert store.sentence_index().tolist() == list(range(n))
        assert store.ledger.encoder_parameters == [encoder.n_parameters(k) for k in range(CONFIG.n_layers + 1)]
        lengths = [2 + len(line.split()) for line in (task / f"{split}.word").read_text().splitlines()]
        n_tokens, notes = sum(min(length, MAX_LENGTH) for length in lengths), dict(store.ledger.notes)
        assert n_tokens <= notes.pop("tokens_computed") <= 2 * n_tokens
        assert notes == {"sentences_truncated": sum(length > MAX_LENGTH for length in lengths), "tokens": n_tokens}
        assert store.ledger.n_windows == -(-n // config.extraction.window_rows)
    assert store.ledger.notes["sentences_truncated"] > 0


def test_regression_keeps_the_scores(tmp_path, encoder_folder):
    texts = {split: sentences(n, n) for split, n in (("train", 12), ("dev", 5), ("test", 4))}
    scores = {split: np.linspace(-1, 1, len(lines)) / 3 for split, lines in texts.items()}
    task = write_task(tmp_path / "task", texts, {split: [repr(float(s)) for s in v] for split, v in scores.items()})
    stores = extract(study_config(encoder_folder, task, kind="regression"), Workdir(tmp_path / "workdir").stores)
    assert set(stores) == {"train", "dev", "test"}
    for split, expected in scores.items():
        np.testing.assert_array_equal(stores[split].labels(), expected)


def test_a_finished_extraction_is_not_done_again(config, copy, monkeypatch):
    def never(*_):
        raise AssertionError("the model was loaded")

    for name in (
        "jaxred.models.load_encoder",
        "jaxred.activations.extract.Tokenizer",
        "jaxred.activations.extract.extract_sentences",
    ):
        monkeypatch.setattr(name, never)
    before = modified(copy)
    for overwrite in (False, True):
        stores = extract(config, Workdir(copy).stores, overwrite)
        assert stores["train"].n_rows == N_TRAIN
    assert modified(copy) == before


def test_a_finished_split_is_kept_while_another_is_extracted(config, copy, undisturbed):
    shutil.rmtree(copy / "activations" / "test")
    before = modified(copy / "activations" / "train")
    extract(config, Workdir(copy).stores)
    assert modified(copy / "activations" / "train") == before
    assert contents(copy) == contents(undisturbed)


def test_another_source_is_refused_or_replaces_the_store(tmp_path, encoder_folder, task, copy):
    changed = Path(shutil.copytree(task, tmp_path / "task"))
    lines = (changed / "test.word").read_text().splitlines()
    (changed / "test.word").write_text("\n".join([lines[0] + " w5", *lines[1:]]) + "\n")
    config = study_config(encoder_folder, changed)
    before = contents(copy)
    with pytest.raises(UserError, match=r"activations.test holds .* configuration: the content of source differs"):
        extract(config, Workdir(copy).stores)
    assert contents(copy) == before
    untouched = modified(copy / "activations" / "train")
    extract(config, Workdir(copy).stores, overwrite=True)
    assert modified(copy / "activations" / "train") == untouched
    extract(config, Workdir(tmp_path / "fresh").stores)
    assert contents(copy) == contents(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("the content of encoder differs", lambda config, folder: tiny_encoder.write_encoder(folder, seed=1)),
        (
            "the content of tokenizer differs",
            lambda config, folder: (folder / "special_tokens_map.json").write_text("{}"),
        ),
        ("transformer_layers was -1 and is now 1", lambda config, _: setattr(config.encoder, "n_layers", 1)),
        ("compute_dtype was .*'bfloat16'", lambda config, _: setattr(config.encoder, "compute_dtype", "bfloat16")),
        ("dtype was .*'float16'", lambda config, _: setattr(config.extraction, "dtype", "float16")),
        ("pooling was 'cls' and is now 'mean'", lambda config, _: setattr(config.extraction, "pooling", "mean")),
        ("max_length was 8 and is now 16", lambda config, _: setattr(config.extraction, "max_length", 16)),
    ],
)
def test_whatever_decides_the_numbers_is_part_of_the_identity(tmp_path, encoder_folder, task, copy, words, change):
    folder = Path(shutil.copytree(encoder_folder, tmp_path / "encoder"))
    config = study_config(folder, task)
    before = contents(copy)
    extract(config, Workdir(copy).stores)  # a copy of the folder is the same encoder
    change(config, folder)
    with pytest.raises(UserError, match=rf"another configuration: {words}[^;]*\. Choose another"):
        extract(config, Workdir(copy).stores)
    assert contents(copy) == before


def test_a_damaged_ledger_is_refused_or_replaced(config, copy, undisturbed):
    ledger = copy / "activations" / "train" / "ledger.json"
    ledger.write_text(ledger.read_text().replace("float32", "float16"))
    with pytest.raises(UserError, match=r"ledger\.json is damaged"):
        extract(config, Workdir(copy).stores)
    extract(config, Workdir(copy).stores, overwrite=True)
    assert contents(copy) == contents(undisturbed)


@pytest.mark.parametrize("n_layers", [CONFIG.n_layers + 1, 99])
def test_layers_that_the_model_does_not_have_are_refused(tmp_path, encoder_folder, task, n_layers):
    config = study_config(encoder_folder, task, n_layers=n_layers)
    with pytest.raises(UserError, match=rf"config\.encoder\.n_layers={n_layers}: .*the model has {CONFIG.n_layers}"):
        extract(config, Workdir(tmp_path).stores)
    assert not contents(tmp_path)


def test_more_tokens_than_the_model_has_positions_are_refused(tmp_path, encoder_folder, task):
    config = study_config(encoder_folder, task, max_length=CONFIG.max_position_embeddings + 1)
    with pytest.raises(UserError, match=r"max_length=33 is not possible: the model has 32 positions"):
        extract(config, Workdir(tmp_path).stores)
    config.extraction.max_length = MAX_LENGTH
    extract(config, Workdir(tmp_path).stores, overwrite=True)


def test_more_tokens_than_the_model_has_positions_are_refused_before_anything_is_written(
    tmp_path, encoder_folder, task
):
    config = study_config(encoder_folder, task, max_length=CONFIG.max_position_embeddings + 1)
    with pytest.raises(UserError, match="max_length=33"):
        extract(config, Workdir(tmp_path).stores)
    assert not contents(tmp_path)  # else the workdir is held by a configuration that cannot run


def test_what_the_encoder_gives_must_be_finite(tmp_path, encoder, tokenizer, config, task, monkeypatch):
    real = Encode.__call__
    monkeypatch.setattr(Encode, "__call__", lambda encode, *batch: real(encode, *batch).at[0, 1, 2].set(jnp.nan))
    with pytest.raises(UserError, match=r"The encoder gave nan for row \d+, layer 1, neuron 2"):
        extract(config, Workdir(tmp_path).stores)


@pytest.mark.parametrize("layers", [(0,), (2,), (0, 2), (0, 1, 2)])
def test_chosen_layers_are_those_of_all(tmp_path, config, undisturbed, layers):
    chosen = dataclasses.replace(config, extraction=dataclasses.replace(config.extraction, layers=layers))
    stores = extract(chosen, Workdir(tmp_path).stores)
    for split, store in stores.items():
        whole = Store(undisturbed / "activations" / split)
        assert (store.layers, whole.layers) == ([*layers], [0, 1, 2])
        for place, layer in enumerate(layers):
            np.testing.assert_array_equal(store.layer(place), whole.layer(layer))
        assert store.ledger.encoder_parameters == [whole.ledger.encoder_parameters[layer] for layer in layers]
        assert f"{len(layers)} layers ({', '.join(map(str, layers))}) x" in repr(store)
    with pytest.raises(UserError, match="activations of another configuration: layers was"):
        extract(config, Workdir(tmp_path).stores)


def test_layers_that_there_are_not(tmp_path, config):
    wrong = dataclasses.replace(config, extraction=dataclasses.replace(config.extraction, layers=(1, 3)))
    with pytest.raises(UserError, match="the encoder has layers 0 to 2"):
        extract(wrong, Workdir(tmp_path).stores)


def test_studies_want_all_layers(tmp_path, config):
    chosen = dataclasses.replace(config, extraction=dataclasses.replace(config.extraction, layers=(0, 2)))
    with pytest.raises(UserError, match=r"keep the layers 0, 2 alone, but jaxred pipeline compares all"):
        study.run_stages(chosen, str(tmp_path), False, ("pipeline",))
    assert not (tmp_path / "activations").exists()
    study.run_stages(chosen, str(tmp_path), False, ())
    stores = SourceConfig(stores=str(tmp_path / "activations"))
    given = dataclasses.replace(StudyConfig(source=stores), task=TaskConfig(name=""))
    with pytest.raises(UserError, match="jaxred redundancy compares all"):
        study.run_stages(given, str(tmp_path / "other"), False, ("redundancy",))
