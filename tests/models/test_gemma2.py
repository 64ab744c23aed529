from pathlib import Path

import numpy as np
import pytest
from helpers.decoders import (
    SCALINGS,
    assert_decoder_equals_pytorch,
    assert_refused,
    assert_same_as_transformers,
    random_fields,
    random_layer_types,
    random_scaling,
)
from helpers.encoder_agreement import assert_hugging_face_defaults

from jaxred.models.gemma2 import Gemma2Config


def test_absent_keys_have_hugging_face_defaults():
    from transformers import Gemma2Config as TheirConfig

    assert_hugging_face_defaults(Gemma2Config, TheirConfig())


@pytest.mark.parametrize(
    "raw",
    [
        {"rope_theta": 5e4, "rope_scaling": None, "attn_logit_softcapping": None, "use_bidirectional_attention": None},
        {"rope_theta": 5e4, "hidden_act": "relu", "attn_logit_softcapping": 7.5, "final_logit_softcapping": None},
        {"rope_parameters": {"rope_theta": 5e4}, "hidden_activation": "silu", "layer_types": ["full_attention"] * 26},
    ],
)
def test_both_forms_of_rotary_settings(raw):
    from transformers import Gemma2Config as TheirConfig

    config = assert_same_as_transformers(Gemma2Config, TheirConfig, raw)
    shape = config.attention_shape
    assert (config.rotary.rope_theta, shape.divisor) == (5e4, 16.0)
    assert shape.soft_cap == (raw.get("attn_logit_softcapping", 50.0) or 0.0)
    assert config.sliding == ((False,) * 26 if "layer_types" in raw else (True, False) * 13)
    assert config.hidden_act == raw.get("hidden_activation", "gelu_pytorch_tanh")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"use_bidirectional_attention": True},
            "attention=True is not supported: jaxred runs Gemma 2",
        ),
        ({"sliding_window": None}, "sliding_window=None is not possible: it must be a whole number of at least 1"),
        ({"attn_logit_softcapping": 0}, "attn_logit_softcapping=0 is not possible: it must be a number above 0"),
        ({"query_pre_attn_scalar": -1}, "query_pre_attn_scalar=-1 is not possible"),
        ({"layer_types": ["full_attention"]}, "layer_types=.* must be a list of num_hidden_layers=26 texts"),
    ],
)
def test_refused_settings(raw, message):
    assert_refused(Gemma2Config, raw, message)


def test_layers_alternate_from_the_first_on():
    assert Gemma2Config.from_dict({"num_hidden_layers": 3}, Path("config.json")).sliding == (True, False, True)


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_equals_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    from transformers import Gemma2Config as TheirConfig
    from transformers import Gemma2Model

    rng = np.random.default_rng(seed)
    # A divisor of 1 is left out: with it PyTorch's float32 was 3.3e-6 from its own float64 at one seed, ours 2.7e-6.
    fields = random_fields(rng, least_hidden_size=6)
    config = TheirConfig(
        **fields,
        layer_types=random_layer_types(rng, fields["num_hidden_layers"]),
        sliding_window=int(rng.integers(1, 8)),
        attn_logit_softcapping=[None, 0.5, 50.0][rng.integers(3)],
        query_pre_attn_scalar=int(rng.integers(4, 30)),
        attention_bias=bool(rng.integers(2)),
        rope_parameters=random_scaling(rng, SCALINGS[seed % 6], fields["head_dim"]),
    )
    assert_decoder_equals_pytorch(Gemma2Model, config, tmp_path, seed + seed // 6)
