from pathlib import Path

import jax
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
from safetensors.numpy import load_file, save_file

from jaxred.errors import UserError
from jaxred.models import checkpoint, load_encoder
from jaxred.models.gpt2 import GPT2, GPT2Config

forward = jax.jit(GPT2.__call__)


def read(raw):
    return GPT2Config.from_dict(raw, Path("config.json"))


# The configuration -------------------------------------------------------------------------------------------------


def test_absent_keys_have_hugging_face_defaults():
    from transformers import GPT2Config as Theirs

    assert_hugging_face_defaults(GPT2Config, Theirs())


@pytest.mark.parametrize(
    ("raw", "inner"),
    [
        ({"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 7, "activation_function": "relu"}, 96),
        ({"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "max_position_embeddings": 7}, 96),
        ({"n_embd": 24, "n_inner": None, "layer_norm_epsilon": 1e-3}, 96),
        ({"n_embd": 24, "n_inner": 5, "scale_attn_weights": False, "reorder_and_upcast_attn": True}, 5),
    ],
)
def test_hugging_face_reads_the_same(raw, inner):
    """Of a file as it was, and of that which is written."""
    from transformers import GPT2Config as Theirs

    config = read(raw)
    written = config.to_dict()
    assert config.intermediate_size == inner
    assert read(written) == config
    for theirs in (Theirs(**raw), Theirs(**written)):
        shape = (theirs.n_embd, theirs.n_layer, theirs.n_head, theirs.n_positions)
        assert shape == (config.hidden_size, config.n_layers, config.n_heads, config.max_position_embeddings)
        assert theirs.n_inner in ((None, inner) if inner == 96 else (inner,))
        assert (theirs.activation_function, theirs.layer_norm_epsilon) == (config.hidden_act, config.layer_norm_eps)
        assert theirs.scale_attn_weights == config.scale_attn_weights


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"add_cross_attention": True}, "add_cross_attention=True is not supported: jaxred runs GPT-2 with"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True is not supported"),
        ({"n_inner": 0}, "n_inner=0 is not possible: it must be a whole number of at least 1"),
        ({"n_embd": None}, "n_embd=None is not possible"),
        ({"n_embd": 16, "n_head": 3}, "n_embd=16 does not divide into n_head=3"),
        ({"scale_attn_weights": None}, "scale_attn_weights=None is not possible: it must be true or false"),
        ({"activation_function": "gelu2"}, "activation_function='gelu2' is not possible"),
    ],
)
def test_settings_that_cannot_be_run_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        read(settings)


# The layers --------------------------------------------------------------------------------------------------------


def test_tokens_do_not_see_those_after_them():
    model = random_tiny(GPT2)
    ids, mask, types = random_batch(model.config, n_rows=1)
    changed = ids.copy()
    changed[0, 5] = (ids[0, 5] + 1) % 37
    found, other = (np.asarray(forward(model, tokens, mask, types))[-1, 0] for tokens in (ids, changed))
    np.testing.assert_array_equal((found != other).any(-1), np.arange(9) >= 5)


def test_padding_on_the_left_gives_the_same_hidden_states():
    model = random_tiny(GPT2)
    ids, mask, types = random_batch(model.config, n_rows=1, n_tokens=9)
    padded = [np.concatenate([np.zeros_like(array[:, :4]), array], axis=1) for array in (ids, mask, types)]
    assert relative_error(forward(model, *padded)[:, :, 4:], forward(model, ids, mask, types)) <= 1e-6


def test_a_cut_gives_the_layers_before_the_norm():
    model = random_tiny(GPT2, n_layers=4)
    batch = random_batch(model.config)
    whole, cut = forward(model, *batch), forward(model.first_layers(3), *batch)
    assert relative_error(cut, whole[:4]) <= 5e-7
    assert model.first_layers(3).final_norm is None


def test_scores_are_left_as_they_are_where_the_file_says_so():
    model, unscaled = random_tiny(GPT2), random_tiny(GPT2, scale_attn_weights=False)
    batch = random_batch(model.config)
    assert relative_error(forward(unscaled, *batch)[1], forward(model, *batch)[1]) > 1e-3


def test_prefix_heads_and_buffers_are_accepted(tmp_path):
    """Older checkpoints hold each layer's mask as a tensor."""
    model = random_tiny(GPT2)
    checkpoint.save(model, tmp_path)
    tensors = {f"transformer.{name}": tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    for layer in range(3):
        tensors[f"transformer.h.{layer}.attn.bias"] = np.tril(np.ones((1, 1, 16, 16), np.float32))
        tensors[f"transformer.h.{layer}.attn.masked_bias"] = np.float32([-1e4])
    for name in ("lm_head.weight", "score.weight", "multiple_choice_head.summary.weight", "qa_outputs.bias"):
        tensors[name] = np.ones((2, 12), np.float32)
    save_file(tensors, tmp_path / "model.safetensors")
    batch = random_batch(model.config)
    np.testing.assert_array_equal(forward(load_encoder(tmp_path), *batch), forward(model, *batch))


# Agreement with PyTorch --------------------------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_equals_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    from transformers import GPT2Config as Theirs
    from transformers import GPT2Model

    rng = np.random.default_rng(seed)
    n_heads = int(rng.integers(1, 6))
    config = Theirs(
        vocab_size=int(rng.integers(20, 60)),
        n_embd=n_heads * int(rng.integers(1, 9)),
        n_layer=int(rng.integers(1, 6)),
        n_head=n_heads,
        n_inner=int(rng.integers(1, 50)) if seed % 2 else None,
        activation_function=str(rng.choice(["gelu", "relu", "gelu_new", "silu"])),
        n_positions=int(rng.integers(24, 40)),
        layer_norm_epsilon=float(10 ** rng.uniform(-12, -1)),
        scale_attn_weights=bool(seed % 5),
        reorder_and_upcast_attn=bool(seed % 4 == 3),
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2Model(config)
    if seed % 4 == 3:
        model.set_attn_implementation("eager")  # the only one that looks at the setting
    assert_equals_pytorch(model, tmp_path, seed, padding_side=("right", "left")[seed // 3 % 2])


@pytest.mark.reference
def test_a_model_of_the_base_size_equals_pytorch(tmp_path):
    pytest.importorskip("torch")
    from transformers import GPT2Config as Theirs
    from transformers import GPT2Model

    config = Theirs(vocab_size=1000, bos_token_id=0, eos_token_id=0)
    assert_equals_pytorch(GPT2Model(config), tmp_path, seed=0, bound=1e-5, n_tokens=64)


@pytest.mark.reference
def test_a_model_with_a_head_and_what_is_written_are_read_on_either_side(tmp_path):
    assert_read_on_either_side(GPT2, "GPT2Model", "GPT2LMHeadModel", "transformer", tmp_path)
