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

from jaxred.models.qwen3 import Qwen3Config


def test_absent_keys_have_hugging_face_defaults():
    from transformers import Qwen3Config as TheirConfig

    assert_hugging_face_defaults(Qwen3Config, TheirConfig())


@pytest.mark.parametrize(
    "raw",
    [
        {
            "rope_theta": 1e6,
            "rope_scaling": None,
            "hidden_size": 33,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        {"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}, "attention_bias": True, "head_dim": 6},
    ],
)
def test_both_forms_of_rotary_settings(raw):
    from transformers import Qwen3Config as TheirConfig

    config = assert_same_as_transformers(Qwen3Config, TheirConfig, raw)
    shape = config.attention_shape
    assert (config.rotary.rope_theta, shape.size_of_head) == (1e6, raw.get("head_dim", 128))
    assert shape.bias == shape.output_bias == raw.get("attention_bias", False)
    assert shape.head_norm_epsilon == config.rms_norm_eps


def test_refused_settings():
    assert_refused(Qwen3Config, {"head_dim": 7}, "head_dim=7 is not possible: it must be even")
    assert_refused(Qwen3Config, {"rope_scaling": {"type": "yarn"}, "head_dim": "x"}, "head_dim='x' is not possible")
    assert Qwen3Config.from_dict({"head_dim": None}, Path("config.json")).head_size == 128


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_equals_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    from transformers import Qwen3Config as TheirConfig
    from transformers import Qwen3Model

    rng = np.random.default_rng(seed)
    fields = random_fields(rng, shares_hidden_size=False)
    windows = {"use_sliding_window": bool(seed % 3), "sliding_window": int(rng.integers(1, 8))}
    kinds = random_layer_types(rng, fields["num_hidden_layers"]) if windows["use_sliding_window"] else None
    rope = random_scaling(rng, SCALINGS[seed % 6], fields["head_dim"])
    config = TheirConfig(
        **fields,
        **windows,
        layer_types=kinds,
        max_window_layers=int(rng.integers(0, 4)),
        rope_parameters=rope,
        attention_bias=bool(rng.integers(2)),
    )
    assert_decoder_equals_pytorch(Qwen3Model, config, tmp_path, seed + seed // 6)
