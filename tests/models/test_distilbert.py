import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.encoder_agreement import (
    TINY,
    assert_equals_pytorch,
    assert_hugging_face_defaults,
    assert_layers_agree,
    assert_same_weights,
    pytorch_hidden_states,
    random_batch,
    random_tiny,
    randomise,
)
from safetensors.numpy import load_file, save_file

from jaxred.errors import UserError
from jaxred.models import checkpoint, load_encoder
from jaxred.models.distilbert import DistilBert, DistilBertConfig
from jaxred.models.tokenization import Tokenizer

forward = jax.jit(DistilBert.__call__)


def test_absent_keys_have_hugging_face_defaults():
    from transformers import DistilBertConfig as Theirs

    assert_hugging_face_defaults(DistilBertConfig, Theirs())


def test_config_round_trip():
    odd = dataclasses.replace(TINY[DistilBert], hidden_act="relu", pad_token_id=3)
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
def test_every_layer_equals_pytorch(case, tmp_path):
    pytest.importorskip("torch")
    from transformers import DistilBertConfig as TheirConfig
    from transformers import DistilBertModel

    shape = {"vocab_size": 60, "max_position_embeddings": 20, "dim": 24, "n_layers": 3, "n_heads": 4, "hidden_dim": 40}
    seed = list(CASES).index(case)
    theirs = randomise(DistilBertModel(TheirConfig(**{**shape, **CASES[case]})), seed)
    theirs.save_pretrained(tmp_path)
    ours = load_encoder(tmp_path)
    batch = random_batch(ours.config, n_rows=5, n_tokens=11, seed=seed)
    expected = pytorch_hidden_states(theirs, batch, token_types=False)
    assert_layers_agree(forward(ours, *batch), expected, batch[1], 2e-6)


@pytest.mark.reference
def test_a_model_with_a_head_as_transformers_saves_it(tmp_path):
    pytest.importorskip("torch")
    from transformers import DistilBertConfig as TheirConfig
    from transformers import DistilBertForSequenceClassification

    shape = {"vocab_size": 37, "max_position_embeddings": 20, "dim": 12, "n_layers": 2, "n_heads": 2, "hidden_dim": 40}
    theirs = randomise(DistilBertForSequenceClassification(TheirConfig(**shape)), seed=1)
    theirs.save_pretrained(tmp_path)
    ours = load_encoder(tmp_path)
    batch = random_batch(ours.config)
    expected = pytorch_hidden_states(theirs.distilbert, batch, token_types=False)
    assert_layers_agree(forward(ours, *batch), expected, batch[1], 2e-6)


def test_prefix_and_heads_are_accepted(tmp_path):
    model = random_tiny(DistilBert)
    checkpoint.save(model, tmp_path)
    tensors = {f"distilbert.{name}": tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    heads = ("vocab_transform.weight", "vocab_layer_norm.bias", "vocab_projector.bias", "pre_classifier.weight",
             "classifier.bias", "qa_outputs.weight")  # fmt: skip
    save_file({**tensors, **{name: np.zeros(2, np.float32) for name in heads}}, tmp_path / "model.safetensors")
    assert_same_weights(load_encoder(tmp_path), model)


def test_the_weights_of_a_bert_are_refused(tmp_path, encoder_folder):
    checkpoint.save(random_tiny(DistilBert), tmp_path)
    (tmp_path / "model.safetensors").write_bytes((encoder_folder / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"embeddings\.token_type_embeddings\.weight is not a weight of this model"):
        load_encoder(tmp_path)


def test_pairs_are_tokenised_as_for_a_bert(encoder_folder):
    tokens = Tokenizer(encoder_folder, dataclasses.replace(TINY[DistilBert], vocab_size=40)).encode(
        ["w1"], ["w2"], max_length=9
    )
    assert tokens.token_type_ids[0].tolist() == [0, 0, 0, 1, 1]
    assert tokens.positions.tolist() == [0]


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_random_configurations_equal_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    import transformers

    rng = np.random.default_rng(seed)
    n_heads = int(rng.integers(1, 6))
    config = transformers.DistilBertConfig(
        vocab_size=int(rng.integers(20, 60)),
        dim=n_heads * int(rng.integers(1, 9)),
        n_layers=int(rng.integers(1, 5)),
        n_heads=n_heads,
        hidden_dim=int(rng.integers(1, 50)),
        activation=str(rng.choice(["gelu", "relu"])),
        max_position_embeddings=int(rng.integers(20, 40)),
    )
    assert_equals_pytorch(
        transformers.DistilBertModel(config), tmp_path, seed, padding_side=("right", "left")[seed % 2]
    )
