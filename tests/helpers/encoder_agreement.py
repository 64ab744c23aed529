"""Tiny encoders and batches for them, and what tests of every encoder ask: agreement with PyTorch, and vectors that do
not depend on a sentence's company."""

import dataclasses
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from helpers import tiny_encoder
from jaxred.models import checkpoint, load_encoder
from jaxred.models.albert import Albert, AlbertConfig
from jaxred.models.bert import Bert, BertConfig
from jaxred.models.deberta import DebertaV2, DebertaV2Config
from jaxred.models.distilbert import DistilBert, DistilBertConfig
from jaxred.models.encoder import Encoder
from jaxred.models.gemma2 import Gemma2, Gemma2Config
from jaxred.models.gemma3 import Gemma3, Gemma3Config
from jaxred.models.gpt2 import GPT2, GPT2Config
from jaxred.models.llama import Llama, LlamaConfig
from jaxred.models.loading import architecture
from jaxred.models.modernbert import ModernBert, ModernBertConfig
from jaxred.models.mpnet import MPNet, MPNetConfig
from jaxred.models.xlnet import XLNet, XLNetConfig

forward = jax.jit(Encoder.__call__)

_SHAPE = {"vocab_size": 37, "hidden_size": 12, "n_layers": 3, "n_heads": 2, "intermediate_size": 20}
_GEMMA = {
    "max_position_embeddings": 16,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "query_pre_attn_scalar": 16,
    "sliding_window": 3,
    "layer_types": ("sliding_attention", "full_attention", "sliding_attention"),
}
TINY = {
    Albert: AlbertConfig(**_SHAPE, max_position_embeddings=16, embedding_size=8),
    Bert: BertConfig(**_SHAPE, max_position_embeddings=16),
    DebertaV2: DebertaV2Config(
        **_SHAPE,
        max_position_embeddings=16,
        type_vocab_size=2,
        relative_attention=True,
        position_buckets=6,
        pos_att_type=("c2p", "p2c"),
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        embedding_size=10,
    ),
    DistilBert: DistilBertConfig(**_SHAPE, max_position_embeddings=16),
    GPT2: GPT2Config(**_SHAPE, hidden_act="gelu", max_position_embeddings=16),
    MPNet: MPNetConfig(**_SHAPE, max_position_embeddings=18),
    ModernBert: ModernBertConfig(**_SHAPE, max_position_embeddings=16, local_attention=6, pad_token_id=0),
    XLNet: XLNetConfig(**_SHAPE),
    Llama: LlamaConfig(**_SHAPE, max_position_embeddings=16, num_key_value_heads=1),
    Gemma2: Gemma2Config(**_SHAPE, **_GEMMA),
    Gemma3: Gemma3Config(**_SHAPE, **_GEMMA),
}


def tiny_config(model_type):
    """That of `TINY`, or of the architecture there that this one is a kind of."""
    encoder_type = architecture(model_type)
    nearest = next(kind for kind in encoder_type.__mro__ if kind in TINY)
    fields = [field.name for field in dataclasses.fields(encoder_type.config_type)]
    shape = {name: getattr(TINY[nearest], name) for name in fields if hasattr(TINY[nearest], name)}
    longer = {"max_position_embeddings": 40} if "max_position_embeddings" in fields else {}
    return encoder_type.config_type(**{**shape, "n_layers": 2, **longer})


def random_tiny(encoder_type, seed=0, **fields):
    """A tiny encoder whose every parameter, biases and norms included, is random and matters."""
    return tiny_encoder.random_encoder(encoder_type, dataclasses.replace(TINY[encoder_type], **fields), seed)


