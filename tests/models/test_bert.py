import dataclasses
import lzma
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxred.errors import UserError
from jaxred.kernels import pooling
from jaxred.models import checkpoint, load_encoder
from jaxred.models.bert import Bert, BertConfig
from jaxred.tokenization import Tokenizer

forward = jax.jit(Bert.__call__)


def relative_error(found, expected):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


# The configuration -------------------------------------------------------------------------------------------------


def test_absent_keys_have_hugging_face_defaults():
    from transformers import BertConfig as Theirs

    theirs = Theirs()
    ours = BertConfig.from_dict({}, Path("config.json")).to_dict()
    assert {key: getattr(theirs, key) for key in ours if key != "architectures"} | {
        "architectures": ["BertModel"]
    } == ours


def test_config_round_trip(tiny_config):
    odd = dataclasses.replace(tiny_config, hidden_act="relu", layer_norm_eps=1e-5, type_vocab_size=3, pad_token_id=4)
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
def test_every_layer_equals_pytorch(case, tmp_path, random_batch):
    torch = pytest.importorskip("torch")
    from transformers import BertConfig as TheirConfig
    from transformers import BertModel

    shape = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40}
    torch.manual_seed(len(case))
    theirs = BertModel(TheirConfig(**{"vocab_size": 60, "max_position_embeddings": 20, **shape, **CASES[case]})).eval()
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            weight.normal_(1.0 if name.endswith("LayerNorm.weight") else 0.0, 1 / weight.shape[-1] ** 0.5)
    theirs.save_pretrained(tmp_path)

    ours = load_encoder(tmp_path)
    ids, mask, types = random_batch(ours.config, n_rows=5, n_tokens=11, seed=len(case))
    with torch.inference_mode():
        expected = theirs(
            input_ids=torch.tensor(ids).long(),
            attention_mask=torch.tensor(mask).long(),
            token_type_ids=torch.tensor(types).long(),
            output_hidden_states=True,
        ).hidden_states
    hidden_states = forward(ours, ids, mask, types)

    assert hidden_states.shape == (ours.config.n_layers + 1, *ids.shape, ours.config.hidden_size)
    for found, layer in zip(hidden_states, expected, strict=True):
        assert relative_error(found[mask], layer.numpy()[mask]) <= 2e-6


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
    torch = pytest.importorskip("torch")
    from transformers import BertModel

    ours = load_encoder(minilm_folder)
    theirs = BertModel.from_pretrained(minilm_folder, add_pooling_layer=False).eval()
    tokenizer = Tokenizer(minilm_folder, ours.config)
    tokens = tokenizer.encode(sentences, None, max_length=128)
    by_length = np.argsort(tokens.lengths)
    found, expected = [], []
    for rows in np.split(by_length, 2):
        batch = tokenizer.pad(tokens, rows, length=int(tokens.lengths[rows].max()), n_rows=len(rows))
        with torch.inference_mode():
            layers = theirs(
                input_ids=torch.tensor(batch.input_ids).long(),
                attention_mask=torch.tensor(batch.attention_mask).long(),
                output_hidden_states=True,
            ).hidden_states
        expected.append(torch.stack(layers).numpy()[:, batch.attention_mask])
        hidden_states = forward(ours, *batch[:3])
        found.append(np.asarray(hidden_states)[:, batch.attention_mask])
    for layer, rival in zip(np.concatenate(found, 1), np.concatenate(expected, 1), strict=True):
        assert relative_error(layer, rival) <= 1e-5


# What must not change a sentence's vectors -------------------------------------------------------------------------


def assert_same_vectors(model, ids, types):
    """The [CLS] and mean vectors of the sentence alone, among others and in several padded lengths."""
    n_tokens = ids.size

    def vectors(model, ids, mask, types, row):
        hidden_states = model(ids, mask, types)[:, row, :n_tokens]
        return jnp.stack([hidden_states[:, 0], hidden_states.mean(1)], axis=1).reshape(-1, model.config.hidden_size)

    pooled = jax.jit(vectors)
    alone = pooled(model, ids[None], np.ones((1, n_tokens), bool), types[None], 0)
    rng = np.random.default_rng(0)
    for n_rows, row, length in ((1, 0, n_tokens + 1), (4, 3, n_tokens), (7, 2, n_tokens + 5)):
        batch = rng.integers(0, model.config.vocab_size, (n_rows, length)).astype(np.int32)
        batch[row, :n_tokens] = ids
        batch_types = np.zeros_like(batch)
        batch_types[row, :n_tokens] = types
        mask = np.ones(batch.shape, bool)
        mask[row, n_tokens:] = False
        together = pooled(model, batch, mask, batch_types, row)
        for found, expected in zip(together, alone, strict=True):
            assert relative_error(found, expected) <= 1e-6


