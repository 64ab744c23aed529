import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers.decoders import (
    SCALINGS,
    assert_decoder_equals_pytorch,
    assert_refused,
    assert_same_as_transformers,
    random_fields,
    random_scaling,
)
from helpers.encoder_agreement import (
    assert_hugging_face_defaults,
    forward,
    random_batch,
    random_tiny,
    relative_error,
)

from jaxred.models.llama import Llama, LlamaConfig
from jaxred.models.rotary import Rotary


def test_absent_keys_have_hugging_face_defaults():
    from transformers import LlamaConfig as TheirConfig

    assert_hugging_face_defaults(LlamaConfig, TheirConfig())


@pytest.mark.parametrize(
    "raw",
    [
        {"rope_theta": 5e5, "rope_scaling": None, "num_key_value_heads": None, "head_dim": None},
        {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 2}, "pretraining_tp": 2},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "hidden_size": 64, "head_dim": 4},
        *(
            {
                **{"rope_theta": 5e5, "hidden_size": 64, "num_attention_heads": 4, "head_dim": 8},
                key: random_scaling(np.random.default_rng(0), kind, 8),
            }
            for key in ("rope_parameters", "rope_scaling")
            for kind in SCALINGS
        ),
    ],
)
def test_both_forms_of_rotary_settings(raw):
    from transformers import LlamaConfig as TheirConfig

    config = assert_same_as_transformers(LlamaConfig, TheirConfig, raw)
    assert config.rotary.rope_theta in (50.0, 1e4, 5e5)


def test_settings_beside_older_rotary_ones_are_theirs():
    raw = {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}
    assert LlamaConfig.from_dict(raw, PATH).rotary == Rotary(5e5, "linear", factor=2.0)
    raw = {"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}}
    rotary = LlamaConfig.from_dict({**raw, "original_max_position_embeddings": 64}, PATH).rotary
    assert rotary.original_max_position_embeddings == 64
    assert LlamaConfig.from_dict(raw, PATH).rotary.original_max_position_embeddings == 2048


PATH = Path("config.json")
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"num_attention_heads": 3}, "hidden_size=4096 does not divide into num_attention_heads=3"),
        ({"num_key_value_heads": 5}, "num_attention_heads=32 does not divide into num_key_value_heads=5: it must be a"),
        ({"num_key_value_heads": 0}, "num_key_value_heads=0 is not possible: it must be a whole number of at least 1"),
        ({"head_dim": 2.0}, "head_dim=2.0 is not possible: it must be a whole number"),
        ({"head_dim": 5}, "head_dim=5 is not possible: it must be even, for rotary positions turn pairs"),
        ({"rope_theta": "x"}, "rope_theta=x is not possible: it must be a number above 0"),
        ({"rope_scaling": [1]}, "rope_scaling=.1. is not possible: it must be an object or null"),
        ({"rope_scaling": {"type": "su"}}, "rope_scaling has rope_type='su', which is not supported"),
        ({"rope_parameters": {"full_attention": {}}}, "rope_parameters has settings of their own for full_attention"),
        ({"rope_parameters": LONGROPE}, "short_factor has 1 numbers, not one for each of the 64 pairs"),
        ({"head_dim": 2, "rope_scaling": {"type": "dynamic", "factor": 2}}, "'dynamic' is not possible with 1 pair"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5 is not supported: jaxred runs Llama with"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor=0.5 is not supported"),
        ({"attention_bias": None}, "attention_bias=None is not possible: it must be true or false"),
    ],
)
def test_refused_settings(raw, message):
    assert_refused(LlamaConfig, raw, message)


def test_a_given_size_of_heads_need_not_share_the_hidden_size():
    config = LlamaConfig.from_dict({"hidden_size": 7, "num_attention_heads": 3, "head_dim": 4}, PATH)
    assert (config.head_size, config.n_key_heads) == (4, 3)


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_equals_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    from transformers import LlamaConfig as TheirConfig
    from transformers import LlamaModel

    rng = np.random.default_rng(seed)
    fields = random_fields(rng)
    rope = random_scaling(rng, SCALINGS[seed % 6], fields["head_dim"])
    biases = {"attention_bias": bool(rng.integers(2)), "mlp_bias": bool(rng.integers(2))}
    act = str(rng.choice(["silu", "gelu", "gelu_pytorch_tanh", "relu"]))
    config = TheirConfig(**fields, **biases, hidden_act=act, rope_parameters=rope)
    assert_decoder_equals_pytorch(LlamaModel, config, tmp_path, seed + seed // 6)


def test_longrope_goes_by_the_length_of_each_sentence_alone():
    rotary = Rotary.read(
        {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.3], "long_factor": [2.0, 3.0, 5.0], "factor": 4.0},
        Path("config.json"),
        "rope_parameters",
        12,
        10000.0,
    )
    rotary = dataclasses.replace(rotary, original_max_position_embeddings=6)
    model = random_tiny(Llama, rotary=rotary, n_layers=2)
    ids = random_batch(model.config)[0]
    lengths = np.array([9, 6, 3, 7])
    mask = np.arange(9) < lengths[:, None]
    together = np.asarray(forward(model, ids, mask, np.zeros_like(ids)))
    for row, length in enumerate(lengths):
        one = ids[row : row + 1, :length]
        alone = np.asarray(forward(model, one, np.ones(one.shape, bool), np.zeros_like(one)))
        assert relative_error(together[:, row, :length], alone[:, 0]) <= 1e-6
