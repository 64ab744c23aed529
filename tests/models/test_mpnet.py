from pathlib import Path

import numpy as np
import pytest
from helpers.encoder_agreement import (
    assert_equals_pytorch,
    assert_hugging_face_defaults,
    assert_layers_agree,
    forward,
    pytorch_hidden_states,
)

from jaxred.data.conllu import read_conllu
from jaxred.errors import UserError
from jaxred.models import load_encoder, pretrained
from jaxred.models.mpnet import MPNetConfig, buckets_of_distances
from jaxred.models.tokenization import Tokenizer


def test_absent_keys_have_hugging_face_defaults():
    from transformers import MPNetConfig as Theirs

    assert_hugging_face_defaults(MPNetConfig, Theirs())


def test_settings_that_cannot_be_run_are_named():
    with pytest.raises(UserError, match="relative_attention_num_buckets=16 is not supported"):
        MPNetConfig.from_dict({"relative_attention_num_buckets": 16}, Path("config.json"))
    assert MPNetConfig(max_position_embeddings=514).usable_length == 512


def test_buckets_hold_a_distance_each_and_then_more():
    buckets = dict(zip(range(-299, 300), buckets_of_distances(300).tolist(), strict=True))
    assert [buckets[-distance] for distance in (0, 1, 7, 8, 11, 12, 64, 127, 128, 299)] == [
        0, 1, 7, 8, 8, 9, 14, 15, 15, 15,
    ]  # fmt: skip
    assert all(buckets[distance] == buckets[-distance] + 16 for distance in range(1, 300))


@pytest.mark.reference
def test_buckets_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    theirs = MPNetEncoder.relative_position_bucket(torch.arange(-511, 512), num_buckets=32)
    np.testing.assert_array_equal(buckets_of_distances(512), theirs)


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_every_layer_equals_pytorch(seed, tmp_path):
    pytest.importorskip("torch")
    import transformers

    rng = np.random.default_rng(seed)
    n_heads, n_tokens = int(rng.integers(1, 6)), int(rng.choice([2, 5, 16, 33, 200]))
    config = transformers.MPNetConfig(
        vocab_size=int(rng.integers(20, 60)),
        hidden_size=n_heads * int(rng.integers(1, 9)),
        num_hidden_layers=int(rng.integers(1, 5)),
        num_attention_heads=n_heads,
        intermediate_size=int(rng.integers(1, 50)),
        hidden_act=str(rng.choice(["gelu", "relu", "gelu_new", "silu"])),
        max_position_embeddings=n_tokens + 2 + int(rng.integers(0, 3)),
        layer_norm_eps=float(10 ** rng.uniform(-12, -1)),
    )
    model = transformers.MPNetModel(config, add_pooling_layer=bool(seed % 2))
    assert_equals_pytorch(model, tmp_path, seed, padding_side=("right", "left")[seed % 2], n_tokens=n_tokens)


@pytest.fixture(scope="module")
def mpnet_folder():
    try:
        return pretrained.resolve("all-mpnet-base-v2")
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.mpnet
@pytest.mark.shared
@pytest.mark.reference
@pytest.mark.parametrize("text", ["500 sentences of SST-2", "200 pairs of MRPC", "words of 200 sentences of EWT"])
def test_the_real_model_equals_pytorch(text, mpnet_folder, glue_dev, labelling_data):
    pytest.importorskip("torch")
    from transformers import MPNetModel

    ours = load_encoder(mpnet_folder)
    tokenizer = Tokenizer(mpnet_folder, ours.config)
    if "words" in text:
        sentences = read_conllu(labelling_data["ud_pos"] / "en_ewt-ud-dev.conllu", "upos")[:200]
        tokens = tokenizer.encode_words([sentence.words for sentence in sentences], 128).tokens
    else:
        examples = glue_dev["mrpc"][:200] if "pairs" in text else glue_dev["sst2"][:500]
        pairs = [example.pair for example in examples] if "pairs" in text else None
        tokens = tokenizer.encode([example.text for example in examples], pairs, 128)
    theirs = MPNetModel.from_pretrained(mpnet_folder, add_pooling_layer=False).eval()
    for rows in np.array_split(np.argsort(tokens.lengths), 8):
        batch = tokenizer.pad(tokens, rows, int(tokens.lengths[rows].max()), len(rows))
        expected = pytorch_hidden_states(theirs, batch, token_types=False)
        assert_layers_agree(np.asarray(forward(ours, *batch[:3])), expected, batch.attention_mask, 1e-5)