def test_same_vectors_alone_in_a_batch_and_padded(random_bert, random_batch):
    ids, _, types = random_batch(n_tokens=9)
    assert_same_vectors(random_bert(), ids[0], types[0])


@pytest.mark.minilm
def test_minilm_same_vectors_alone_in_a_batch_and_padded(minilm_folder, sentences):
    model = load_encoder(minilm_folder)
    tokens = Tokenizer(minilm_folder, model.config).encode(sentences[:2], None, max_length=128)
    for ids, types in zip(tokens.ids, tokens.token_type_ids, strict=True):
        assert_same_vectors(model, ids, types)


def test_padding_tokens_do_not_matter_and_empty_rows_are_finite(random_bert, random_batch):
    model = random_bert()
    ids, mask, types = random_batch()
    mask[-1] = False
    hidden_states = np.asarray(forward(model, ids, mask, types))
    others = np.asarray(forward(model, np.where(mask, ids, (ids + 1) % 37), mask, np.where(mask, types, 1 - types)))
    assert np.isfinite(hidden_states).all()
    np.testing.assert_array_equal(hidden_states[:, mask], others[:, mask])
    assert not np.array_equal(hidden_states, others)


def test_real_tokens_and_token_types_matter(random_bert, random_batch):
    model = random_bert()
    ids, mask, types = random_batch()
    hidden_states = np.asarray(forward(model, ids, mask, types))[-1, 0, 0]
    ids_changed, types_changed, mask_changed = ids.copy(), types.copy(), mask.copy()
    ids_changed[0, -1] += -1 if ids[0, -1] else 1
    types_changed[0, -1] = 1 - types[0, -1]
    mask_changed[0, -1] = False
    for batch in ((ids_changed, mask, types), (ids, mask, types_changed), (ids, mask_changed, types)):
        assert relative_error(np.asarray(forward(model, *batch))[-1, 0, 0], hidden_states) > 1e-3


# Fewer layers, less output, another type ---------------------------------------------------------------------------


@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_first_layers(random_bert, random_batch, n_layers):
    model, batch = random_bert(), random_batch()
    cut = model.first_layers(n_layers)
    assert cut.config.n_layers == n_layers
    assert model.config.n_layers == 3
    for found, expected in zip(forward(cut, *batch), forward(model, *batch)[: n_layers + 1], strict=True):
        assert relative_error(found, expected) <= 5e-7  # not bit-equal: XLA unrolls a scan of one layer
    assert sum(leaf.size for leaf in jax.tree.leaves(cut)) == model.n_parameters(n_layers) == cut.n_parameters(n_layers)


def test_number_of_parameters(random_bert):
    embeddings = (37 + 2 + 16 + 2) * 12
    layer = 4 * (12 * 12 + 12) + 2 * (12 + 12) + (12 * 20 + 20) + (20 * 12 + 12)
    assert random_bert().n_parameters(2) == embeddings + 2 * layer


@pytest.mark.parametrize("n_layers", [-1, 4])
def test_layers_that_do_not_exist(random_bert, n_layers):
    with pytest.raises(ValueError, match="between 0 and the model's 3"):
        random_bert().first_layers(n_layers)
    with pytest.raises(ValueError, match="between 0 and the model's 3"):
        random_bert().n_parameters(n_layers)


