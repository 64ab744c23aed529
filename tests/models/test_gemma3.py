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

from jaxred.models.gemma3 import Gemma3Config
from jaxred.models.rotary import Rotary


def test_absent_keys_have_hugging_face_defaults():
    from transformers import Gemma3TextConfig as TheirConfig

    assert_hugging_face_defaults(Gemma3Config, TheirConfig())


FULL, LOCAL = {"rope_type": "linear", "factor": 8.0, "rope_theta": 2e6}, {"rope_type": "default", "rope_theta": 2e4}


@pytest.mark.parametrize(
    "raw",
    [
        {"rope_parameters": {"full_attention": FULL, "sliding_attention": LOCAL}},
        {
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            "rope_theta": 2e6,
            "rope_local_base_freq": 2e4,
            "sliding_window_pattern": 6,
        },
    ],
)
def test_both_forms_of_rotary_settings(raw):
    from transformers import Gemma3TextConfig as TheirConfig

    config = assert_same_as_transformers(Gemma3Config, TheirConfig, raw)
    assert config.rotary == Rotary(2e6, "linear", factor=8.0)
    assert config.local_rotary == config.sliding_rotary == Rotary(2e4)
    assert config.sliding == (*((True,) * 5 + (False,)) * 4, True, True)


def test_the_pattern_of_older_files_and_kinds_that_have_no_rotary_settings():
    from transformers import Gemma3TextConfig as TheirConfig

    raw = {"num_hidden_layers": 5, "sliding_window_pattern": 2, "rope_parameters": {"sliding_attention": None}}
    config = assert_same_as_transformers(Gemma3Config, TheirConfig, raw)
    assert config.sliding == (True, False, True, False, True)
    assert (config.rotary, config.local_rotary) == (Rotary(1e6), Rotary(1e4))
    assert config == Gemma3Config.from_dict(config.to_dict(), Path("config.json"))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"use_bidirectional_attention": True},
            "attention=True is not supported: jaxred runs Gemma 3",
        ),
        (
            {"sliding_window_pattern": 0},
            "sliding_window_pattern=0 is not possible: it must be a whole number",
        ),
        ({"rope_local_base_freq": -1}, "rope_local_base_freq=-1 is not possible: it must be a number above 0"),
        ({"rope_parameters": {"full_attention": 3}}, "rope_parameters.full_attention=3 is not possible: it must be an"),
        ({"rope_scaling": {"rope_type": "x"}}, "rope_scaling has rope_type='x', which is not supported"),
        ({"head_dim": 5}, "head_dim=5 is not possible: it must be even"),
    ],
)
def test_refused_settings(raw, message):
    assert_refused(Gemma3Config, raw, message)


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_equals_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    from transformers import Gemma3TextConfig as TheirConfig
    from transformers import Gemma3TextModel

    rng = np.random.default_rng(seed)
    # Norms of few values are left out: at a hidden size of 3, PyTorch's float32 was 5.5e-6 from its own float64 at one
    # seed, ours 9e-7.
    fields = random_fields(rng, least_hidden_size=6)
    full, local = (random_scaling(rng, SCALINGS[(seed + i) % 6], fields["head_dim"]) for i in (0, seed // 6))
    for settings in (full, local):
        settings.pop("truncate", None)  # PyTorch does not look at it where each kind of layer has its own settings
    config = TheirConfig(
        **fields,
        layer_types=random_layer_types(rng, fields["num_hidden_layers"]),
        sliding_window=int(rng.integers(1, 8)),
        query_pre_attn_scalar=int(rng.integers(4, 30)),
        attention_bias=bool(rng.integers(2)),
        rope_parameters={"full_attention": full, "sliding_attention": local},
    )
    assert_decoder_equals_pytorch(Gemma3TextModel, config, tmp_path, seed + seed // 6)
