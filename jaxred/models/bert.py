"""BERT, an encoder that returns the hidden states of every layer.

Reference: Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding" (NAACL 2019). The numbers are those of Hugging Face's `BertModel`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from jaxred.models.architecture_config import ArchitectureConfig, Keys
from jaxred.models.checkpoint import WeightTable
from jaxred.models.encoder import Encoder
from jaxred.models.layer import Layer, LayerShape, over_sentences
from jaxred.models.linear import layer_norm, linear, mapped


@dataclass(frozen=True)
class BertConfig(ArchitectureConfig):
    """The shape of a BERT."""

    model_type: ClassVar[str] = "bert"
    title: ClassVar[str] = "BERT"
    model_class: ClassVar[str] = "BertModel"
    keys: ClassVar[Keys] = {"n_layers": ("num_hidden_layers",), "n_heads": ("num_attention_heads",)}
    only: ClassVar[Mapping[str, Any]] = {
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
    }

    vocab_size: int = 30522
    hidden_size: int = 768
    n_layers: int = 12
    n_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0


class Embeddings(nnx.Module):
    """The sum of word, token type and position embeddings, normalised: layer 0."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        self.word = nnx.Embed(config.vocab_size, config.hidden_size, rngs=rngs)
        self.token_type = nnx.Embed(config.type_vocab_size, config.hidden_size, rngs=rngs)
        self.position = nnx.Embed(config.max_position_embeddings, config.hidden_size, rngs=rngs)
        self.norm = layer_norm(config.hidden_size, config.layer_norm_eps, rngs)

    def __call__(
        self, input_ids: Int[Array, "batch token"], token_type_ids: Int[Array, "batch token"]
    ) -> Float[Array, "batch token hidden"]:
        positions = jnp.arange(input_ids.shape[1])[None]
        return self.norm(self.word(input_ids) + self.token_type(token_type_ids) + self.position(positions))


class BertLayer(Layer):
    """A layer whose attention is by content alone."""

    def __init__(self, config: LayerShape, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        super().__init__(config, dtype, rngs=rngs)
        size = config.hidden_size
        self.query = linear(size, size, dtype, rngs)
        self.key = linear(size, size, dtype, rngs)
        self.value = linear(size, size, dtype, rngs)
        self.attention_output = linear(size, size, dtype, rngs)

    def attend(
        self,
        hidden: Float[Array, "batch token hidden"],
        relations: Bool[Array, "batch token"],
        wanted: Float[Array, "batch query hidden"] | None,
    ) -> Float[Array, "batch query hidden"]:
        """Multi-head attention to the real tokens: softmax(Q K^T / sqrt(head size)) V."""

        def heads(x: Float[Array, "row hidden"]) -> Float[Array, "head row size"]:
            return x.reshape(len(x), self.n_heads, -1).swapaxes(0, 1)

        def context(
            query: Float[Array, "query hidden"],
            key: Float[Array, "token hidden"],
            value: Float[Array, "token hidden"],
            real: Bool[Array, " token"],
        ) -> Float[Array, "query hidden"]:
            query, key, value = map(heads, (query, key, value))
            scores = jnp.einsum(
                "hqs,hks->hqk", query, key, precision=Precision.HIGHEST, preferred_element_type=jnp.float32
            ) / math.sqrt(query.shape[-1])
            weights = jax.nn.softmax(jnp.where(real, scores, jnp.finfo(jnp.float32).min)).astype(value.dtype)
            context = jnp.einsum("hqk,hks->hqs", weights, value, precision=Precision.HIGHEST)
            return context.swapaxes(0, 1).reshape(query.shape[1], -1)

        maps = mapped(hidden, self.query, self.key, self.value, wanted=wanted)
        return self.attention_output(over_sentences(context, *maps, relations))


class Bert(Encoder):
    """A BERT encoder."""

    config_type = BertConfig
    embeddings_type = Embeddings
    layer_type = BertLayer
    weights: ClassVar[WeightTable] = WeightTable(
        names={
            "embeddings.word.embedding": "embeddings.word_embeddings.weight",
            "embeddings.token_type.embedding": "embeddings.token_type_embeddings.weight",
            "embeddings.position.embedding": "embeddings.position_embeddings.weight",
            "embeddings.norm.scale": "embeddings.LayerNorm.weight",
            "embeddings.norm.bias": "embeddings.LayerNorm.bias",
            "layers.query.kernel": "encoder.layer.{}.attention.self.query.weight",
            "layers.query.bias": "encoder.layer.{}.attention.self.query.bias",
            "layers.key.kernel": "encoder.layer.{}.attention.self.key.weight",
            "layers.key.bias": "encoder.layer.{}.attention.self.key.bias",
            "layers.value.kernel": "encoder.layer.{}.attention.self.value.weight",
            "layers.value.bias": "encoder.layer.{}.attention.self.value.bias",
            "layers.attention_output.kernel": "encoder.layer.{}.attention.output.dense.weight",
            "layers.attention_output.bias": "encoder.layer.{}.attention.output.dense.bias",
            "layers.attention_norm.scale": "encoder.layer.{}.attention.output.LayerNorm.weight",
            "layers.attention_norm.bias": "encoder.layer.{}.attention.output.LayerNorm.bias",
            "layers.intermediate.kernel": "encoder.layer.{}.intermediate.dense.weight",
            "layers.intermediate.bias": "encoder.layer.{}.intermediate.dense.bias",
            "layers.output.kernel": "encoder.layer.{}.output.dense.weight",
            "layers.output.bias": "encoder.layer.{}.output.dense.bias",
            "layers.output_norm.scale": "encoder.layer.{}.output.LayerNorm.weight",
            "layers.output_norm.bias": "encoder.layer.{}.output.LayerNorm.bias",
        },
        prefix="bert.",
        renamed={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
        ignored=r"(pooler|cls|classifier|qa_outputs)\..*|embeddings\.(position_ids|token_type_ids)",
    )