def test_reduce_is_applied_to_every_layer_inside_the_scan(random_bert, random_batch):
    model, (ids, mask, types) = random_bert(), random_batch()
    positions = jnp.array([0, 1, 0, 2])

    def pooled(hidden):
        return pooling.cls(hidden, positions).astype(jnp.bfloat16)

    rows = jax.jit(lambda *batch: model(*batch, pooled))(ids, mask, types)
    assert rows.dtype == jnp.bfloat16
    np.testing.assert_array_equal(rows, jax.vmap(pooled)(forward(model, ids, mask, types)))
    jaxpr = str(jax.make_jaxpr(lambda *batch: model(*batch, pooled))(ids, mask, types))
    assert "f32[4,9,12]" in jaxpr  # one layer's tokens
    assert "f32[3,4,9,12]" not in jaxpr  # never every layer's


def test_every_product_is_true_float32(random_bert, random_batch):
    jaxpr = str(jax.make_jaxpr(random_bert().__call__)(*random_batch()))
    assert jaxpr.count("dot_general[") == jaxpr.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == 8


def test_bfloat16_multiplies_in_bfloat16_and_keeps_the_rest_in_float32(tmp_path, random_bert, random_batch):
    checkpoint.save(random_bert(), tmp_path)
    batch = random_batch()
    rounded = load_encoder(tmp_path, compute_dtype="bfloat16")
    with jax.numpy_dtype_promotion("strict"):
        exact, found = forward(random_bert(), *batch), forward(rounded, *batch)
    assert rounded.layers.query.kernel.dtype == jnp.bfloat16
    assert rounded.layers.output_norm.scale.dtype == rounded.embeddings.word.embedding.dtype == jnp.float32
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found[0], exact[0])
    for layer in range(1, 4):
        assert 1e-4 < relative_error(found[layer][batch[1]], exact[layer][batch[1]]) < 2e-2

    jaxpr = str(jax.make_jaxpr(rounded.__call__)(*batch))
    assert jaxpr.count("dot_general[") == 8
    for function in ("exp", "erf", "rsqrt"):
        lines = [line for line in jaxpr.splitlines() if f"= {function} " in line]
        assert lines
        assert all("f32" in line for line in lines)


def test_a_batch_longer_than_the_positions_is_refused(random_bert, random_batch):
    with pytest.raises(UserError, match=r"17 tokens a row does not fit the model's 16 positions: lower .*max_length"):
        forward(random_bert(), *random_batch(n_tokens=17))


# As a piece of JAX -------------------------------------------------------------------------------------------------


def test_layers_are_stacked_and_drawn_apart(tiny_config):
    layers = Bert(tiny_config, rngs=nnx.Rngs(0)).layers
    assert {leaf.shape[0] for leaf in jax.tree.leaves(layers)} == {3}
    assert not np.allclose(layers.query.kernel[0], layers.query.kernel[1])


def test_split_merge_jit_and_strict_promotion(random_bert, random_batch):
    model, batch = random_bert(), random_batch()
    graphdef, state = nnx.split(model)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        found = jax.jit(lambda state, *batch: nnx.merge(graphdef, state)(*batch))(state, *batch)
    np.testing.assert_allclose(found, forward(model, *batch), rtol=1e-5, atol=1e-6)


def test_tree_mode(tmp_path, random_bert, random_batch):
    checkpoint.save(random_bert(), tmp_path / "model")
    batch = random_batch()
    np.savez(tmp_path / "batch.npz", *batch)
    script = """
import sys, jax, numpy as np
from pathlib import Path
from flax import nnx
from jaxred.models import load_encoder
from jaxred.models.bert import Bert
folder = Path(sys.argv[1])
model = load_encoder(folder / "model", n_layers=2)
batch = np.load(folder / "batch.npz")
graphdef, state = nnx.split(model)
hidden_states = jax.jit(lambda state, *batch: nnx.merge(graphdef, state)(*batch))(state, *batch.values())
np.save(folder / "found.npy", hidden_states)
assert Bert(model.config, rngs=nnx.Rngs(0)).n_parameters(2) == model.n_parameters(2)
"""
    environment = {**os.environ, "NNX_GRAPH_MODE": "false", "NNX_GRAPH_UPDATES": "false"}
    subprocess.run([sys.executable, "-c", script, tmp_path], env=environment, check=True)
    np.testing.assert_allclose(
        np.load(tmp_path / "found.npy"), forward(random_bert(), *batch)[:3], rtol=1e-5, atol=1e-6
    )
