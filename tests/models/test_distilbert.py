import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_encoder
from agreement import (
    assert_reduced_inside_the_scan,
    assert_same_vectors,
    pytorch_hidden_states,
    randomise,
    relative_error,
)
from safetensors.numpy import load_file, save_file

from jaxred.errors import UserError
from jaxred.models import checkpoint, load_encoder
from jaxred.models.distilbert import DistilBert, DistilBertConfig
from jaxred.tokenization import Tokenizer

TINY = DistilBertConfig(
    vocab_size=37, hidden_size=12, n_layers=3, n_heads=2, intermediate_size=20, max_position_embeddings=24
)

forward = jax.jit(DistilBert.__call__)


def random_distilbert(seed=0, **fields):
    return tiny_encoder.random_encoder(DistilBert, dataclasses.replace(TINY, **fields), seed)


def test_absent_keys_have_hugging_face_defaults():
    from transformers import DistilBertConfig as Theirs

    theirs = Theirs()
    ours = DistilBertConfig.from_dict({}, Path("config.json")).to_dict()
    assert ours.pop("architectures") == ["DistilBertModel"]
    assert {key: getattr(theirs, key) for key in ours} == ours


def test_config_round_trip():
    odd = dataclasses.replace(TINY, hidden_act="relu", pad_token_id=3)
    assert DistilBertConfig.from_dict(odd.to_dict(), Path("config.json")) == odd


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"dim": 100, "n_heads": 12}, "dim=100 does not divide into n_heads=12"),
        ({"activation": "novel"}, "activation='novel' is not possible"),
        ({"n_layers": -1}, "n_layers=-1 is not possible"),
    ],
)
def test_settings_that_cannot_be_run_are_named(setting, message):
    with pytest.raises(UserError, match=rf"^some/config\.json: {message}"):
        DistilBertConfig.from_dict(setting, Path("some/config.json"))


CASES = {
    "base": {},
    "one_layer_one_head": {"n_layers": 1, "n_heads": 1},
    "odd_sizes": {"dim": 21, "n_heads": 3, "hidden_dim": 17, "vocab_size": 41},
    "wide": {"dim": 256, "n_heads": 8, "hidden_dim": 500},
    "relu": {"activation": "relu"},
    "sinusoidal": {"sinusoidal_pos_embds": True, "n_layers": 6},
}


@pytest.mark.reference
@pytest.mark.parametrize("case", CASES)
def test_every_layer_equals_pytorch(case, tmp_path, random_batch):
    pytest.importorskip("torch")
    from transformers import DistilBertConfig as TheirConfig
    from transformers import DistilBertModel

    shape = {"vocab_size": 60, "max_position_embeddings": 20, "dim": 24, "n_layers": 3, "n_heads": 4, "hidden_dim": 40}
    seed = list(CASES).index(case)
    theirs = randomise(DistilBertModel(TheirConfig(**{**shape, **CASES[case]})), seed)
    theirs.save_pretrained(tmp_path)
    ours = load_encoder(tmp_path)
    batch = random_batch(ours.config, n_rows=5, n_tokens=11, seed=seed)
    expected, found = pytorch_hidden_states(theirs, batch, token_types=False), forward(ours, *batch)
    assert len(found) == ours.config.n_layers + 1
    for layer, rival in zip(found, expected, strict=True):
        assert relative_error(layer[batch[1]], rival[batch[1]]) <= 2e-6


@pytest.mark.reference
def test_a_model_with_a_head_as_transformers_saves_it(tmp_path, random_batch):
    pytest.importorskip("torch")
    from transformers import DistilBertConfig as TheirConfig
    from transformers import DistilBertForSequenceClassification

    shape = {"vocab_size": 37, "max_position_embeddings": 20, "dim": 12, "n_layers": 2, "n_heads": 2, "hidden_dim": 40}
    theirs = randomise(DistilBertForSequenceClassification(TheirConfig(**shape)), seed=1)
    theirs.save_pretrained(tmp_path)
    batch = random_batch()
    expected = pytorch_hidden_states(theirs.distilbert, batch, token_types=False)
    assert relative_error(forward(load_encoder(tmp_path), *batch)[:, batch[1]], expected[:, batch[1]]) <= 2e-6


def test_round_trip_prefix_and_heads(tmp_path):
    model = random_distilbert()
    checkpoint.save(model, tmp_path)
    tensors = {f"distilbert.{name}": tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    heads = ("vocab_transform.weight", "vocab_layer_norm.bias", "vocab_projector.bias", "pre_classifier.weight",
             "classifier.bias", "qa_outputs.weight")  # fmt: skip
    save_file({**tensors, **{name: np.zeros(2, np.float32) for name in heads}}, tmp_path / "model.safetensors")
    for found, expected in zip(jax.tree.leaves(load_encoder(tmp_path)), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_weights_of_a_bert_are_refused(tmp_path, encoder_folder):
    checkpoint.save(random_distilbert(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes((encoder_folder / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"embeddings\.token_type_embeddings\.weight is not a weight of this model"):
        load_encoder(tmp_path)


def test_same_vectors_alone_in_a_batch_and_padded(random_batch):
    ids, _, types = random_batch(n_tokens=9)
    assert_same_vectors(random_distilbert(), ids[0], types[0], "right", ((4, 3, 9), (1, 0, 16)))


def test_reduce_cut_and_count(random_batch):
    model, batch = random_distilbert(), random_batch()
    assert_reduced_inside_the_scan(model, batch)
    cut = model.first_layers(2)
    assert cut.n_parameters(2) == model.n_parameters(2) == sum(leaf.size for leaf in jax.tree.leaves(cut))
    assert relative_error(forward(cut, *batch), forward(model, *batch)[:3]) <= 5e-7


def test_a_batch_longer_than_the_positions_is_refused(random_batch):
    with pytest.raises(UserError, match="25 tokens a row does not fit the model's 24 positions"):
        forward(random_distilbert(), *random_batch(n_tokens=25))


def test_pairs_are_tokenised_as_for_a_bert(encoder_folder):
    tokens = Tokenizer(encoder_folder, dataclasses.replace(TINY, vocab_size=40)).encode(["w1"], ["w2"], max_length=9)
    assert tokens.token_type_ids[0].tolist() == [0, 0, 0, 1, 1]
    assert tokens.positions.tolist() == [0]
