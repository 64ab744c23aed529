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

from jaxred.models.qwen2 import Qwen2Config


def test_absent_keys_have_hugging_face_defaults():
    from transformers import Qwen2Config as TheirConfig

    assert_hugging_face_defaults(Qwen2Config, TheirConfig())


KINDS = ["full_attention", "sliding_attention", "full_attention"]


@pytest.mark.parametrize(
    ("raw", "window", "sliding"),
    [
        ({"rope_theta": 1e6, "sliding_window": 9, "max_window_layers": 1}, 0, (False, False, False)),
        ({"rope_theta": 1e6, "use_sliding_window": True, "sliding_window": None}, 0, (False, False, False)),
        (
            {"rope_theta": 1e6, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
            9,
            (False, True, True),
        ),
        ({"rope_theta": 1e6, "use_sliding_window": True, "max_window_layers": 0}, 4096, (True, True, True)),
        (
            {"rope_parameters": {"rope_theta": 1e6}, "use_sliding_window": True, "layer_types": KINDS, "head_dim": 64},
            4096,
            (False, True, False),
        ),
    ],
)
def test_windows_and_both_forms_of_rotary_settings(raw, window, sliding):
    from transformers import Qwen2Config as TheirConfig

    config = assert_same_as_transformers(Qwen2Config, TheirConfig, {**raw, "num_hidden_layers": 3})
    assert (config.window, config.sliding, config.rotary.rope_theta) == (window, sliding, 1e6)
    assert config.head_size == raw.get("head_dim", 128)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"layer_types": KINDS}, "layer_types has sliding_attention without a window: set use_sliding_window=true"),
        ({"layer_types": KINDS[:2]}, "layer_types=.* is not possible: it must be a list of num_hidden_layers=3 texts"),
        ({"layer_types": ["full_attention", "linear_attention", 3]}, "each full_attention or sliding_attention"),
        ({"num_attention_heads": 3}, "hidden_size=4096 does not divide into num_attention_heads=3"),
        ({"use_sliding_window": 1}, "use_sliding_window=1 is not possible: it must be true or false"),
    ],
)
def test_refused_settings(raw, message):
    assert_refused(Qwen2Config, {**raw, "num_hidden_layers": 3}, message)


def test_queries_keys_and_values_have_biases_and_the_output_has_none():
    shape = Qwen2Config.from_dict({}, Path("config.json")).attention_shape
    assert (shape.bias, shape.output_bias) == (True, False)


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_equals_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    from transformers import Qwen2Config as TheirConfig
    from transformers import Qwen2Model

    rng = np.random.default_rng(seed)
    fields = random_fields(rng, shares_hidden_size=False)
    windows = {"use_sliding_window": bool(seed % 3), "sliding_window": int(rng.integers(1, 8))}
    kinds = random_layer_types(rng, fields["num_hidden_layers"]) if windows["use_sliding_window"] else None
    rope = random_scaling(rng, SCALINGS[seed % 6], fields["head_dim"])
    config = TheirConfig(
        **fields, **windows, layer_types=kinds, max_window_layers=int(rng.integers(0, 4)), rope_parameters=rope
    )
    assert_decoder_equals_pytorch(Qwen2Model, config, tmp_path, seed + seed // 6)