def random_batch(config, n_rows=4, n_tokens=9, seed=0):
    """Ids, mask and segments of pairs of random lengths as the architecture lays them out, the first row full."""
    layout, rng = config.tokens, np.random.default_rng(seed)
    ids = rng.integers(0, config.vocab_size, (n_rows, n_tokens)).astype(np.int32)
    lengths = np.append(n_tokens, rng.integers(1, n_tokens + 1, n_rows - 1))[:, None]
    place = np.arange(n_tokens) - (n_tokens - lengths if layout.padding_side == "left" else 0)
    mask = (place >= 0) & (place < lengths)
    types = np.where(mask, place >= rng.integers(0, lengths + 1), layout.pad_token_type_id).astype(np.int32)
    if layout.sentence_position == "last":
        types[:, -1] = 2  # a segment of its own
    return ids, mask, types % max(config.type_vocab_size, 1)


def relative_error(found, expected):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def assert_same_weights(model, other):
    for leaf, expected in zip(jax.tree.leaves(model), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(leaf, expected)


def assert_hugging_face_defaults(config_type, theirs):
    """What a `config.json` leaves out is what Hugging Face's own configuration, without arguments, has."""
    ours = config_type.from_dict({}, Path("config.json")).to_dict()
    assert ours.pop("architectures") == [config_type.model_class]
    assert {key: getattr(theirs, key) for key in ours} == ours


def randomise(model, seed):
    """Makes every weight of a PyTorch model random, so that biases and norms matter."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            n_in = weight.shape[0] if weight.dim() == 3 else weight.shape[-1]
            weight.normal_(1.0 if re.search(r"(norm|\bln_.)\.weight$", name.lower()) else 0.0, n_in**-0.5)
    return model.eval()


def pytorch_hidden_states(model, batch, rows_alone=False, token_types=True):
    """Every layer's hidden states of a padded batch, [layer, batch, token, hidden]."""
    torch = pytest.importorskip("torch")
    ids, mask, types = (np.asarray(array) for array in batch[:3])

    def run(rows):
        segments = {"token_type_ids": torch.tensor(types[rows]).long()} if token_types else {}
        tokens = {"input_ids": torch.tensor(ids[rows]).long(), "attention_mask": torch.tensor(mask[rows]).long()}
        with torch.inference_mode():
            return torch.stack(model(**tokens, **segments, output_hidden_states=True).hidden_states).numpy()

    return np.concatenate([run([i]) for i in range(len(ids))], 1) if rows_alone else run(np.arange(len(ids)))


def assert_equals_pytorch(
    their_model, folder, seed, padding_side="right", bound=2e-6, n_tokens=None, full=False, **their_inputs
):
    """Every layer of a PyTorch model with random weights, saved and loaded, is that of PyTorch on a padded batch.

    Args:
        their_model: a model of transformers without a head.
        folder: a place for its files.
        seed: of its weights and of the batch: 4 sentences of random lengths, one of them full.
        padding_side: right or left; where it is left, causal models of PyTorch are given the positions of the tokens.
        bound: the largest relative error (Frobenius) of a layer.
        full: whether all sentences have the length of the batch.
        n_tokens: the length of the batch; drawn, and odd as often as even, where it is not given.
        their_inputs: inputs of PyTorch's model beside ids, mask and, where the model looks at them, segments.
    """
    torch = pytest.importorskip("torch")
    randomise(their_model, seed).save_pretrained(folder)
    ours = load_encoder(folder)
    rng = np.random.default_rng(seed)
    n_tokens = n_tokens or int(rng.integers(2, 20))
    config = ours.config
    lengths = rng.permutation(np.append(n_tokens, rng.integers(1, n_tokens + 1, 3)))[:, None]
    lengths = np.full_like(lengths, n_tokens) if full else lengths
    place = np.arange(n_tokens) - (n_tokens - lengths if padding_side == "left" else 0)
    mask = (place >= 0) & (place < lengths)
    pad = getattr(config, "pad_token_id", 0)
    ids = rng.integers(0, config.vocab_size, mask.shape).astype(np.int32)
    ids = np.where(mask, np.where(ids == pad, (ids + 1) % config.vocab_size, ids), pad).astype(np.int32)
    types = (np.where(mask, place, 0) * 2 // n_tokens % max(config.type_vocab_size, 1)).astype(np.int32)
    if padding_side == "left" and config.tokens.sentence_position is None:
        their_inputs["position_ids"] = torch.tensor(np.maximum(np.cumsum(mask, 1) - 1, 0))
    if config.type_vocab_size:
        their_inputs["token_type_ids"] = torch.tensor(types).long()
    with torch.inference_mode():
        outputs = their_model(
            input_ids=torch.tensor(ids).long(),
            attention_mask=torch.tensor(mask).long(),
            output_hidden_states=True,
            **their_inputs,
        )
    theirs = torch.stack(outputs.hidden_states).numpy()
    assert_layers_agree(np.asarray(forward(ours, ids, mask, types)), theirs, mask, bound)


def assert_read_on_either_side(encoder_type, their_name, head_name, inner, folder):
    """PyTorch reads what is written of a tiny encoder, and its model with a head is read as the encoder alone.

    Args:
        encoder_type: an architecture of `TINY`.
        their_name: transformers' class without a head.
        head_name: one with a head.
        inner: where the encoder is in that.
        folder: a place for the files.
    """
    torch = pytest.importorskip("torch")
    import transformers

    model = random_tiny(encoder_type)
    checkpoint.save(model, folder / "ours")
    theirs, report = getattr(transformers, their_name).from_pretrained(folder / "ours", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    batch = random_batch(model.config, n_rows=1)
    with torch.inference_mode():
        expected = theirs(torch.tensor(batch[0]).long(), output_hidden_states=True).hidden_states
    assert relative_error(forward(model, *batch), torch.stack(expected).numpy()) <= 2e-6
    with_head = getattr(transformers, head_name)(theirs.config)
    getattr(with_head, inner).load_state_dict(theirs.state_dict())
    with_head.save_pretrained(folder / "head")
    np.testing.assert_array_equal(forward(load_encoder(folder / "head"), *batch), forward(model, *batch))


def assert_head_is_left_out(name, kind, folder):
    """A tiny model of transformers with a head, such as Electra's ForMaskedLM, is read as an encoder."""
    pytest.importorskip("torch")
    import transformers

    config = getattr(transformers, f"{name}Config")(
        vocab_size=30, hidden_size=8, embedding_size=6, num_hidden_layers=2, num_attention_heads=2, intermediate_size=9
    )
    getattr(transformers, f"{name}{kind}")(config).save_pretrained(folder)
    assert load_encoder(folder).config.embedding_size == 6


def assert_layers_agree(found, expected, mask, bound):
    """The relative error of every layer's real tokens is within a bound."""
    assert found.shape == expected.shape
    for layer, rival in zip(found, expected, strict=True):
        assert relative_error(layer[mask], rival[mask]) <= bound


def assert_same_vectors(model, ids, types, batches):
    """The first, last and mean vectors of a sentence alone, and at a row of batches of (rows, row, length)."""
    layout, n_tokens = model.config.tokens, ids.size
    left = layout.padding_side == "left"

    def pooled(ids, mask, types, row):
        hidden_states = np.asarray(forward(model, ids, mask, types))[:, row]
        start = hidden_states.shape[1] - n_tokens if left else 0
        mine = hidden_states[:, start : start + n_tokens]
        return np.stack([mine[:, 0], mine[:, -1], mine.mean(1)], axis=1).reshape(-1, model.config.hidden_size)

    alone = pooled(ids[None], np.ones((1, n_tokens), bool), types[None], 0)
    rng = np.random.default_rng(0)
    for n_rows, row, length in batches:
        mine = slice(length - n_tokens, length) if left else slice(0, n_tokens)
        batch = rng.integers(0, model.config.vocab_size, (n_rows, length)).astype(np.int32)
        batch_types = np.full_like(batch, layout.pad_token_type_id)
        mask = np.ones(batch.shape, bool)
        mask[row] = False
        batch[row, mine], batch_types[row, mine], mask[row, mine] = ids, types, True
        together = pooled(batch, mask, batch_types, row)
        for found, expected in zip(together, alone, strict=True):
            assert relative_error(found, expected) <= 1e-6
