import numpy as np
import pytest
from helpers.encoder_agreement import assert_equals_pytorch, assert_head_is_left_out, assert_hugging_face_defaults

from jaxred.models.electra import ElectraConfig


def test_absent_keys_have_hugging_face_defaults():
    from transformers import ElectraConfig as Theirs

    assert_hugging_face_defaults(ElectraConfig, Theirs())


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_equals_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    import transformers

    rng = np.random.default_rng(seed)
    n_heads = int(rng.integers(1, 6))
    hidden_size = n_heads * int(rng.integers(1, 9))
    config = transformers.ElectraConfig(
        vocab_size=int(rng.integers(20, 60)),
        hidden_size=hidden_size,
        embedding_size=hidden_size if seed % 4 == 0 else int(rng.integers(2, 30)),
        num_hidden_layers=int(rng.integers(1, 5)),
        num_attention_heads=n_heads,
        intermediate_size=int(rng.integers(1, 50)),
        hidden_act=str(rng.choice(["gelu", "relu", "gelu_new", "silu"])),
        max_position_embeddings=int(rng.integers(20, 40)),
        type_vocab_size=int(rng.integers(1, 4)),
        layer_norm_eps=float(10 ** rng.uniform(-12, -1)),
    )
    assert_equals_pytorch(transformers.ElectraModel(config), tmp_path, seed, padding_side=("right", "left")[seed % 2])


@pytest.mark.reference
@pytest.mark.parametrize(
    "kind", ["ForPreTraining", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"]
)
def test_heads_are_left_out(kind, tmp_path):
    assert_head_is_left_out("Electra", kind, tmp_path)
