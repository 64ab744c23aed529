"""BERT, an encoder that returns the hidden states of every layer.

Reference: Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding" (NAACL 2019). The numbers are those of Hugging Face's `BertModel`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxred.models.architecture_config import ArchitectureConfig, Keys
from jaxred.models.attention import Attention, AttentionShape
from jaxred.models.dropout import SILENT, Dropouts, Noise
from jaxred.models.encoder import Encoder
from jaxred.models.heads import CLASSIFIER_DROPOUT, HeadTable
from jaxred.models.layer import PostNormLayer
from jaxred.models.linear import Embedding, linear
from jaxred.models.norms import layer_norm
from jaxred.models.token_layout import FAST, TokenLayout
from jaxred.models.token_rows import Mask, positions_from_left
from jaxred.models.weight_table import WeightTable


@dataclass(frozen=True)
class BertConfig(ArchitectureConfig):
    """The shape of a BERT."""

    model_type: ClassVar[str] = "bert"
    title: ClassVar[str] = "BERT"
    model_class: ClassVar[str] = "BertModel"
    tokens: ClassVar[TokenLayout] = TokenLayout(vocabularies=(FAST, "vocab.txt"))
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


class BertEmbeddings(nnx.Module):
    """The sum of word, token type and position embeddings, normalised: layer 0."""

    def __init__(self, config: Any, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        size = self.size(config)
        self.word = Embedding(config.vocab_size, size, dtype, rngs)
        self.token_type = Embedding(config.type_vocab_size, size, dtype, rngs) if config.type_vocab_size else None
        self.position = Embedding(config.max_position_embeddings, size, dtype, rngs)
        self.norm = layer_norm(size, config.layer_norm_eps, rngs)
        self.pad_token_id = config.pad_token_id
        self.projection = linear(size, config.hidden_size, dtype, rngs) if self.is_mapped(config) else None

    def size(self, config: Any) -> int:
        """The size of the embeddings."""
        return config.hidden_size

    def is_mapped(self, config: Any) -> bool:
        """Whether a linear map leads from the embeddings to the hidden size: where that is another size."""
        return self.size(config) != config.hidden_size

    def __call__(
        self,
        input_ids: Int[Array, "batch token"],
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        noise: Noise = SILENT,
    ) -> Float[Array, "batch token hidden"]:
        """The embeddings of tokens at their places, of their segments."""
        embedded = self.word(input_ids)
        if self.token_type is not None:
            embedded += self.token_type(token_type_ids)
        embedded = noise("embeddings", self.norm(embedded + self.position(self.positions(input_ids, attention_mask))))
        return embedded if self.projection is None else self.projection(embedded).astype(jnp.float32)

    def positions(self, input_ids: Int[Array, "batch token"], attention_mask: Mask) -> Int[Array, "rows token"]:
        """The row of the position embeddings that each token has; one row for all sentences, where it is one."""
        del input_ids
        return positions_from_left(attention_mask)


class BertLayer(PostNormLayer):
    """A layer whose attention is by content alone."""

    def __init__(self, config: Any, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        attention = Attention(AttentionShape(config.hidden_size, config.n_heads), dtype, rngs=rngs)
        super().__init__(config, attention, dtype, rngs=rngs)


class Bert(Encoder):
    """A BERT encoder."""

    config_type = BertConfig
    embeddings_type = BertEmbeddings
    layer_type = BertLayer
    dropouts: ClassVar[Dropouts] = {
        "embeddings": ("hidden_dropout_prob", 0.1),
        "attention": ("attention_probs_dropout_prob", 0.1),
        "attended": ("hidden_dropout_prob", 0.1),
        "fed": ("hidden_dropout_prob", 0.1),
    }
    sentence_head: ClassVar[HeadTable] = HeadTable("classifier", dense="bert.pooler.dense", dropout=CLASSIFIER_DROPOUT)
    word_head: ClassVar[HeadTable] = HeadTable("classifier", dropout=CLASSIFIER_DROPOUT)
    weights: ClassVar[WeightTable] = WeightTable(
        names={
            "embeddings.word.embedding": "embeddings.word_embeddings.weight",
            "embeddings.token_type.embedding": "embeddings.token_type_embeddings.weight",
            "embeddings.position.embedding": "embeddings.position_embeddings.weight",
            "embeddings.norm.scale": "embeddings.LayerNorm.weight",
            "embeddings.norm.bias": "embeddings.LayerNorm.bias",
            "layers.attention.query.kernel": "encoder.layer.{}.attention.self.query.weight",
            "layers.attention.query.bias": "encoder.layer.{}.attention.self.query.bias",
            "layers.attention.key.kernel": "encoder.layer.{}.attention.self.key.weight",
            "layers.attention.key.bias": "encoder.layer.{}.attention.self.key.bias",
            "layers.attention.value.kernel": "encoder.layer.{}.attention.self.value.weight",
            "layers.attention.value.bias": "encoder.layer.{}.attention.self.value.bias",
            "layers.attention.output.kernel": "encoder.layer.{}.attention.output.dense.weight",
            "layers.attention.output.bias": "encoder.layer.{}.attention.output.dense.bias",
            "layers.attention_norm.scale": "encoder.layer.{}.attention.output.LayerNorm.weight",
            "layers.attention_norm.bias": "encoder.layer.{}.attention.output.LayerNorm.bias",
            "layers.feed_forward.intermediate.kernel": "encoder.layer.{}.intermediate.dense.weight",
            "layers.feed_forward.intermediate.bias": "encoder.layer.{}.intermediate.dense.bias",
            "layers.feed_forward.output.kernel": "encoder.layer.{}.output.dense.weight",
            "layers.feed_forward.output.bias": "encoder.layer.{}.output.dense.bias",
            "layers.output_norm.scale": "encoder.layer.{}.output.LayerNorm.weight",
            "layers.output_norm.bias": "encoder.layer.{}.output.LayerNorm.bias",
        },
        prefix="bert.",
        renamed={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
        ignored=r"(pooler|cls|classifier|qa_outputs)\..*|embeddings\.(position_ids|token_type_ids)",
    )
