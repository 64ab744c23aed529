"""BERT, an encoder that returns the hidden states of every layer.

Reference: Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding" (NAACL 2019). The numbers are those of Hugging Face's `BertModel`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from jaxred.models import settings
from jaxred.models.activations import ACTIVATIONS
from jaxred.models.checkpoint import WeightTable
from jaxred.models.encoder import Encoder, Reduce, check_n_tokens, keep_all
from jaxred.models.linear import layer_norm, linear


@dataclass(frozen=True)
class BertConfig:
    """The shape of a BERT; the defaults are Hugging Face's, for keys that a `config.json` leaves out."""

    model_type: ClassVar[str] = "bert"
    title: ClassVar[str] = "BERT"

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

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], path: Path) -> "BertConfig":
        """Reads the object of a Hugging Face `config.json`; `settings.read` says what is refused."""
        return cls(**settings.read(cls, raw, path, _KEYS, _ONLY))

    def to_dict(self) -> dict[str, Any]:
        """The object of a Hugging Face `config.json` that `from_dict` reads back."""
        return {"architectures": ["BertModel"], "model_type": self.model_type, **settings.write(self, _KEYS)}


_KEYS = {"n_layers": ("num_hidden_layers",), "n_heads": ("num_attention_heads",)}
_ONLY = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}


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


class LayerShape(Protocol):
    """What a configuration says about a layer."""

    @property
    def hidden_size(self) -> int: ...

    @property
    def n_heads(self) -> int: ...

    @property
    def intermediate_size(self) -> int: ...

    @property
    def hidden_act(self) -> str: ...

    @property
    def layer_norm_eps(self) -> float: ...


class Layer(nnx.Module):
    """Self-attention and a feed-forward network, each added to its input and then normalised.

    Products are taken in `dtype`; softmax, activation, layer norms and the residual sums in float32.
    """

    def __init__(self, config: LayerShape, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        size, inner, epsilon = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.query = linear(size, size, dtype, rngs)
        self.key = linear(size, size, dtype, rngs)
        self.value = linear(size, size, dtype, rngs)
        self.attention_output = linear(size, size, dtype, rngs)
        self.attention_norm = layer_norm(size, epsilon, rngs)
        self.intermediate = linear(size, inner, dtype, rngs)
        self.output = linear(inner, size, dtype, rngs)
        self.output_norm = layer_norm(size, epsilon, rngs)
        self.n_heads = config.n_heads
        self.activation = ACTIVATIONS[config.hidden_act]

    def __call__(
        self, hidden: Float[Array, "batch token hidden"], attention_mask: Bool[Array, "batch token"]
    ) -> Float[Array, "batch token hidden"]:
        context = self.attention_output(self.attend(hidden, attention_mask))
        hidden = self.attention_norm(hidden + context.astype(jnp.float32))
        activated = self.activation(self.intermediate(hidden).astype(jnp.float32))
        return self.output_norm(hidden + self.output(activated).astype(jnp.float32))

    def attend(
        self, hidden: Float[Array, "batch token hidden"], attention_mask: Bool[Array, "batch token"]
    ) -> Float[Array, "batch token hidden"]:
        """Multi-head attention of every token to the real ones: softmax(Q K^T / sqrt(head size)) V."""

        def heads(x: Float[Array, "batch token hidden"]) -> Float[Array, "batch head token size"]:
            return x.reshape(*x.shape[:2], self.n_heads, -1).swapaxes(1, 2)

        query, key, value = heads(self.query(hidden)), heads(self.key(hidden)), heads(self.value(hidden))
        scores = jnp.einsum(
            "bhqs,bhks->bhqk", query, key, precision=Precision.HIGHEST, preferred_element_type=jnp.float32
        ) / math.sqrt(query.shape[-1])
        scores = jnp.where(attention_mask[:, None, None, :], scores, jnp.finfo(jnp.float32).min)
        weights = jax.nn.softmax(scores).astype(value.dtype)
        context = jnp.einsum("bhqk,bhks->bhqs", weights, value, precision=Precision.HIGHEST)
        return context.swapaxes(1, 2).reshape(hidden.shape)


class Bert(Encoder):
    """A BERT encoder. Inference only: there is no dropout. In float32 the products are true ones on every device."""

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

    def __init__(self, config: BertConfig, compute_dtype: str = "float32", *, rngs: nnx.Rngs):
        """Draws random weights.

        Args:
            config: the shape.
            compute_dtype: float32 or bfloat16, the type of the layers' kernels and products.
            rngs: the source of the weights.
        """
        dtype = jnp.dtype(compute_dtype)
        self.config = config
        self.embeddings = Embeddings(config, rngs=rngs)
        self.layers = nnx.vmap(lambda rngs: Layer(config, dtype, rngs=rngs))(rngs.split(config.n_layers))

    def __call__(
        self,
        input_ids: Int[Array, "batch token"],
        attention_mask: Bool[Array, "batch token"],
        token_type_ids: Int[Array, "batch token"],
        reduce: Reduce = keep_all,
    ) -> Float[Array, "layer ..."]:
        check_n_tokens(input_ids.shape[1], self.config.max_position_embeddings)
        return self._run_layers(self.embeddings(input_ids, token_type_ids), reduce, attention_mask)
