"""Llama, and what the decoders share that are built like it: Mistral, Qwen and Gemma.

Reference: Touvron et al., "LLaMA: Open and Efficient Foundation Language Models" (2023). The numbers are those of
Hugging Face's `LlamaModel`; a token sees itself and those before it alone.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxred.models.alternating import of_layer
from jaxred.models.attention import Attention, AttentionShape, Relations
from jaxred.models.decoder_config import DecoderConfig, with_biases
from jaxred.models.dropout import SILENT, Dropouts, Noise
from jaxred.models.encoder import Encoder
from jaxred.models.feed_forward import GatedFeedForward
from jaxred.models.heads import HeadTable
from jaxred.models.layer import PreNormLayer
from jaxred.models.linear import Embedding
from jaxred.models.norms import RMSNorm
from jaxred.models.rotary import Rotary, rotation_of
from jaxred.models.token_rows import Mask, at_queries, sentence_lengths, token_positions, visible_tokens
from jaxred.models.weight_table import WeightTable


@dataclass(frozen=True)
class LlamaConfig(DecoderConfig):
    """The shape of a Llama."""

    model_type: ClassVar[str] = "llama"
    title: ClassVar[str] = "Llama"
    model_class: ClassVar[str] = "LlamaModel"

    attention_bias: bool = False
    mlp_bias: bool = False

    @property
    def attention_shape(self) -> AttentionShape:
        return with_biases(super().attention_shape, self.attention_bias)

    @property
    def has_feed_forward_bias(self) -> bool:
        return self.mlp_bias


class DecoderEmbeddings(nnx.Module):
    """The word embeddings, scaled where the architecture does: layer 0."""

    def __init__(self, config: DecoderConfig, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        self.word = Embedding(config.vocab_size, config.hidden_size, dtype, rngs)
        root = np.float32(np.sqrt(config.hidden_size))
        self.scale = float(root.astype(dtype)) if config.scaled_embeddings else None  # rounded as PyTorch rounds it

    def __call__(
        self,
        input_ids: Int[Array, "batch token"],
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        noise: Noise = SILENT,
    ) -> Float[Array, "batch token hidden"]:
        """The embeddings of tokens."""
        del attention_mask, token_type_ids
        embedded = self.word(input_ids)
        return noise("embeddings", embedded if self.scale is None else embedded * self.scale)


class DecoderLayer(PreNormLayer):
    """A layer with grouped heads, rotary positions and a gated feed-forward network."""

    def __init__(self, config: DecoderConfig, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        def norm() -> RMSNorm:
            return RMSNorm(config.hidden_size, config.rms_norm_eps, config.norm_offset)

        self.attention = Attention(config.attention_shape, dtype, rngs=rngs)
        self.attention_norm, self.feed_forward_norm = norm(), norm()
        if config.norms_what_is_added:
            self.attended_norm, self.fed_norm = norm(), norm()
        size, inner, bias = config.hidden_size, config.intermediate_size, config.has_feed_forward_bias
        self.feed_forward = GatedFeedForward(size, inner, config.hidden_act, dtype, bias=bias, rngs=rngs)


class Llama(Encoder):
    """A Llama decoder."""

    config_type = LlamaConfig
    embeddings_type = DecoderEmbeddings
    layer_type = DecoderLayer
    dropouts: ClassVar[Dropouts] = {"attention": ("attention_dropout", 0.0)}
    sentence_head: ClassVar[HeadTable] = HeadTable("score", output_bias=False)
    word_head: ClassVar[HeadTable | None] = HeadTable("score", dropout=(("classifier_dropout", "hidden_dropout"), 0.1))
    weights: ClassVar[WeightTable] = WeightTable(
        names={
            "embeddings.word.embedding": "embed_tokens.weight",
            **{
                f"layers.{ours}.{kind}": f"layers.{{}}.{theirs}.{'weight' if kind == 'kernel' else kind}"
                for ours, theirs in {
                    "attention.query": "self_attn.q_proj",
                    "attention.key": "self_attn.k_proj",
                    "attention.value": "self_attn.v_proj",
                    "attention.output": "self_attn.o_proj",
                    "feed_forward.gate": "mlp.gate_proj",
                    "feed_forward.intermediate": "mlp.up_proj",
                    "feed_forward.output": "mlp.down_proj",
                }.items()
                for kind in ("kernel", "bias")
            },
            "layers.attention.query_norm.scale": "layers.{}.self_attn.q_norm.weight",
            "layers.attention.key_norm.scale": "layers.{}.self_attn.k_norm.weight",
            "layers.attention_norm.scale": "layers.{}.input_layernorm.weight",
            "layers.feed_forward_norm.scale": "layers.{}.post_attention_layernorm.weight",
            "final_norm.scale": "norm.weight",
        },
        prefix="model.",
        ignored=r"(lm_head|score|classifier|qa_outputs)\..*|.*rotary_emb\.inv_freq",
    )

    def norm_after_layers(self, config: Any, rngs: nnx.Rngs) -> nnx.Module:
        del rngs
        return RMSNorm(config.hidden_size, config.rms_norm_eps, config.norm_offset)

    def relate(
        self,
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        queries: Int[Array, "batch query"],
    ) -> tuple[Relations, Relations]:
        """What layers without a window attend by, and what those with one do; as `Encoder.relate`."""
        del token_type_ids
        config = self.config
        keys_at, lengths = token_positions(attention_mask), sentence_lengths(attention_mask)
        of_keys, of_queries = (keys_at, lengths), (at_queries(keys_at, queries), at_queries(lengths, queries))

        def relations(window: int, rotary: Rotary) -> Relations:
            visible = visible_tokens(attention_mask, queries, causal=True, window=window)
            turns = (rotary, config.head_size, config.max_position_embeddings, attention_mask.shape[1])
            return Relations(visible, rotation_of(*turns, *of_queries), rotation_of(*turns, *of_keys))

        full = relations(0, config.rotary)
        if not any(config.sliding):
            return full, full
        sliding = relations(config.window, config.sliding_rotary)
        if config.sliding_rotary == config.rotary:
            sliding = full._replace(visible=sliding.visible)
        return full, sliding

    def relations_of_layer(self, relations: tuple[Relations, Relations], index: int | Int[Array, ""]) -> Relations:
        return of_layer(self.config.sliding, index, *relations)
