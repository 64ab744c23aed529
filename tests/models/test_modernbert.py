import copy
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.encoder_agreement import (
    assert_equals_pytorch,
    assert_hugging_face_defaults,
    assert_read_on_either_side,
    random_batch,
    random_tiny,
    relative_error,
)

from jaxred.errors import UserError
from jaxred.models import checkpoint
from jaxred.models.alternating import of_layer
from jaxred.models.modernbert import ModernBert, ModernBertConfig
from jaxred.models.rotary import Rotary

forward = jax.jit(ModernBert.__call__)

OLD = {"num_hidden_layers": 5, "global_attn_every_n_layers": 2, "global_rope_theta": 800.0, "local_rope_theta": 90.0}
KINDS = ["full_attention", "sliding_attention", "full_attention", "sliding_attention", "full_attention"]
PRESENT = {
    "num_hidden_layers": 5,
    "layer_types": KINDS,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 800.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 90.0},
    },
}
SCALED = {"rope_type": "linear", "factor": 2.0}
ONE_SCALED = {"full_attention": {**SCALED, "rope_theta": 70}}


def read(raw):
    return ModernBertConfig.from_dict(copy.deepcopy(raw), Path("config.json"))


# The configuration -------------------------------------------------------------------------------------------------


def test_absent_keys_have_hugging_face_defaults():
    from transformers import ModernBertConfig as Theirs

    assert_hugging_face_defaults(ModernBertConfig, Theirs())


def test_older_files_and_present_ones_say_the_same():
    config = read(OLD)
    assert config == read(PRESENT)
    assert config.sliding_layers == (False, True, False, True, False)
    assert (config.full_rotary, config.sliding_rotary) == (Rotary(800.0), Rotary(90.0))
    assert read({**PRESENT, "global_attn_every_n_layers": 5, "local_rope_theta": 5.0}) == config  # of no effect


@pytest.mark.parametrize(
    "raw",
    [
        OLD,
        PRESENT,
        {"rope_parameters": ONE_SCALED, "layer_types": None, "num_hidden_layers": 7},
        {"rope_scaling": SCALED, "rope_parameters": {"full_attention": {"rope_theta": 5.0}, "sliding_attention": {}}},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},  # Hugging Face's type stays the default
        {"hidden_activation": "silu", "norm_bias": True, "attention_bias": True, "mlp_bias": True, "norm_eps": 1e-3},
        {"pad_token_id": None, "rope_parameters": None},
    ],
)
def test_hugging_face_reads_the_same(raw):
    """Of a file as it was, and of that which is written."""
    from transformers import ModernBertConfig as Theirs

    config = read(raw)
    written = config.to_dict()
    assert read(written) == config
    for theirs in (Theirs(**copy.deepcopy(raw)), Theirs(**copy.deepcopy(written))):
        kinds = zip(("full_attention", "sliding_attention"), (config.full_rotary, config.sliding_rotary), strict=True)
        for kind, rotary in kinds:
            settings = theirs.rope_parameters[kind]
            assert (settings["rope_theta"], settings["rope_type"]) == (rotary.rope_theta, rotary.rope_type)
            if rotary.rope_type != "default":
                assert settings["factor"] == rotary.factor
        assert [kind == "sliding_attention" for kind in theirs.layer_types] == [*config.sliding_layers]
        assert (theirs.hidden_activation, theirs.norm_eps) == (config.hidden_act, config.layer_norm_eps)
        biases = (theirs.norm_bias, theirs.attention_bias, theirs.mlp_bias)
        assert biases == (config.norm_bias, config.attention_bias, config.mlp_bias)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5 is not supported: jaxred runs ModernBERT with"),
        (
            {"rope_parameters": {"sliding_attention": {"partial_rotary_factor": 0.5}}},
            r"rope_parameters.sliding_attention.partial_rotary_factor=0.5 is not supported: jaxred runs",
        ),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "axial"}}},
            "rope_parameters.full_attention has rope_type='axial', which is not supported",
        ),
        ({"rope_parameters": {"full_attention": [1]}}, "rope_parameters=.* must be an object of settings"),
        ({"rope_parameters": [1]}, r"rope_parameters=\[1\] is not possible: it must be an object of settings"),
        ({"rope_scaling": "linear"}, "rope_scaling=linear is not possible"),
        ({"local_rope_theta": None}, "local_rope_theta=None is not possible: it must be a number above 0"),
        ({"global_rope_theta": -1}, "global_rope_theta=-1 is not possible"),
        ({"global_attn_every_n_layers": 0}, "global_attn_every_n_layers=0 is not possible: it must be a whole number"),
        ({"layer_types": ["full_attention"]}, "it must be a list of num_hidden_layers=22 texts"),
        ({"layer_types": ["chunked"], "num_hidden_layers": 1}, r"layer_types=\['chunked'\] is not possible"),
        ({"local_attention": 0}, "local_attention=0 is not possible: it must be a whole number of at least 1"),
        ({"norm_bias": 1}, "norm_bias=1 is not possible: it must be true or false"),
        ({"hidden_size": 15, "num_attention_heads": 3}, "makes heads of 5 values: rotary positions need an even"),
        ({"hidden_size": 16, "num_attention_heads": 3}, "hidden_size=16 does not divide into num_attention_heads=3"),
        ({"hidden_activation": "gelu2"}, "hidden_activation='gelu2' is not possible"),
    ],
)
def test_settings_that_cannot_be_run_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        read(settings)


