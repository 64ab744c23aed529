"""Predictions of reduced models against the whole encoder's hidden states, and of runs against what they report."""

import itertools

import numpy as np
import pytest
from helpers import small_models, tiny_encoder
from helpers.encoder_agreement import forward
from helpers.small_models import MAX_LENGTH, TEXTS, random_model, rows_of

import jaxred
from jaxred.config import ExtractionConfig, ProbeConfig, SelectionConfig, StudyConfig
from jaxred.errors import UserError
from jaxred.reduced.parts import Head

PAIRS = [(text, TEXTS[i - 1]) for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return small_models.write_encoder(tmp_path_factory.mktemp("bert") / "encoder", "bert")


@pytest.fixture(scope="module")
def model(bert):
    return random_model(bert, 2, pooling="cls")


def outputs(model, texts):
    return np.array(list(model.outputs(texts)))


# Against hidden states of the whole encoder


@pytest.mark.parametrize(
    ("model_type", "n_layers", "pooling"),
    [
        ("bert", 2, "cls"),
        ("bert", 1, "mean"),
        ("bert", 0, "max"),
        ("xlnet", 1, "cls"),
        ("gpt2", 1, "last"),  # a norm after all layers, which a cut encoder does not apply
        ("modernbert", 2, "mean"),  # and one that does
    ],
)
def test_outputs_are_those_of_the_whole_encoders_neurons(model_type, n_layers, pooling, tmp_path):
    source = small_models.write_encoder(tmp_path / "encoder", model_type)
    model = random_model(source, n_layers, pooling=pooling)
    expected = rows_of(model, jaxred.hidden_states(TEXTS, source, pooling=pooling, max_length=MAX_LENGTH))
    for one in (model, jaxred.load_reduced(model.save(tmp_path / "small"))):
        np.testing.assert_allclose(outputs(one, TEXTS), expected, rtol=0, atol=1e-5)
        assert one.predict(TEXTS) == [model.classes[i] for i in expected.argmax(1)]


def test_pairs(bert, model):
    expected = rows_of(model, jaxred.hidden_states(PAIRS, bert, max_length=MAX_LENGTH))
    np.testing.assert_allclose(outputs(model, PAIRS), expected, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="some are pairs and some are single"):
        model.predict([TEXTS[0], PAIRS[0]])


def test_words_have_a_label_each_and_none_without_a_vector(bert, tmp_path):
    model = random_model(bert, 1, rows="word", pooling="average", max_length=9)
    sentences = [text.split() for text in TEXTS] + [[], ["fine", "\x01", "film"]]
    loaded = jaxred.load_reduced(model.save(tmp_path / "small"))
    for one in (model, loaded):
        found = one.predict(sentences)
        assert [len(row) for row in found] == [len(row) for row in sentences]
        assert found[-1][1] is None
        assert found[-1][0] is not None
        assert any(row and row[-1] is None and row[0] is not None for row in found[:-1])  # was cut off
        np.testing.assert_array_equal([label is None for row in found for label in row],
                                      np.isnan(np.concatenate(one.predict_proba(sentences))).any(1))  # fmt: skip
    assert loaded.predict(sentences) == model.predict(sentences)
    # a word alone in its sentence has the mean of its tokens
    tokens = model.tokenizer.encode_words([["film"]], 9)
    ids, types = tokens.tokens.ids[0][None], tokens.tokens.token_type_ids[0][None]
    states = np.asarray(forward(model.encoder, ids, np.ones(ids.shape, bool), types))[:, 0]
    of_word = states[:, tokens.start[0] : tokens.start[0] + tokens.count[0]].mean(1)[None]
    np.testing.assert_allclose(next(model.outputs([["film"]])), rows_of(model, of_word), rtol=0, atol=1e-5)


def test_regression_gives_scores(bert):
    model = random_model(bert, 1, classes=(), pooling="mean")
    expected = rows_of(model, jaxred.hidden_states(TEXTS, bert, pooling="mean", max_length=MAX_LENGTH))[:, 0]
    found = model.predict(TEXTS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert isinstance(found[0], float)
    assert model.score(TEXTS, 3 * expected + 1) == pytest.approx(1)
    with pytest.raises(UserError, match="predict_proba is of classes"):
        model.predict_proba(TEXTS)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_activations_are_rounded_as_the_store_was(dtype, bert):
    model = random_model(bert, 1, pooling="mean", dtype=dtype)
    states = np.asarray(jaxred.hidden_states(TEXTS, bert, pooling="mean", max_length=MAX_LENGTH))
    rounded = np.asarray(states).astype(jaxred_dtype(dtype)).astype(np.float32)
    near = np.abs(outputs(model, TEXTS) - rows_of(model, rounded)).max()
    far = np.abs(outputs(model, TEXTS) - rows_of(model, states)).max()
    assert near < far / 5


def jaxred_dtype(name):
    import jax.numpy as jnp

    return jnp.dtype(name)


def test_a_head_without_neurons_always_says_the_same(bert):
    model = random_model(bert, 0)
    empty = Head.of_columns(np.arange(3), np.zeros((3, 3)), np.array([0.0, 2, 1]), 12)
    assert (len(empty), empty.top_layer) == (0, 0)
    constant = type(model)(model.encoder, model.tokenizer, empty, model.card, model.source)
    assert constant.predict(TEXTS[:3]) == ["good"] * 3


def test_columns_of_no_weight_are_left_out():
    weights = np.zeros((4, 2), np.float32)
    weights[[1, 3]] = 1
    head = Head.of_columns(np.array([30, 5, 40, 13]), weights, np.zeros(2), 12)
    assert (head.layers.tolist(), head.neurons.tolist()) == ([0, 1], [5, 1])


# Order, streams, what is no text


def test_order_does_not_depend_on_windows_or_lengths(bert):
    shuffled = np.random.default_rng(0).permutation(len(TEXTS))
    model = random_model(bert, 2, pooling="cls", window_rows=9)
    found = model.predict_proba([TEXTS[i] for i in shuffled])
    np.testing.assert_allclose(found, model.predict_proba(TEXTS)[shuffled], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1)
    alone = np.concatenate([model.predict_proba([text]) for text in TEXTS[:5]])
    np.testing.assert_allclose(alone, model.predict_proba(TEXTS)[:5], rtol=0, atol=1e-6)


def test_a_stream_needs_no_end_and_reads_a_window_ahead(bert):
    read = []

    def texts():
        for i in itertools.count():
            read.append(i)
            yield TEXTS[i % len(TEXTS)]

    model = random_model(bert, 1, pooling="mean", window_rows=8)
    stream = model.stream(texts())
    assert list(itertools.islice(stream, 20)) == model.predict(TEXTS[:20])
    assert len(read) <= 4 * model.facts.window_rows


def test_nothing_gives_nothing(model):
    assert model.predict([]) == []
    assert model.predict_proba([]).shape == (0, 3)


def test_a_long_text_is_cut_and_reported(model, caplog):
    long = "film " * 50
    assert model.predict([long]) == model.predict(["film " * 14])
    assert "1 of 1 texts have more than 16 tokens" in caplog.text


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["a", None], "row 2, is 'None', but a text is expected"),
        (["a"] * 9 + ["  "], "row 10, is '  ', but a text is expected"),
        ([("a", "b", "c")], "row 1"),
        ("a film", "texts is one text, 'a film'"),
    ],
)
def test_what_is_no_text_is_named_by_its_row(texts, words, model):
    with pytest.raises(UserError, match=words):
        model.predict(texts)


