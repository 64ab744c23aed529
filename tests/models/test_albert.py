from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.encoder_agreement import (
    assert_equals_pytorch,
    assert_head_is_left_out,
    assert_hugging_face_defaults,
    random_tiny,
)

from jaxred.errors import UserError
from jaxred.models.albert import Albert, AlbertConfig


def test_absent_keys_have_hugging_face_defaults():
    from transformers import AlbertConfig as Theirs

    assert_hugging_face_defaults(AlbertConfig, Theirs())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"inner_group_num": 2}, "inner_group_num=2 is not supported: jaxred runs ALBERT with inner_group_num=1 only"),
        (
            {"num_hidden_groups": 13},
            "num_hidden_groups=13 is not possible: it must be at most the number of layers, 12",
        ),
    ],
)
def test_settings_that_cannot_be_run_are_named(setting, message):
    with pytest.raises(UserError, match=message):
        AlbertConfig.from_dict(setting, Path("config.json"))


def test_layers_of_a_group_have_one_layers_weights():
    model = random_tiny(Albert, n_layers=5, n_groups=2)
    assert [model.stored_layer(i) for i in range(5)] == [0, 0, 0, 1, 1]
    assert {leaf.shape[0] for leaf in jax.tree.leaves(model.layers)} == {2}
    sizes = [model.n_parameters(k) for k in range(6)]
    assert sizes[1] == sizes[2] == sizes[3] < sizes[4] == sizes[5]
    assert [model.first_layers(4).stored_layer(i) for i in range(4)] == [0, 0, 0, 1]


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_equals_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    import transformers

    rng = np.random.default_rng(seed)
    n_heads, n_layers = int(rng.integers(1, 6)), int(rng.integers(1, 6))
    hidden_size = n_heads * int(rng.integers(1, 9))
    config = transformers.AlbertConfig(
        vocab_size=int(rng.integers(20, 60)),
        hidden_size=hidden_size,
        embedding_size=hidden_size if seed % 4 == 0 else int(rng.integers(2, 30)),
        num_hidden_layers=n_layers,
        num_hidden_groups=int(rng.integers(1, n_layers + 1)) if seed % 3 == 0 else 1,
        num_attention_heads=n_heads,
        intermediate_size=int(rng.integers(1, 50)),
        hidden_act=str(rng.choice(["gelu", "relu", "gelu_new", "silu"])),
        max_position_embeddings=int(rng.integers(20, 40)),
        type_vocab_size=int(rng.integers(1, 4)),
        layer_norm_eps=float(10 ** rng.uniform(-12, -1)),
    )
    assert_equals_pytorch(transformers.AlbertModel(config), tmp_path, seed, padding_side=("right", "left")[seed % 2])


@pytest.mark.reference
@pytest.mark.parametrize(
    "kind", ["ForPreTraining", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"]
)
def test_heads_are_left_out(kind, tmp_path):
    assert_head_is_left_out("Albert", kind, tmp_path)
