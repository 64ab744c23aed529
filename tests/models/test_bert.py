import lzma
from importlib.resources import files
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.encoder_agreement import (
    assert_equals_pytorch,
    assert_hugging_face_defaults,
    assert_layers_agree,
    assert_same_vectors,
    pytorch_hidden_states,
    random_batch,
    randomise,
)

from jaxred.activations.encode import encode_fn
from jaxred.errors import UserError
from jaxred.models import load_encoder
from jaxred.models.bert import Bert, BertConfig
from jaxred.models.tokenization import PaddedBatch, Tokenizer

forward = jax.jit(Bert.__call__)


# The configuration -------------------------------------------------------------------------------------------------


def test_absent_keys_have_hugging_face_defaults():
    from transformers import BertConfig as Theirs

    assert_hugging_face_defaults(BertConfig, Theirs())


def test_config_round_trip():
    odd = BertConfig(37, 12, n_heads=2, hidden_act="relu", layer_norm_eps=1e-5, type_vocab_size=3, pad_token_id=4)
    assert BertConfig.from_dict(odd.to_dict(), Path("config.json")) == odd
    assert BertConfig.from_dict({**odd.to_dict(), "pad_token_id": None}, Path("config.json")).pad_token_id == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key' is not supported"),
        ({"is_decoder": True}, "is_decoder=True is not supported"),
        ({"add_cross_attention": True}, "add_cross_attention=True is not supported"),
        ({"hidden_act": "gelu_novel"}, "hidden_act='gelu_novel' is not possible: it must be one of .*gelu, gelu_10"),
        ({"hidden_size": 100, "num_attention_heads": 12}, "hidden_size=100 does not divide into num_atten"),
        ({"num_hidden_layers": -1}, "num_hidden_layers=-1 is not possible: it must be a whole number of at least 0"),
        ({"hidden_size": 0}, "hidden_size=0 is not possible: it must be a whole number of at least 1"),
        ({"type_vocab_size": 0}, "type_vocab_size=0 is not possible: it must be a whole number of at least 1"),
        ({"vocab_size": "30522"}, "vocab_size='30522' is not possible"),
        ({"intermediate_size": True}, "intermediate_size=True is not possible"),
        ({"hidden_size": 768.0}, "hidden_size=768.0 is not possible"),
        ({"layer_norm_eps": 0}, "layer_norm_eps=0 is not possible: it must be a number above 0"),
        ({"layer_norm_eps": None}, "layer_norm_eps=None is not possible"),
        ({"pad_token_id": -1}, "pad_token_id=-1 is not possible: it must be a whole number of at least 0"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_run_are_named(setting, message):
    with pytest.raises(UserError, match=rf"^some/config\.json: {message}"):
        BertConfig.from_dict(setting, Path("some/config.json"))


# Agreement with PyTorch --------------------------------------------------------------------------------------------

CASES = {
    "base": {},
    "one_layer_one_head": {"num_hidden_layers": 1, "num_attention_heads": 1},
    "odd_sizes": {"hidden_size": 21, "num_attention_heads": 3, "intermediate_size": 17, "vocab_size": 41},
    "head_of_one": {"hidden_size": 6, "num_attention_heads": 6},
    "deep": {"num_hidden_layers": 7},
    "wide": {"hidden_size": 96, "num_attention_heads": 8, "intermediate_size": 200},
    "relu_eps": {"hidden_act": "relu", "layer_norm_eps": 1e-5},
    "large_eps": {"layer_norm_eps": 0.1},
    "gelu_new": {"hidden_act": "gelu_new"},
    "silu": {"hidden_act": "silu", "type_vocab_size": 4},
    "tanh": {"hidden_act": "tanh", "type_vocab_size": 1},
    "mish_pad_5": {"hidden_act": "mish", "pad_token_id": 5},
    "all_positions": {"max_position_embeddings": 11, "quick": "", "hidden_act": "quick_gelu"},
}


@pytest.mark.reference
@pytest.mark.parametrize("case", CASES)
def test_every_layer_equals_pytorch(case, tmp_path):
    pytest.importorskip("torch")
    from transformers import BertConfig as TheirConfig
    from transformers import BertModel

    shape = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40}
    settings = {"vocab_size": 60, "max_position_embeddings": 20, **shape, **CASES[case]}
    seed = list(CASES).index(case)
    theirs = randomise(BertModel(TheirConfig(**settings)), seed)
    theirs.save_pretrained(tmp_path)
    ours = load_encoder(tmp_path)
    batch = random_batch(ours.config, n_rows=5, n_tokens=11, seed=seed)
    assert_layers_agree(forward(ours, *batch), pytorch_hidden_states(theirs, batch), batch[1], 2e-6)


