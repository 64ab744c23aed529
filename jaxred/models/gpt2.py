"""GPT-2, whose tokens see those before them alone.

Reference: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019). The numbers are those of
Hugging Face's `GPT2Model`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxred.models.architecture_config import ArchitectureConfig, Keys
from jaxred.models.attention import Attention, AttentionShape, Relations
from jaxred.models.dropout import SILENT, Dropouts, Noise
from jaxred.models.encoder import Encoder
from jaxred.models.feed_forward import FeedForward
from jaxred.models.heads import HeadTable
from jaxred.models.layer import PreNormLayer
from jaxred.models.linear import Embedding
from jaxred.models.norms import layer_norm
from jaxred.models.token_layout import CAUSAL, TokenLayout
from jaxred.models.token_rows import Mask, token_positions, visible_tokens
from jaxred.models.weight_table import Stored, WeightTable


@dataclass(frozen=True)
class GPT2Config(ArchitectureConfig):
    """The shape of a GPT-2."""

    model_type: ClassVar[str] = "gpt2"
    title: ClassVar[str] = "GPT-2"
    model_class: ClassVar[str] = "GPT2Model"
    tokens: ClassVar[TokenLayout] = CAUSAL
    keys: ClassVar[Keys] = {
        "hidden_size": ("n_embd", "hidden_size"),
        "n_layers": ("n_layer", "num_hidden_layers"),
        "n_heads": ("n_head", "num_attention_heads"),
        "intermediate_size": ("n_inner",),
        "hidden_act": ("activation_function",),
        "max_position_embeddings": ("n_positions", "max_position_embeddings"),
        "layer_norm_eps": ("layer_norm_epsilon",),
    }
    only: ClassVar[Mapping[str, Any]] = {"scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}

    vocab_size: int = 50257
    hidden_size: int = 768
    n_layers: int = 12
    n_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu_new"
    max_position_embeddings: int = 1024
    layer_norm_eps: float = 1e-5
    scale_attn_weights: bool = True

    @classmethod
    def or_default(cls) -> tuple[str, ...]:
        """Fields for which null stands for the default."""
        return (*super().or_default(), "intermediate_size")

    @classmethod
    def structures(cls, raw: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """The inner size is four times the hidden one, where the file does not say it."""
        del path
        return {"intermediate_size": 4 * values["hidden_size"]} if raw.get("n_inner") is None else {}

    def to_dict(self) -> dict[str, Any]:
        """The object of a `config.json` that `from_dict` reads back."""
        usual = self.intermediate_size == 4 * self.hidden_size
        return {**super().to_dict(), "n_inner": None if usual else self.intermediate_size}


class GPT2Embeddings(nnx.Module):
    """The sum of word and position embeddings: layer 0."""

    def __init__(self, config: GPT2Config, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        self.word = Embedding(config.vocab_size, config.hidden_size, dtype, rngs)
        self.position = Embedding(config.max_position_embeddings, config.hidden_size, dtype, rngs)

    def __call__(
        self,
        input_ids: Int[Array, "batch token"],
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        noise: Noise = SILENT,
    ) -> Float[Array, "batch token hidden"]:
        """The embeddings of tokens where they stand among the real ones."""
        del token_type_ids
        return noise("embeddings", self.word(input_ids) + self.position(token_positions(attention_mask)))


class GPT2Layer(PreNormLayer):
    """A layer that normalises before attention and before the feed-forward network."""

    def __init__(self, config: GPT2Config, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        size, epsilon = config.hidden_size, config.layer_norm_eps
        shape = AttentionShape(size, config.n_heads, divisor=0.0 if config.scale_attn_weights else 1.0)
        self.attention = Attention(shape, dtype, rngs=rngs)
        self.attention_norm = layer_norm(size, epsilon, rngs)
        self.feed_forward = FeedForward(size, config.intermediate_size, config.hidden_act, dtype, rngs=rngs)
        self.feed_forward_norm = layer_norm(size, epsilon, rngs)


class GPT2(Encoder):
    """A GPT-2 without a head."""

    config_type = GPT2Config
    embeddings_type = GPT2Embeddings
    layer_type = GPT2Layer
    dropouts: ClassVar[Dropouts] = {
        "embeddings": ("embd_pdrop", 0.1),
        "attention": ("attn_pdrop", 0.1),
        "attended": ("resid_pdrop", 0.1),
        "fed": ("resid_pdrop", 0.1),
    }
    sentence_head: ClassVar[HeadTable] = HeadTable("score", output_bias=False)
    word_head: ClassVar[HeadTable] = HeadTable("classifier", dropout=(("classifier_dropout", "hidden_dropout"), 0.1))
    weights: ClassVar[WeightTable] = WeightTable(
        names={
            "embeddings.word.embedding": "wte.weight",
            "embeddings.position.embedding": "wpe.weight",
            "layers.attention_norm.scale": "h.{}.ln_1.weight",
            "layers.attention_norm.bias": "h.{}.ln_1.bias",
            "layers.attention.query.kernel": Stored("h.{}.attn.c_attn.weight", 0, 3, outputs_last=True),
            "layers.attention.query.bias": Stored("h.{}.attn.c_attn.bias", 0, 3),
            "layers.attention.key.kernel": Stored("h.{}.attn.c_attn.weight", 1, 3, outputs_last=True),
            "layers.attention.key.bias": Stored("h.{}.attn.c_attn.bias", 1, 3),
            "layers.attention.value.kernel": Stored("h.{}.attn.c_attn.weight", 2, 3, outputs_last=True),
            "layers.attention.value.bias": Stored("h.{}.attn.c_attn.bias", 2, 3),
            "layers.attention.output.kernel": Stored("h.{}.attn.c_proj.weight", outputs_last=True),
            "layers.attention.output.bias": "h.{}.attn.c_proj.bias",
            "layers.feed_forward_norm.scale": "h.{}.ln_2.weight",
            "layers.feed_forward_norm.bias": "h.{}.ln_2.bias",
            "layers.feed_forward.intermediate.kernel": Stored("h.{}.mlp.c_fc.weight", outputs_last=True),
            "layers.feed_forward.intermediate.bias": "h.{}.mlp.c_fc.bias",
            "layers.feed_forward.output.kernel": Stored("h.{}.mlp.c_proj.weight", outputs_last=True),
            "layers.feed_forward.output.bias": "h.{}.mlp.c_proj.bias",
            "final_norm.scale": "ln_f.weight",
            "final_norm.bias": "ln_f.bias",
        },
        prefix="transformer.",
        ignored=r"(lm_head|multiple_choice_head|score|classifier|qa_outputs)\..*|h\.\d+\.attn\.(bias|masked_bias)",
    )

    def norm_after_layers(self, config: GPT2Config, rngs: nnx.Rngs) -> nnx.Module:
        """The norm of the last layer's hidden states."""
        return layer_norm(config.hidden_size, config.layer_norm_eps, rngs)

    def relate(
        self,
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        queries: Int[Array, "batch query"],
    ) -> Relations:
        """A token sees itself and those before it."""
        del token_type_ids
        return Relations(visible_tokens(attention_mask, queries, causal=True))
