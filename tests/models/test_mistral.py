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
from helpers.encoder_agreement import assert_hugging_face_defaults

from jaxred.models.mistral import MistralConfig


def test_absent_keys_have_hugging_face_defaults():
    from transformers import MistralConfig as TheirConfig

    assert_hugging_face_defaults(MistralConfig, TheirConfig())


@pytest.mark.parametrize(
    ("raw", "window"),
    [
        ({"rope_theta": 1e6, "sliding_window": None, "head_dim": None}, 0),
        ({"rope_theta": 1e6, "sliding_window": 7}, 7),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e6, "factor": 2.0}}, 4096),
    ],
)
def test_both_forms_of_rotary_settings(raw, window):
    from transformers import MistralConfig as TheirConfig

    config = assert_same_as_transformers(MistralConfig, TheirConfig, raw)
    assert (config.window, config.rotary.rope_theta) == (window, 1e6)
    assert config.sliding == (window > 0,) * 32


def test_refused_settings():
    assert_refused(MistralConfig, {"sliding_window": 0}, "sliding_window=0 is not possible: it must be a whole number")
    assert_refused(MistralConfig, {"num_key_value_heads": 5}, "num_attention_heads=32 does not divide into num_key_val")
    with pytest.raises(TypeError):
        MistralConfig(attention_bias=True)


def test_a_cut_keeps_the_window():
    assert MistralConfig.from_dict({"num_hidden_layers": 2}, Path("config.json")).sliding == (True, True)


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_equals_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    from transformers import MistralConfig as TheirConfig
    from transformers import MistralModel

    rng = np.random.default_rng(seed)
    fields = random_fields(rng, shares_hidden_size=False)
    rope = random_scaling(rng, SCALINGS[seed % 6], fields["head_dim"])
    window = [None, int(rng.integers(1, 8))][seed % 3 > 0]
    config = TheirConfig(**fields, sliding_window=window, rope_parameters=rope)
    assert_decoder_equals_pytorch(MistralModel, config, tmp_path, seed + seed // 6)