@pytest.fixture(scope="module")
def sentences():
    path = files("jaxred") / "data" / "movie_reviews.tsv.xz"
    if not path.is_file():
        pytest.skip("the built-in corpus is not there")
    lines = lzma.decompress(path.read_bytes()).decode().splitlines()[1:]
    return [line.split("\t")[2] for line in lines[:: len(lines) // 200][:200]]


@pytest.mark.minilm
@pytest.mark.reference
def test_minilm_equals_pytorch_on_real_sentences(minilm_folder, sentences):
    pytest.importorskip("torch")
    from transformers import BertModel

    ours = load_encoder(minilm_folder)
    theirs = BertModel.from_pretrained(minilm_folder, add_pooling_layer=False).eval()
    tokenizer = Tokenizer(minilm_folder, ours.config)
    tokens = tokenizer.encode(sentences, None, max_length=128)
    found, expected = [], []
    for rows in np.split(np.argsort(tokens.lengths), 2):
        batch = tokenizer.pad(tokens, rows, length=int(tokens.lengths[rows].max()), n_rows=len(rows))
        expected.append(pytorch_hidden_states(theirs, batch)[:, batch.attention_mask])
        found.append(np.asarray(forward(ours, *batch[:3]))[:, batch.attention_mask])
    assert_layers_agree(np.concatenate(found, 1), np.concatenate(expected, 1), slice(None), 1e-5)


@pytest.mark.minilm
def test_minilm_same_vectors_alone_in_a_batch_and_padded(minilm_folder, sentences):
    model = load_encoder(minilm_folder)
    tokens = Tokenizer(minilm_folder, model.config).encode(sentences[:2], None, max_length=128)
    for ids, types in zip(tokens.ids, tokens.token_type_ids, strict=True):
        assert_same_vectors(model, ids, types, ((1, 0, ids.size + 1), (4, 3, ids.size), (7, 2, ids.size + 5)))


def test_minilm_embeds_its_first_token_the_same_in_every_bucket(minilm_folder):
    """Or its neurons would not be constant, and clustering would join them."""
    encode = encode_fn(load_encoder(minilm_folder, 1), "cls", "float32")
    found = []
    for length in (8, 16, 24, 40, 64):
        n_rows = 2048 // length
        ids = np.random.default_rng(length).integers(1000, 20000, (n_rows, length)).astype(np.int32)
        ids[:, 0] = 101
        rest = np.ones((n_rows, length), bool), np.zeros((n_rows, length), np.int32), np.zeros(n_rows, np.int32)
        found.append(np.asarray(encode(PaddedBatch(ids, *rest)))[:, 0])
    assert len(np.unique(np.concatenate(found), axis=0)) == 1


def test_number_of_parameters(random_bert):
    embeddings = (37 + 2 + 16 + 2) * 12
    layer = 4 * (12 * 12 + 12) + 2 * (12 + 12) + (12 * 20 + 20) + (20 * 12 + 12)
    assert random_bert().n_parameters(2) == embeddings + 2 * layer


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_random_configurations_equal_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    import transformers

    rng = np.random.default_rng(seed)
    n_heads = int(rng.integers(1, 6))
    config = transformers.BertConfig(
        vocab_size=int(rng.integers(20, 60)),
        hidden_size=n_heads * int(rng.integers(1, 9)),
        num_hidden_layers=int(rng.integers(1, 5)),
        num_attention_heads=n_heads,
        intermediate_size=int(rng.integers(1, 50)),
        hidden_act=str(rng.choice(["gelu", "relu", "gelu_new", "silu"])),
        max_position_embeddings=int(rng.integers(20, 40)),
        type_vocab_size=int(rng.integers(1, 4)),
    )
    assert_equals_pytorch(transformers.BertModel(config), tmp_path, seed, padding_side=("right", "left")[seed % 2])
