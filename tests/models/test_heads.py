"""The heads: what is taken of a checkpoint, and the folder that a fine-tuned classifier is saved to."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers.small_models import TEXTS, write_encoder
from safetensors.numpy import load_file, save_file

from jaxred.errors import UserError
from jaxred.finetuning.classifier import Classifier, head_table, load_classifier
from jaxred.finetuning.saving import save_finetuned
from jaxred.finetuning.training import Task
from jaxred.models import load_encoder, pretrained
from jaxred.models.dropout import SILENT
from jaxred.models.heads import Head, HeadTable, with_pretrained
from jaxred.models.loading import ARCHITECTURES, architecture
from jaxred.models.tokenization import Tokenizer

CLASSES = ("bad", "good", "ß ‘odd’")
TASKS = {
    "sentences": (Task("classification", "accuracy", CLASSES), False),
    "words": (Task("classification", "accuracy", CLASSES), True),
    "regression": (Task("regression", "pearson", ()), False),
}


def random_classifier(source, n_outputs, words, n_layers=-1, seed=1):
    """A classifier whose every weight of the head is random and matters."""
    classifier, _ = load_classifier(source, n_outputs, words, n_layers)
    graph, state = nnx.split(classifier.head)
    draw = np.random.default_rng(seed)
    flat = [(path, leaf.replace(draw.normal(size=leaf.shape).astype(np.float32))) for path, leaf in
            nnx.to_flat_state(state)]  # fmt: skip
    return Classifier(classifier.encoder, nnx.merge(graph, nnx.from_flat_state(flat)))


def saved(source, folder, kind, n_layers=-1):
    task, words = TASKS[kind]
    classifier = random_classifier(source, task.n_outputs, words, n_layers)
    folder.mkdir()
    save_finetuned(classifier, source, folder, task, words)
    return classifier, task, words


def batch_of(folder, classifier):
    tokenizer = Tokenizer(folder, classifier.encoder.config)
    tokens = tokenizer.encode(TEXTS[:5], None, 30)
    return tokenizer.pad(tokens, range(5), int(tokens.lengths.max()), 5)


def scores(classifier, batch, words):
    """Of every sentence, or of every token."""

    def computed():
        if not words:
            return classifier(batch)
        hidden = classifier.encoder.last(*(jnp.asarray(array) for array in batch[:3]))
        return classifier.head(hidden.reshape(-1, hidden.shape[-1]), SILENT).reshape(*hidden.shape[:2], -1)

    return np.asarray(jax.jit(computed)())


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("model_type", ["bert", "roberta", "modernbert", "xlnet", "gpt2", "distilbert"])
def test_a_saved_folder_loads_back_with_the_same_scores(model_type, kind, tmp_path):
    source = write_encoder(tmp_path / "source", model_type)
    classifier, task, words = saved(source, tmp_path / "saved", kind)
    loaded, rates = load_classifier(tmp_path / "saved", task.n_outputs, words, fine_tuned=True)
    batch = batch_of(tmp_path / "saved", loaded)
    np.testing.assert_array_equal(scores(loaded, batch, words), scores(classifier, batch, words))
    assert rates == load_classifier(source, task.n_outputs, words)[1]
    for (path, one), (_, other) in zip(  # and the encoder alone is a plain one
        nnx.to_flat_state(nnx.state(load_encoder(tmp_path / "saved"))),
        nnx.to_flat_state(nnx.state(classifier.encoder)), strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(one[...], other[...], err_msg=str(path))


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "gpt2", "albert"])
def test_a_cut_encoder_loads_back(model_type, tmp_path):
    source = write_encoder(tmp_path / "source", model_type)
    classifier, task, words = saved(source, tmp_path / "saved", "sentences", 1)
    loaded, _ = load_classifier(tmp_path / "saved", task.n_outputs, words, fine_tuned=True)
    assert loaded.encoder.config.n_layers == 1
    batch = batch_of(source, loaded)
    np.testing.assert_array_equal(scores(loaded, batch, words), scores(classifier, batch, words))


@pytest.mark.parametrize("kind", TASKS)
def test_the_configuration_names_the_head_and_the_classes(kind, tmp_path):
    source = write_encoder(tmp_path / "source", "bert")
    saved(source, tmp_path / "saved", kind)
    config = json.loads((tmp_path / "saved" / "config.json").read_text("utf-8"))
    names = ["score"] if kind == "regression" else list(CLASSES)
    assert config["id2label"] == {str(number): name for number, name in enumerate(names)}
    assert config["label2id"] == {name: number for number, name in enumerate(names)}
    assert config["num_labels"] == len(names)
    architecture = "BertForTokenClassification" if kind == "words" else "BertForSequenceClassification"
    assert config["architectures"] == [architecture]
    assert config["problem_type"] == ("regression" if kind == "regression" else "single_label_classification")


def test_a_pooler_is_taken_and_the_output_only_of_what_was_fine_tuned(tmp_path):
    source = write_encoder(tmp_path / "source", "bert")
    file, draw = source / "model.safetensors", np.random.default_rng(0)
    pooler = {
        "pooler.dense.weight": draw.normal(size=(12, 12)).astype(np.float32),
        "pooler.dense.bias": draw.normal(size=12).astype(np.float32),
        "classifier.weight": np.ones((3, 12), np.float32), "classifier.bias": np.ones(3, np.float32),
    }  # fmt: skip
    save_file({**load_file(file), **pooler}, file)
    fresh, other = (load_classifier(source, 3, False, seed=seed)[0].head for seed in (0, 1))
    for head in (fresh, other):
        assert head.dense is not None
        np.testing.assert_array_equal(head.dense.kernel[...], pooler["pooler.dense.weight"].T)
        np.testing.assert_array_equal(head.dense.bias[...], pooler["pooler.dense.bias"])
        assert abs(float(np.std(head.output.kernel[...])) - 0.02) < 0.01
        np.testing.assert_array_equal(head.output.bias[...], np.zeros(3))
    assert not np.array_equal(fresh.output.kernel[...], other.output.kernel[...])
    tuned = load_classifier(source, 3, False, fine_tuned=True)[0].head
    np.testing.assert_array_equal(tuned.output.kernel[...], np.ones((12, 3)))
    np.testing.assert_array_equal(tuned.output.bias[...], np.ones(3))


def test_a_head_that_is_missing_or_of_other_classes_is_named(tmp_path):
    source = write_encoder(tmp_path / "source", "bert")
    with pytest.raises(UserError, match="has no fine-tuned head of 3 outputs: classifier"):
        load_classifier(source, 3, False, fine_tuned=True)
    saved(source, tmp_path / "saved", "sentences")
    with pytest.raises(UserError, match="has no fine-tuned head of 2 outputs: classifier"):
        load_classifier(tmp_path / "saved", 2, False, fine_tuned=True)
    load_classifier(tmp_path / "saved", 2, False)  # fine-tuned again, on other classes


def test_an_architecture_without_a_head_for_words_is_named(tmp_path):
    source = write_encoder(tmp_path / "source", "gemma3_text")
    with pytest.raises(UserError, match="Gemma 3 cannot be fine-tuned on labelled words"):
        load_classifier(source, 3, True)
    load_classifier(source, 3, False)


@pytest.mark.parametrize("n_layers", [-2, 9])
def test_layers_that_do_not_exist_are_named(n_layers, encoder_folder):
    with pytest.raises(UserError, match=rf"config\.finetune\.n_layers={n_layers}: .* the model has 2\."):
        load_classifier(encoder_folder, 2, False, n_layers)


def test_the_rate_before_the_output_is_the_first_that_is_not_null():
    table = HeadTable("classifier", dropout=(("classifier_dropout", "hidden_dropout_prob"), 0.1))
    assert table.rate_key({"classifier_dropout": None, "hidden_dropout_prob": 0.3})[0] == "hidden_dropout_prob"
    assert table.rate_key({"classifier_dropout": 0.2, "hidden_dropout_prob": 0.3})[0] == "classifier_dropout"
    assert table.rate_key({}) == ("classifier_dropout", 0.1)
    assert HeadTable("score").rate_key({})[1] == 0.0


def test_a_norm_of_another_size_is_not_taken(tmp_path, encoder):
    table = HeadTable("classifier", dense="head.dense", norm="head.norm")
    head = Head(table, encoder.config, 2, rngs=nnx.Rngs(0))
    arrays = {"head.norm.weight": np.full(12, 3, np.float32), "head.dense.weight": np.ones((5, 5), np.float32)}
    save_file(arrays, tmp_path / pretrained.WEIGHTS)
    taken = with_pretrained(head, table, tmp_path, "bert.")
    assert taken.norm is not None
    assert head.dense is not None
    assert taken.dense is not None
    np.testing.assert_array_equal(taken.norm.scale[...], np.full(12, 3))
    np.testing.assert_array_equal(taken.dense.kernel[...], head.dense.kernel[...])


@pytest.mark.reference
@pytest.mark.parametrize("n_layers", [-1, 1], ids=["whole", "cut"])
@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_transformers_loads_it_with_the_same_logits(model_type, kind, n_layers, tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    source = write_encoder(tmp_path / "source", model_type)
    if kind == "words" and head_of_words(model_type) is None:
        pytest.skip("transformers has no such model")
    classifier, _, words = saved(source, tmp_path / "saved", kind, n_layers)
    auto = AutoModelForTokenClassification if words else AutoModelForSequenceClassification
    theirs, loading = auto.from_pretrained(
        tmp_path / "saved", attn_implementation="eager", output_loading_info=True, dtype=torch.float32
    )
    assert not loading["unexpected_keys"]
    assert {key.rsplit(".", 1)[-1] for key in loading["missing_keys"]} <= {"mask_emb"}
    names = {0: "score"} if kind == "regression" else dict(enumerate(CLASSES))
    assert theirs.config.id2label == names
    batch = batch_of(tmp_path / "saved", classifier)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if classifier.encoder.config.type_vocab_size:
        inputs["token_type_ids"] = batch.token_type_ids
    with torch.no_grad():
        logits = theirs.eval()(**{name: torch.tensor(array, dtype=torch.long) for name, array in inputs.items()}).logits
    ours, expected = scores(classifier, batch, words), logits.numpy()
    if words:
        ours, expected = ours[batch.attention_mask], expected[batch.attention_mask]
    assert np.linalg.norm(ours - expected) < 1e-5 * np.linalg.norm(expected)
    assert head_table(classifier.encoder, words)


def head_of_words(model_type):
    return architecture(model_type).word_head
