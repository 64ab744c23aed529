"""Random small decoders of transformers, and what tests ask of the configurations of all of them."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from helpers.encoder_agreement import (
    assert_equals_pytorch,
    forward,
    random_batch,
    relative_error,
)
from jaxred.errors import UserError
from jaxred.models import load_encoder

TRAINED, POSITIONS = 8, 32  # before a scaling stretched the positions, and after
SCALINGS = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")


def random_scaling(rng, kind, head_dim):
    """Rotary settings of a kind; the bases are low, so that every pair turns within a short text."""
    factors = {name: [float(x) for x in rng.uniform(1, 5, head_dim // 2)] for name in ("short_factor", "long_factor")}
    original = {"original_max_position_embeddings": TRAINED}
    stretched = {"factor": float(rng.choice([1.5, 4.0]))}
    settings = {
        "default": {},
        "linear": stretched,
        "dynamic": stretched,
        "llama3": {**stretched, **original, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        "yarn": {
            **stretched,
            **original,
            "beta_fast": 4.0,
            "beta_slow": 0.5,
            **[{}, {"attention_factor": 1.2}, {"mscale": 0.7, "mscale_all_dim": 0.3}, {"truncate": False}][
                rng.integers(4)
            ],
        },
        "longrope": {**original, **factors, **[{}, stretched, {"attention_factor": 1.3}][rng.integers(3)]},
    }
    return {"rope_type": kind, "rope_theta": float(rng.choice([50.0, 1e4])), **settings[kind]}


def random_fields(rng, shares_hidden_size=True, least_hidden_size=1):
    """Settings of a small decoder, without its rotary ones.

    Args:
        rng: the source.
        shares_hidden_size: the hidden size divides into heads, as some models of transformers ask, also where the size
            of a head is given.
        least_hidden_size: a smaller one is made larger.
    """
    n_key_heads = int(rng.integers(1, 4))
    n_heads = n_key_heads * int(rng.integers(1, 4))
    vocab_size = int(rng.integers(20, 60))
    hidden_size = n_heads * int(rng.integers(1, 6)) if shares_hidden_size else int(rng.integers(1, 30))
    return {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size * -(-least_hidden_size // hidden_size),
        "num_hidden_layers": int(rng.integers(1, 5)),
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_key_heads,
        "head_dim": 2 * int(rng.integers(2, 6)),
        "intermediate_size": int(rng.integers(1, 50)),
        "max_position_embeddings": POSITIONS,
        "rms_norm_eps": float(10 ** rng.uniform(-8, -1)),
        "attn_implementation": "eager",
    }


def random_layer_types(rng, n_layers):
    """Kinds of layers, or None for those that follow from other settings."""
    kinds = [str(kind) for kind in rng.choice(["full_attention", "sliding_attention"], n_layers)]
    return kinds if rng.integers(2) else None


def assert_decoder_equals_pytorch(model_class, config, folder, seed):
    """Every layer is PyTorch's, with padding on either side, for texts that are longer and shorter than in training."""
    n_tokens = int(np.random.default_rng(seed).integers(*((2, TRAINED + 1), (TRAINED + 1, 20))[seed // 2 % 2]))
    side = ("right", "left")[seed % 2]
    # PyTorch has one table of longrope for all sentences of a batch, which are here of one length.
    full = "longrope" in json.dumps(config.rope_parameters)
    assert_equals_pytorch(model_class(config), folder, seed, padding_side=side, n_tokens=n_tokens, full=full)
    whole = load_encoder(folder)
    assert_same_as_transformers(type(whole.config), type(config), json.loads((folder / "config.json").read_text()))
    if seed % 4:
        return
    cut = load_encoder(folder, n_layers=config.num_hidden_layers - 1)
    batch = random_batch(whole.config, n_tokens=n_tokens, seed=seed)
    for layer, expected in zip(forward(cut, *batch), forward(whole, *batch)[:-1], strict=True):
        assert relative_error(layer, expected) <= 1e-6


def assert_same_as_transformers(config_type, their_type, raw):
    """A `config.json`, in whichever form, is read as transformers reads it, and written so that both read it again."""
    path = Path("config.json")
    ours = config_type.from_dict(raw, path)

    def read_by_transformers(raw):
        return json.loads(their_type(**copy.deepcopy(raw)).to_json_string(use_diff=False))

    theirs, again = read_by_transformers(raw), read_by_transformers(json.loads(json.dumps(ours.to_dict())))
    assert config_type.from_dict(theirs, path).to_dict() == ours.to_dict()
    assert config_type.from_dict(again, path).to_dict() == ours.to_dict()
    for key in ours.to_dict().keys() - {"architectures", "rope_parameters"}:
        assert again[key] == theirs[key]
    return ours


def assert_refused(config_type, raw, message):
    with pytest.raises(UserError, match=message):
        config_type.from_dict(raw, Path("config.json"))
