"""Configurations as `config.json` has them: what people's folders hold, and anything else."""

import json
from pathlib import Path

import pytest
from helpers.encoder_agreement import tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.errors import UserError
from jaxred.models.loading import ARCHITECTURES, architecture

PATH = Path("config.json")

# Settings that folders in use have, beside sizes: of older and newer versions of transformers.
IN_USE = {
    "albert": {
        "inner_group_num": 1,
        "num_hidden_groups": 1,
        "down_scale_factor": 1,
        "gap_size": 0,
        "net_structure_type": 0,
    },
    "bert": {"gradient_checkpointing": False, "position_embedding_type": "absolute", "use_cache": True},
    "camembert": {"bos_token_id": 5, "eos_token_id": 6, "max_position_embeddings": 514, "pad_token_id": 1},
    "deberta-v2": {
        "relative_attention": True,
        "max_relative_positions": -1,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
        "type_vocab_size": 0,
        "pooler_hidden_act": "gelu",
        "pooler_dropout": 0,
        "layer_norm_eps": 1e-7,
    },
    "distilbert": {"sinusoidal_pos_embds": False, "tie_weights_": True, "seq_classif_dropout": 0.2, "qa_dropout": 0.1},
    "electra": {"summary_type": "first", "summary_use_proj": True, "position_embedding_type": "absolute"},
    "gemma2": {
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "cache_implementation": "hybrid",
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "query_pre_attn_scalar": 256,
        "rope_theta": 10000.0,
    },
    "gemma3_text": {
        "rope_local_base_freq": 10000,
        "rope_theta": 1000000,
        "rope_scaling": None,
        "sliding_window": 512,
        "sliding_window_pattern": 6,
        "attn_logit_softcapping": None,
        "use_bidirectional_attention": False,
    },
    "gpt2": {
        "n_ctx": 1024,
        "n_positions": 1024,
        "n_inner": None,
        "summary_type": "cls_index",
        "task_specific_params": {},
    },
    "llama": {
        "rope_theta": 500000.0,
        "pretraining_tp": 1,
        "mlp_bias": False,
        "attention_bias": False,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "max_position_embeddings": 131072,
    },
    "mistral": {"sliding_window": None, "rope_theta": 1000000.0, "head_dim": None},
    "modernbert": {
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        "local_attention": 128,
        "norm_bias": False,
        "attention_bias": False,
        "position_embedding_type": "absolute",
        "repad_logits_with_grad": False,
    },
    "mpnet": {
        "relative_attention_num_buckets": 32,
        "max_position_embeddings": 514,
        "bos_token_id": 0,
        "pad_token_id": 1,
    },
    "qwen2": {"rope_theta": 1000000.0, "use_sliding_window": False, "sliding_window": 32768, "max_window_layers": 21},
    "qwen3": {"rope_theta": 1000000, "rope_scaling": None, "use_sliding_window": False, "sliding_window": None},
    "roberta": {
        "pad_token_id": 1,
        "position_embedding_type": "absolute",
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
    },
    "xlm-roberta": {
        "pad_token_id": 1,
        "output_past": True,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    },
    "xlnet": {
        "mem_len": None,
        "reuse_len": None,
        "untie_r": True,
        "bi_data": False,
        "attn_type": "bi",
        "same_length": False,
    },
}
WITHOUT_EFFECT = {
    "attn_implementation": "sdpa",
    "_attn_implementation_autoset": True,
    "torch_dtype": "bfloat16",
    "dtype": "float16",
    "transformers_version": "4.48.0",
    "use_cache": False,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
    "id2label": {"0": "no", "1": "yes"},
    "label2id": {"no": 0, "yes": 1},
    "problem_type": None,
    "_name_or_path": "somewhere",
    "attention_dropout": 0.1,
    "classifier_dropout": None,
    "output_hidden_states": True,
    "architectures": ["AnyModel"],
}


def read(model_type, raw):
    return architecture(model_type).config_type.from_dict(json.loads(json.dumps(raw)), PATH)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_settings_in_use_are_read_and_those_without_effect_change_nothing(model_type):
    shape = tiny_config(model_type).to_dict()
    shape.pop("layer_types", None), shape.pop("rope_parameters", None)
    config = read(model_type, {**shape, **IN_USE.get(model_type, {})})
    assert read(model_type, {**shape, **WITHOUT_EFFECT, **IN_USE.get(model_type, {})}) == config
    positions = {"roberta", "xlm-roberta", "camembert", "mpnet"}
    assert config.usable_length == (512 if model_type in positions else config.usable_length)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_configuration_is_read_back(model_type):
    config = read(model_type, tiny_config(model_type).to_dict())
    assert read(model_type, config.to_dict()) == config


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["gelu", "sliding_attention", "full_attention", "default", "yarn", "c2p"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["factor", "rope_type", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_anything_else_is_read_back_or_named(data):
    model_type = data.draw(st.sampled_from(sorted(ARCHITECTURES)))
    raw = {**tiny_config(model_type).to_dict(), **IN_USE.get(model_type, {})}
    for key in data.draw(st.lists(st.sampled_from(sorted(raw)), min_size=1, max_size=3)):
        raw[key] = data.draw(VALUES)
    message = ""
    try:
        config = architecture(model_type).config_type.from_dict(raw, PATH)
    except UserError as error:
        message = str(error)
    if message:
        assert message.startswith("config.json: ")
        assert len(message) < 600
    else:
        again = read(model_type, config.to_dict())
        assert again.to_dict() == config.to_dict()
        assert again.usable_length == config.usable_length
