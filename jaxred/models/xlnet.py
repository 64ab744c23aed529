"""XLNet, an encoder with relative attention that returns the hidden states of every layer.

References: Yang, Dai, Yang, Carbonell, Salakhutdinov, Le, "XLNet: Generalized Autoregressive Pretraining for Language
Understanding" (NeurIPS 2019); the relative positions are those of Dai et al., "Transformer-XL" (ACL 2019). The
numbers are those of Hugging Face's `XLNetModel` on one segment, without memories and without the second stream.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxred.errors import UserError
from jaxred.models.architecture_config import ArchitectureConfig, Keys
from jaxred.models.dropout import SILENT, Dropouts, Noise
from jaxred.models.encoder import Encoder
from jaxred.models.heads import HeadTable
from jaxred.models.layer import PostNormLayer
from jaxred.models.linear import Embedding
from jaxred.models.relative_attention import Relations, RelativeAttention
from jaxred.models.token_layout import TokenLayout
from jaxred.models.token_rows import Mask, visible_tokens
from jaxred.models.weight_table import WeightTable


@dataclass(frozen=True)
class XLNetConfig(ArchitectureConfig):
    """The shape of an XLNet.

    Of the other keys, `mem_len`, `reuse_len` and `use_mems_eval` change nothing on one segment, `untie_r` nothing
    after training: a checkpoint holds the biases of every layer, equal where they were tied.
    """

    model_type: ClassVar[str] = "xlnet"
    title: ClassVar[str] = "XLNet"
    model_class: ClassVar[str] = "XLNetModel"
    tokens: ClassVar[TokenLayout] = TokenLayout("left", pad_token_type_id=4, sentence_position="last")
    keys: ClassVar[Keys] = {
        "vocab_size": ("vocab_size", "n_token"),
        "hidden_size": ("d_model", "hidden_size"),
        "n_layers": ("n_layer", "num_hidden_layers"),
        "n_heads": ("n_head", "num_attention_heads"),
        "intermediate_size": ("d_inner",),
        "hidden_act": ("ff_activation",),
    }
    only: ClassVar[Mapping[str, Any]] = {"bi_data": False}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"attn_type": ("bi", "uni")}
    least: ClassVar[Mapping[str, int]] = {"clamp_len": -1}

    vocab_size: int = 32000
    hidden_size: int = 1024
    n_layers: int = 24
    n_heads: int = 16
    intermediate_size: int = 4096
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    attn_type: str = "bi"  # bi: every token sees every other; uni: only those before it
    clamp_len: int = -1  # distances beyond it count as it; not above 0: none do
    same_length: bool = False  # with attn_type uni: a token sees as many others as every other, here itself alone
    pad_token_id: int = 5

    @property
    def type_vocab_size(self) -> int:
        """First and second sentence, <cls>, <sep> and padding; they are compared, never looked up."""
        return 5

    @property
    def usable_length(self) -> int:
        """No bound: positions are relative."""
        return sys.maxsize

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], path: Path) -> "XLNetConfig":
        """Reads the object of a `config.json`, as `ArchitectureConfig.from_dict`.

        Raises:
            UserError: also if the hidden size is odd or `d_head` is not its share of a head.
        """
        config = super().from_dict(raw, path)
        if config.hidden_size % 2:
            raise UserError(
                f"{path}: d_model={config.hidden_size} is not possible: it must be even, "
                f"for half of a position's encoding is sines and half cosines."
            )
        head_size = config.hidden_size // config.n_heads
        if raw.get("d_head") not in (None, 0, head_size):
            raise UserError(
                f"{path}: d_head={raw['d_head']!r} is not possible: it must be d_model / n_head = {head_size}."
            )
        return config

    def to_dict(self) -> dict[str, Any]:
        """The object of a `config.json` that `from_dict` reads back."""
        return {**super().to_dict(), "d_head": self.hidden_size // self.n_heads}


class Embeddings(nnx.Module):
    """The word embeddings, as they are: layer 0."""

    def __init__(self, config: XLNetConfig, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        self.word = Embedding(config.vocab_size, config.hidden_size, dtype, rngs)

    def __call__(
        self,
        input_ids: Int[Array, "batch token"],
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        noise: Noise = SILENT,
    ) -> Float[Array, "batch token hidden"]:
        del attention_mask, token_type_ids
        return noise("embeddings", self.word(input_ids))


class XLNetLayer(PostNormLayer):
    """A layer of relative attention."""

    def __init__(self, config: XLNetConfig, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        super().__init__(config, RelativeAttention(config, dtype, rngs=rngs), dtype, rngs=rngs)


class XLNet(Encoder):
    """An XLNet encoder."""

    config_type = XLNetConfig
    embeddings_type = Embeddings
    layer_type = XLNetLayer
    dropouts: ClassVar[Dropouts] = {
        place: ("dropout", 0.1)
        for place in ("embeddings", "positions", "attention", "attended", "inner", "fed", "output")
    }
    sentence_head: ClassVar[HeadTable] = HeadTable(
        "logits_proj",
        dense="sequence_summary.summary",
        dropout=(("summary_last_dropout",), 0.1),
        settings={"summary_type": "last", "summary_use_proj": True, "summary_activation": "tanh"},
    )
    word_head: ClassVar[HeadTable] = HeadTable("classifier")
    weights: ClassVar[WeightTable] = WeightTable(
        names={
            "embeddings.word.embedding": "word_embedding.weight",
            "layers.attention.query": "layer.{}.rel_attn.q",
            "layers.attention.key": "layer.{}.rel_attn.k",
            "layers.attention.value": "layer.{}.rel_attn.v",
            "layers.attention.position": "layer.{}.rel_attn.r",
            "layers.attention.output": "layer.{}.rel_attn.o",
            "layers.attention.content_bias": "layer.{}.rel_attn.r_w_bias",
            "layers.attention.position_bias": "layer.{}.rel_attn.r_r_bias",
            "layers.attention.segment_bias": "layer.{}.rel_attn.r_s_bias",
            "layers.attention.segments": "layer.{}.rel_attn.seg_embed",
            "layers.attention_norm.scale": "layer.{}.rel_attn.layer_norm.weight",
            "layers.attention_norm.bias": "layer.{}.rel_attn.layer_norm.bias",
            "layers.feed_forward.intermediate.kernel": "layer.{}.ff.layer_1.weight",
            "layers.feed_forward.intermediate.bias": "layer.{}.ff.layer_1.bias",
            "layers.feed_forward.output.kernel": "layer.{}.ff.layer_2.weight",
            "layers.feed_forward.output.bias": "layer.{}.ff.layer_2.bias",
            "layers.output_norm.scale": "layer.{}.ff.layer_norm.weight",
            "layers.output_norm.bias": "layer.{}.ff.layer_norm.bias",
        },
        prefix="transformer.",
        ignored=r"mask_emb|(lm_loss|sequence_summary|logits_proj|classifier|qa_outputs)\..*"
        r"|(start_logits|end_logits|answer_class)\..*",
    )

    def relate(
        self,
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        queries: Int[Array, "batch query"],
    ) -> Relations:
        n_tokens, config = attention_mask.shape[1], self.config
        positions = jnp.arange(n_tokens)[None, None]
        own = queries[:, :, None] == positions
        visible = visible_tokens(attention_mask, queries, causal=config.attn_type == "uni")
        if config.attn_type == "uni" and config.same_length:
            visible &= own
        segments = jnp.take_along_axis(token_type_ids, queries, axis=1)
        return Relations(
            positions=jnp.asarray(relative_positions(config, n_tokens)),
            queries=queries,
            visible=visible | own,  # padding too sees itself
            other_segment=segments[:, :, None] != token_type_ids[:, None, :],
        )

    def with_noise(self, relations: Relations, noise: Noise) -> Relations:
        return relations._replace(positions=noise("positions", relations.positions))


def relative_positions(config: XLNetConfig, n_tokens: int) -> Float[np.ndarray, "distance hidden"]:
    """The encodings of the distances n_tokens, n_tokens - 1, ... that a token i may have to a token j, i - j.

        [sin(distance / 10000^(2 f / hidden)), cos(distance / 10000^(2 f / hidden))], f = 0 ... hidden / 2 - 1

    They are computed once, in NumPy and in PyTorch's order of float32 operations: at 500 tokens the rounding of a
    frequency moves an encoding by 1e-5, so that an exact one would not be that which the weights were trained with.
    """
    exponents = np.arange(0, config.hidden_size, 2, dtype=np.float32) / np.float32(config.hidden_size)
    frequencies = np.float32(1) / np.power(10000.0, np.float64(exponents)).astype(np.float32)
    last = -1 if config.attn_type == "uni" else -n_tokens
    distances = np.arange(n_tokens, last, -1, dtype=np.float32)
    if config.clamp_len > 0:
        distances = np.clip(distances, -config.clamp_len, config.clamp_len)
    angles = np.float64(distances[:, None] * frequencies)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
