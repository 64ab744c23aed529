import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import encoder_agreement
from helpers.encoder_agreement import (
    assert_equals_pytorch,
    assert_hugging_face_defaults,
    assert_layers_agree,
    random_tiny,
)
from safetensors.numpy import load_file, save_file

from jaxred.errors import UserError
from jaxred.models import checkpoint, load_encoder
from jaxred.models.deberta import DebertaV2, DebertaV2Config, position_numbers
from jaxred.models.encoder import Encoder

TINY = encoder_agreement.TINY[DebertaV2]

forward = jax.jit(Encoder.__call__)


def test_absent_keys_have_hugging_face_defaults():
    from transformers import DebertaV2Config as Theirs

    assert_hugging_face_defaults(DebertaV2Config, Theirs())


@pytest.mark.parametrize("fields", [{}, {"pos_att_type": ("p2c",), "share_att_key": False, "embedding_size": 0}])
def test_config_round_trip(fields):
    config = dataclasses.replace(TINY, max_relative_positions=7, hidden_act="relu", pad_token_id=1, **fields)
    assert DebertaV2Config.from_dict(config.to_dict(), Path("config.json")) == config


def test_transformers_reads_what_is_written():
    from transformers import DebertaV2Config as Theirs

    theirs = Theirs.from_dict(TINY.to_dict())
    assert (theirs.pos_att_type, theirs.position_buckets, theirs.embedding_size) == (["c2p", "p2c"], 6, 10)
    assert (theirs.share_att_key, theirs.norm_rel_ebd, theirs.relative_attention) == (True, "layer_norm", True)


@pytest.mark.parametrize("terms", [["c2p", "p2c"], ["p2c", "c2p"], "p2c|c2p", "P2C | c2p"])
def test_both_forms_of_pos_att_type(terms):
    config = DebertaV2Config.from_dict({"pos_att_type": terms}, Path("config.json"))
    assert config.pos_att_type == ("c2p", "p2c")