def test_words_are_asked_for_where_words_are_labelled(bert):
    with pytest.raises(UserError, match="row 1, is 'a film', but a list of words is expected"):
        random_model(bert, 1, rows="word").predict(["a film"])


def test_labels_that_do_not_fit_are_rejected(model):
    labels = model.predict(TEXTS)
    assert model.score(TEXTS, labels) == 1
    with pytest.raises(UserError, match="There are 60 texts and 1 labels"):
        model.score(TEXTS, labels[:1])
    with pytest.raises(UserError, match="none of the 3 classes"):
        model.score(TEXTS, ["new", *labels[1:]])


# Of runs


CONFIG = StudyConfig(
    extraction=ExtractionConfig(max_length=16, dtype="bfloat16"),
    probe=ProbeConfig(epochs=15, batch_size=32, learning_rate=1e-2, standardize=True),
    selection=SelectionConfig(deltas=((3.0, 1.0),), fractions=(0.1, 0.5)),
)


@pytest.fixture(scope="module")
def data():
    texts = tiny_encoder.sentences(360)
    return texts, ["one" if "w1" in text else "none" for text in texts]


@pytest.fixture(scope="module")
def run(data, encoder_folder, tmp_path_factory):
    """A study with standardised neurons, stored in bfloat16."""
    texts, labels = data
    folder = tmp_path_factory.mktemp("runs") / "mine"
    return jaxred.study(
        texts[:240], labels[:240], encoder_folder, test=(texts[240:], labels[240:]), config=CONFIG, workdir=folder,
        stages="pipeline",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["oracle", "LayerSelector 3", "δ 3/1; no clustering", "layers-0-0", "layer-1"])
