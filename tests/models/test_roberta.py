from pathlib import Path

import numpy as np
import pytest
from helpers.encoder_agreement import assert_equals_pytorch, assert_hugging_face_defaults

from jaxred.errors import UserError
from jaxred.models.roberta import CamembertConfig, RobertaConfig, XLMRobertaConfig

KINDS = {"Roberta": RobertaConfig, "XLMRoberta": XLMRobertaConfig, "Camembert": CamembertConfig}


@pytest.mark.parametrize("kind", KINDS)
def test_absent_keys_have_hugging_face_defaults(kind):
    import transformers

    assert_hugging_face_defaults(KINDS[kind], getattr(transformers, f"{kind}Config")())


def test_positions_up_to_that_of_padding_are_not_for_tokens():
    assert RobertaConfig(max_position_embeddings=514).usable_length == 512
    with pytest.raises(UserError, match="is_decoder=True is not supported: jaxred runs RoBERTa with is_decoder=False"):
        RobertaConfig.from_dict({"is_decoder": True}, Path("config.json"))


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_equals_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    import transformers

    rng = np.random.default_rng(seed)
    kind, n_heads = list(KINDS)[seed % 3], int(rng.integers(1, 6))
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=int(rng.integers(20, 60)),
        hidden_size=n_heads * int(rng.integers(1, 9)),
        num_hidden_layers=int(rng.integers(1, 5)),
        num_attention_heads=n_heads,
        intermediate_size=int(rng.integers(1, 50)),
        hidden_act=str(rng.choice(["gelu", "relu", "gelu_new", "silu"])),
        max_position_embeddings=int(rng.integers(24, 40)),
        type_vocab_size=int(rng.integers(1, 3)),
        layer_norm_eps=float(10 ** rng.uniform(-12, -1)),
        pad_token_id=int(rng.integers(0, 4)),
    )
    model = getattr(transformers, f"{kind}Model")(config, add_pooling_layer=bool(seed % 2))
    assert_equals_pytorch(model, tmp_path, seed, padding_side=("right", "left")[seed // 3 % 2])