def test_settings_without_effect_are_accepted():
    settings = {"attention_head_size": 6, "conv_kernel_size": 0, "legacy": False, "pooler_hidden_size": 5}
    assert DebertaV2Config.from_dict({**TINY.to_dict(), **settings}, Path("config.json")) == TINY


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"conv_kernel_size": 3}, "conv_kernel_size=3 is not supported: jaxred runs DeBERTa v2 and v3 with conv"),
        ({"attention_head_size": 32}, "attention_head_size=32 is not possible: it must be .*num_attention_heads = 64"),
        ({"pos_att_type": "p2c|p2p"}, r"pos_att_type='p2c\|p2p' is not possible: it must be a list of c2p and p2c"),
        ({"pos_att_type": ["p2c", 3]}, r"pos_att_type=\['p2c', 3\] is not possible"),
        ({"pos_att_type": 3}, "pos_att_type=3 is not possible"),
        ({"norm_rel_ebd": "batch"}, "norm_rel_ebd='batch' is not possible: it must be one of none, layer_norm"),
        ({"position_buckets": 1}, "position_buckets=1 is not possible with max_relative_positions=512: it must be at"),
        ({"position_buckets": 8, "max_relative_positions": 5}, "position_buckets=8 .*_positions=5: it must .* least 6"),
        ({"position_buckets": -2}, "position_buckets=-2 is not possible: it must be a whole number of at least -1"),
        ({"hidden_size": 100}, "hidden_size=100 does not divide into num_attention_heads=24"),
        ({"share_att_key": "yes"}, "share_att_key='yes' is not possible: it must be true or false"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_run_are_named(setting, message):
    with pytest.raises(UserError, match=rf"^some/config\.json: {message}"):
        DebertaV2Config.from_dict(setting, Path("some/config.json"))


def test_texts_are_bounded_by_embedded_positions_alone():
    assert TINY.usable_length == 16
    model = random_tiny(DebertaV2, position_biased_input=False)
    assert forward(model, *encoder_agreement.random_batch(model.config, n_tokens=41)).shape == (4, 4, 41, 12)


def test_distances_have_vectors_of_their_own_up_to_half_the_buckets():
    v3 = DebertaV2Config(position_buckets=256)
    numbers = position_numbers(v3, 600)
    distances = np.arange(600, -601, -1)
    near = np.abs(distances) <= 128
    np.testing.assert_array_equal(numbers[near], distances[near] + 256)
    assert np.all(np.diff(numbers) <= 0)
    assert (numbers[0], numbers[-1]) == (511, 0)
    np.testing.assert_array_equal(position_numbers(DebertaV2Config(max_relative_positions=2), 3), [3, 3, 3, 2, 1, 0, 0])


def test_padding_has_no_embedding():
    ids, mask, types = encoder_agreement.random_batch(TINY)
    embedded = np.asarray(forward(random_tiny(DebertaV2), ids, mask, types))[0]
    assert not embedded[~mask].any()
    assert np.all(np.abs(embedded[mask]).sum(-1) > 0)


def test_position_embeddings_that_are_not_used_and_heads_are_ignored(tmp_path):
    model = random_tiny(DebertaV2, position_biased_input=False)
    checkpoint.save(model, tmp_path)
    tensors = {f"deberta.{name}": tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    vector = np.zeros(12, np.float32)
    others = ("deberta.embeddings.position_embeddings.weight", "deberta.embeddings.position_ids", "pooler.dense.weight",
              "cls.predictions.bias", "lm_predictions.lm_head.bias", "mask_predictions.dense.bias", "classifier.weight",
              "qa_outputs.bias")  # fmt: skip
    save_file({**tensors, **dict.fromkeys(others, vector)}, tmp_path / "model.safetensors")
    encoder_agreement.assert_same_weights(load_encoder(tmp_path), model)


def test_position_embeddings_that_are_used_are_needed(tmp_path):
    model = random_tiny(DebertaV2)
    checkpoint.save(model, tmp_path)
    encoder_agreement.assert_same_weights(load_encoder(tmp_path), model)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["embeddings.position_embeddings.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"embeddings\.position_embeddings\.weight is missing"):
        load_encoder(tmp_path)


# Agreement with PyTorch --------------------------------------------------------------------------------------------


def random_settings(seed):
    """Small settings of transformers' configuration; every choice is drawn on its own."""
    rng = np.random.default_rng(seed)
    n_heads = int(rng.integers(1, 5))
    size = n_heads * int(rng.integers(1, 9))
    terms = [["c2p", "p2c"], "p2c|c2p", ["c2p"], "p2c", None][seed % 5]
    buckets = int(rng.integers(2, 12)) if seed % 2 else -1
    return {
        "vocab_size": int(rng.integers(20, 60)),
        "hidden_size": size,
        "num_hidden_layers": int(rng.integers(1, 5)),
        "num_attention_heads": n_heads,
        "intermediate_size": int(rng.integers(1, 50)),
        "hidden_act": str(rng.choice(["gelu", "relu", "gelu_new", "silu"])),
        "max_position_embeddings": int(rng.integers(20, 40)),
        "type_vocab_size": int(rng.choice([0, 2])),
        "layer_norm_eps": float(10 ** rng.uniform(-7, -1)),
        "relative_attention": seed not in (10, 19),
        "max_relative_positions": int(rng.choice([-1, *range(8, 13)])),
        "position_buckets": buckets,
        "position_biased_input": bool(rng.integers(2)),
        "pos_att_type": terms,
        "share_att_key": bool(rng.integers(2)),
        "norm_rel_ebd": str(rng.choice(["none", "layer_norm"])),
        "embedding_size": int(rng.integers(1, 20)) if rng.integers(2) else size,
    }


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_equals_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    from transformers import DebertaV2Config as Theirs
    from transformers import DebertaV2Model

    config = Theirs(**random_settings(seed))
    longest = 20 if config.position_biased_input else 60
    n_tokens = int(np.random.default_rng(seed).integers(2, longest + 1))
    side = ("right", "left")[seed // 2 % 2]
    assert_equals_pytorch(DebertaV2Model(config), tmp_path, seed, padding_side=side, n_tokens=n_tokens)


@pytest.mark.reference
def test_base_size_equals_pytorch(tmp_path):
    """That of deberta-v3-base, with random weights."""
    torch = pytest.importorskip("torch")
    from transformers import DebertaV2Config as Theirs
    from transformers import DebertaV2Model

    torch.manual_seed(0)
    config = Theirs(
        vocab_size=1000, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        relative_attention=True, position_buckets=256, norm_rel_ebd="layer_norm", share_att_key=True,
        pos_att_type="p2c|c2p", position_biased_input=False,
    )  # fmt: skip
    theirs = DebertaV2Model(config).eval()  # as it is initialised
    theirs.save_pretrained(tmp_path)
    ids = np.random.default_rng(0).integers(1, 1000, (4, 64)).astype(np.int32)
    batch = ids, np.ones(ids.shape, bool), np.zeros_like(ids)
    expected = encoder_agreement.pytorch_hidden_states(theirs, batch)
    assert_layers_agree(np.asarray(forward(load_encoder(tmp_path), *batch)), expected, batch[1], 1e-5)