def test_the_reported_score_comes_out_of_the_folder(name, run, data, tmp_path):
    small = run.reduced(name)
    reported = small.card.scores["small"].test
    texts, labels = data[0][240:], data[1][240:]
    moved = small.save(tmp_path / "small").rename(tmp_path / "moved")
    loaded = jaxred.load_reduced(moved)
    assert small.score(texts, labels) == loaded.score(texts, labels) == reported
    np.testing.assert_array_equal(outputs(loaded, texts), outputs(small, texts))
    assert repr(loaded) == repr(small)
    assert f"accuracy {reported:.3f} on test" in repr(small)
    assert f"{reported:.3f} [" in str(small.card)


def test_sets_have_names(run):
    oracle = run.reduced("oracle")
    assert oracle.neurons == run.reduced("whole").neurons
    assert len(oracle.neurons) == 36
    layer = run.reduced("layers-0-0")
    assert (layer.n_layers, len(layer.neurons)) == (0, 12)
    assert layer.card.whole.n_layers == 2
    assert layer.card.small.n_parameters < layer.card.whole.n_parameters
    with pytest.raises(UserError, match=r"no set 'δ 9': there are 'oracle', 'LayerSelector δ 3', 'δ 3/1; no clus"):
        run.reduced("δ 9")


def test_the_smallest_finding_is_the_default(run, monkeypatch):
    if run.neurons:
        assert sorted(run.reduced().neurons) == sorted((each.layer, each.index) for each in run.neurons)
    from jaxred.runs import reduction

    monkeypatch.setattr(reduction, "smallest_finding", lambda study: None)
    with pytest.raises(UserError, match="no set of neurons that is a finding: name another"):
        run.reduced()


def test_an_encoder_whose_files_changed_is_not_taken(data, tmp_path, run, monkeypatch):
    changed = tiny_encoder.write_encoder(tmp_path / "encoder", seed=1)
    monkeypatch.setattr(run.config.encoder, "path", str(changed))
    with pytest.raises(UserError, match="is not the one that the run's activations are of"):
        run.reduced("oracle")


def test_activations_that_were_given_have_no_encoder(tmp_path):
    rng = np.random.default_rng(0)
    run = jaxred.study(
        rng.normal(size=(60, 2, 3)), [str(i % 2) for i in range(60)], config=CONFIG, workdir=tmp_path / "run",
        stages="pipeline",
    )  # fmt: skip
    with pytest.raises(UserError, match=r"were given, and jaxred knows no encoder"):
        run.reduced("oracle")
