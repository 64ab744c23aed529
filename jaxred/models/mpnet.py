"""MPNet, a BERT with a bias by distance that all layers share.

References: Song, Tan, Qin, Lu, Liu, "MPNet: Masked and Permuted Pre-training for Language Understanding" (NeurIPS
2020); the bias by distance is that of Raffel et al., "Exploring the Limits of Transfer Learning with a Unified
Text-to-Text Transformer" (JMLR 2020). The numbers are those of Hugging Face's `MPNetModel`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from jaxred.models.architecture_config import ArchitectureConfig
from jaxred.models.attention import Relations
from jaxred.models.bert import Bert, BertConfig, BertLayer
from jaxred.models.encoder import Encoder
from jaxred.models.heads import HeadTable, pooled_head
from jaxred.models.linear import Embedding
from jaxred.models.roberta import RobertaEmbeddings
from jaxred.models.token_layout import FAST, TokenLayout
from jaxred.models.token_rows import Mask, visible_tokens
from jaxred.models.weight_table import WeightTable

_PADDING = 1  # whatever the tokenizer's padding token is
_FURTHEST = 128  # distances beyond it share a bias


@dataclass(frozen=True)
class MPNetConfig(ArchitectureConfig):
    """The shape of an MPNet."""

    model_type: ClassVar[str] = "mpnet"
    title: ClassVar[str] = "MPNet"
    model_class: ClassVar[str] = "MPNetModel"
    tokens: ClassVar[TokenLayout] = TokenLayout(vocabularies=(FAST, "vocab.txt"))
    keys = BertConfig.keys
    only: ClassVar[Mapping[str, Any]] = {"relative_attention_num_buckets": 32}  # PyTorch's model takes no other

    vocab_size: int = 30527
    hidden_size: int = 768
    n_layers: int = 12
    n_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: int = 512
    layer_norm_eps: float = 1e-12

    @property
    def pad_token_id(self) -> int:
        """The number from which positions count."""
        return _PADDING

    @property
    def usable_length(self) -> int:
        """The positions up to that of padding are not for tokens."""
        return self.max_position_embeddings - _PADDING - 1


class MPNet(Encoder):
    """An MPNet encoder."""

    config_type = MPNetConfig
    embeddings_type = RobertaEmbeddings
    layer_type = BertLayer
    dropouts = Bert.dropouts
    sentence_head: ClassVar[HeadTable] = pooled_head((("hidden_dropout_prob",), 0.1))
    word_head: ClassVar[HeadTable] = HeadTable("classifier", dropout=(("hidden_dropout_prob",), 0.1))
    weights: ClassVar[WeightTable] = WeightTable(
        names={
            **Bert.weights.names,
            "shared.embedding": "encoder.relative_attention_bias.weight",
            "layers.attention.query.kernel": "encoder.layer.{}.attention.attn.q.weight",
            "layers.attention.query.bias": "encoder.layer.{}.attention.attn.q.bias",
            "layers.attention.key.kernel": "encoder.layer.{}.attention.attn.k.weight",
            "layers.attention.key.bias": "encoder.layer.{}.attention.attn.k.bias",
            "layers.attention.value.kernel": "encoder.layer.{}.attention.attn.v.weight",
            "layers.attention.value.bias": "encoder.layer.{}.attention.attn.v.bias",
            "layers.attention.output.kernel": "encoder.layer.{}.attention.attn.o.weight",
            "layers.attention.output.bias": "encoder.layer.{}.attention.attn.o.bias",
            "layers.attention_norm.scale": "encoder.layer.{}.attention.LayerNorm.weight",
            "layers.attention_norm.bias": "encoder.layer.{}.attention.LayerNorm.bias",
        },
        prefix="mpnet.",
        ignored=r"(pooler|lm_head|classifier|qa_outputs)\..*|embeddings\.position_ids",
    )

    def shared_by_layers(self, config: MPNetConfig, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Module:
        """The bias of each head, by bucket of distances."""
        del dtype
        return Embedding(
            self.config_type.only["relative_attention_num_buckets"], config.n_heads, jnp.dtype("float32"), rngs
        )

    def relate(
        self,
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        queries: Int[Array, "batch query"],
    ) -> Relations:
        del token_type_ids
        n_tokens, n_queries = attention_mask.shape[1], queries.shape[1]
        longest = self.config.usable_length
        buckets = jnp.asarray(buckets_of_distances(longest))
        rows = queries[:1] if n_queries == n_tokens else queries  # all, in their order: the same in every row
        distances = jnp.arange(n_tokens)[None, None] - rows[:, :, None]
        assert self.shared is not None
        biases = self.shared(buckets[distances + longest - 1])
        return Relations(visible_tokens(attention_mask, queries), bias=jnp.moveaxis(biases, -1, 1))


def buckets_of_distances(n_tokens: int, n_buckets: int = 32) -> Int[np.ndarray, " distance"]:
    """The bucket of each distance from a query to a key, 1 - n_tokens to n_tokens - 1.

    Half of the buckets are of keys before the query and half of those after it; of each half one half holds a distance
    each, and in the other they grow with the logarithm of the distance.
    """
    distances = np.arange(1 - n_tokens, n_tokens)
    half, exact = n_buckets // 2, n_buckets // 4
    far = np.abs(distances)
    logarithm = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(exact))
    scaled = logarithm / np.float32(math.log(_FURTHEST / exact)) * np.float32(half - exact)
    grown = np.minimum(exact + scaled.astype(np.int64), half - 1)
    return (np.where(far < exact, far, grown) + half * (distances > 0)).astype(np.int32)