# The layers --------------------------------------------------------------------------------------------------------


def test_layers_are_given_what_their_kind_sees():
    full, sliding = {"a": np.zeros((1, 2)), "b": (np.ones(3),)}, {"a": np.full((4, 2), 2.0), "b": (np.full(3, 3.0),)}
    for index, expected in enumerate((full, sliding, full)):
        given = of_layer((False, True, False), index, full, sliding)
        np.testing.assert_array_equal(given["a"], np.broadcast_to(expected["a"], (4, 2)))
        np.testing.assert_array_equal(given["b"][0], expected["b"][0])


def test_a_token_beyond_the_window_matters_to_the_first_layer_alone():
    """Of three layers, whose windows reach two tokens, the first sees the whole text."""
    model = random_tiny(ModernBert, local_attention=5)
    model.config = dataclasses.replace(model.config, layer_types=("sliding_attention", "sliding_attention", KINDS[0]))
    ids, mask, types = random_batch(model.config, n_rows=1)
    changed = ids.copy()
    changed[0, 6] = (ids[0, 6] + 1) % 37
    found, other = (np.asarray(forward(model, tokens, mask, types))[:, 0] for tokens in (ids, changed))
    assert [np.flatnonzero((found[i] != other[i]).any(-1)).tolist() for i in range(3)] == [
        [6],
        [4, 5, 6, 7, 8],
        [2, 3, 4, 5, 6, 7, 8],
    ]
    assert (found[3] != other[3]).any(-1).all()


def test_the_first_layers_norm_is_not_of_a_checkpoint_and_of_no_effect():
    model = random_tiny(ModernBert, norm_bias=True)
    batch = random_batch(model.config)
    names = checkpoint.state_dict(model)
    assert {name for name in names if "attn_norm" in name} == {
        f"layers.{layer}.attn_norm.{part}" for layer in (1, 2) for part in ("weight", "bias")
    }
    expected = forward(model, *batch)
    scale = model.layers.attention_norm.scale
    for layer, same in ((0, True), (1, False)):
        before = jnp.asarray(scale[...])
        scale[...] = before.at[layer].set(5.0)
        assert np.array_equal(forward(model, *batch), expected) == same
        scale[...] = before


def test_a_cut_gives_the_layers_before_the_norm():
    model = random_tiny(ModernBert, n_layers=4)
    batch = random_batch(model.config)
    whole, cut = forward(model, *batch), forward(model.first_layers(3), *batch)
    assert relative_error(cut, whole[:4]) <= 5e-7
    assert relative_error(whole[-1], model.final_norm(whole[-1])) > 1e-3  # not what a norm leaves as it is


# Agreement with PyTorch --------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_equals_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    from transformers import ModernBertConfig as Theirs
    from transformers import ModernBertModel

    rng = np.random.default_rng(seed)
    n_heads = int(rng.integers(1, 6))
    kinds = {"layer_types": [str(kind) for kind in rng.choice(KINDS[:2], 4)], "num_hidden_layers": 4}
    periods = {"global_attn_every_n_layers": int(rng.integers(1, 4)), "num_hidden_layers": int(rng.integers(1, 8))}
    thetas = {"global_rope_theta": float(10 ** rng.uniform(1, 6)), "local_rope_theta": float(10 ** rng.uniform(1, 4))}
    config = Theirs(
        vocab_size=int(rng.integers(20, 60)),
        hidden_size=n_heads * 2 * int(rng.integers(1, 6)),
        num_attention_heads=n_heads,
        intermediate_size=int(rng.integers(1, 50)),
        hidden_activation=str(rng.choice(["gelu", "relu", "gelu_new", "silu"])),
        max_position_embeddings=int(rng.integers(24, 40)),
        norm_eps=float(10 ** rng.uniform(-12, -1)),
        norm_bias=bool(seed % 2),
        attention_bias=bool(seed // 2 % 2),
        mlp_bias=bool(seed // 4 % 2),
        local_attention=int(rng.integers(2, 14)),
        pad_token_id=int(rng.integers(0, 4)),
        **(kinds if seed % 4 == 3 else periods),
        **thetas,
        **({"rope_scaling": dict(SCALED)} if seed % 5 == 4 else {}),
    )
    assert_equals_pytorch(ModernBertModel(config), tmp_path, seed, padding_side=("right", "left")[seed // 3 % 2])


@pytest.mark.reference
def test_a_model_of_the_base_size_equals_pytorch(tmp_path):
    pytest.importorskip("torch")
    from transformers import ModernBertConfig as Theirs
    from transformers import ModernBertModel

    config = Theirs(vocab_size=1000, pad_token_id=0, bos_token_id=1, eos_token_id=2, local_attention=32)
    assert_equals_pytorch(ModernBertModel(config), tmp_path, seed=0, bound=1e-5, n_tokens=64)


@pytest.mark.reference
def test_a_model_with_a_head_and_what_is_written_are_read_on_either_side(tmp_path):
    assert_read_on_either_side(ModernBert, "ModernBertModel", "ModernBertForMaskedLM", "model", tmp_path)
