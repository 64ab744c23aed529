"""DeBERTa v2 and v3, an encoder with disentangled attention that returns the hidden states of every layer.

References: He, Liu, Gao, Chen, "DeBERTa: Decoding-enhanced BERT with Disentangled Attention" (ICLR 2021); He, Gao,
Chen, "DeBERTaV3" (ICLR 2023). The numbers are those of Hugging Face's `DebertaV2Model`.
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
from jaxred.models.bert import Bert, BertConfig
from jaxred.models.disentangled_attention import DisentangledAttention, Relations
from jaxred.models.distances import log_buckets
from jaxred.models.dropout import SILENT, Dropouts, Noise
from jaxred.models.encoder import Encoder
from jaxred.models.heads import HeadTable
from jaxred.models.layer import PostNormLayer
from jaxred.models.linear import Embedding, linear
from jaxred.models.norms import layer_norm
from jaxred.models.token_layout import TokenLayout
from jaxred.models.token_rows import Mask, positions_from_left, real_tokens, visible_tokens
from jaxred.models.weight_table import WeightTable

_TERMS = ("c2p", "p2c")  # of scores: content to position, position to content


@dataclass(frozen=True)
class DebertaV2Config(BertConfig):
    """The shape of a DeBERTa v2 or v3."""

    model_type: ClassVar[str] = "deberta-v2"
    title: ClassVar[str] = "DeBERTa v2 and v3"
    model_class: ClassVar[str] = "DebertaV2Model"
    tokens: ClassVar[TokenLayout] = TokenLayout()
    only: ClassVar[Mapping[str, Any]] = {"conv_kernel_size": 0}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"norm_rel_ebd": ("none", "layer_norm")}
    least: ClassVar[Mapping[str, int]] = {
        "type_vocab_size": 0,
        "max_relative_positions": -1,
        "position_buckets": -1,
        "embedding_size": 0,
    }

    vocab_size: int = 128100
    hidden_size: int = 1536
    n_layers: int = 24
    n_heads: int = 24
    intermediate_size: int = 6144
    type_vocab_size: int = 0
    layer_norm_eps: float = 1e-7
    relative_attention: bool = False
    max_relative_positions: int = -1  # distances beyond it count as it; below 1: max_position_embeddings
    position_buckets: int = -1  # beyond half of them, distances share buckets by their logarithm; below 1: they do not
    position_biased_input: bool = True  # positions are embedded
    pos_att_type: tuple[str, ...] = ()  # terms by relative position
    share_att_key: bool = False  # relative positions have the keys and queries of tokens
    norm_rel_ebd: str = "none"
    embedding_size: int = 0  # 0: hidden_size

    @property
    def usable_length(self) -> int:
        """No bound where positions are relative alone."""
        return self.max_position_embeddings if self.position_biased_input else sys.maxsize

    @property
    def n_positions(self) -> int:
        """The number of distances in one direction that differ from each other."""
        return self.max_relative_positions if self.max_relative_positions > 0 else self.max_position_embeddings

    @property
    def span(self) -> int:
        """Half the number of vectors of relative positions."""
        return self.position_buckets if self.position_buckets > 0 else self.n_positions

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], path: Path) -> "DebertaV2Config":
        """Reads the object of a `config.json`, as `ArchitectureConfig.from_dict`.

        Raises:
            UserError: also if `attention_head_size` is not a head's share of the hidden size, or the buckets of
                distances are undefined.
        """
        config = super().from_dict(raw, path)
        size = config.hidden_size // config.n_heads
        n_buckets, n_positions = config.position_buckets, config.n_positions
        if raw.get("attention_head_size", size) != size:
            raise UserError(
                f"{path}: attention_head_size={raw['attention_head_size']!r} is not possible: it must be "
                f"hidden_size / num_attention_heads = {size}."
            )
        if n_buckets > 0 and (n_buckets == 1 or n_positions - 1 in (0, n_buckets // 2)):
            raise UserError(
                f"{path}: position_buckets={n_buckets} is not possible with max_relative_positions={n_positions}: "
                f"it must be at least 2, and max_relative_positions at least {n_buckets // 2 + 2}."
            )
        return config

    @classmethod
    def structures(cls, raw: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> dict[str, Any]:
        setting = raw.get("pos_att_type")
        terms = [term.strip() for term in setting.lower().split("|")] if isinstance(setting, str) else setting or []
        if not isinstance(terms, list) or any(term not in _TERMS for term in terms):
            raise UserError(
                f"{path}: pos_att_type={setting!r} is not possible: it must be a list of {' and '.join(_TERMS)}, "
                f"or a text of them such as '{'|'.join(_TERMS)}'."
            )
        embedding_size = values["embedding_size"]
        own_size = 0 if embedding_size == values["hidden_size"] else embedding_size
        return {"pos_att_type": tuple(term for term in _TERMS if term in terms), "embedding_size": own_size}

    def to_dict(self) -> dict[str, Any]:
        """The object of a `config.json` that `from_dict` reads back, without what Hugging Face too leaves out."""
        settings = {**super().to_dict(), "pos_att_type": list(self.pos_att_type) or None}
        optional = ("embedding_size", "norm_rel_ebd", "position_buckets", "share_att_key")
        unset = {key for key in optional if getattr(self, key) == getattr(DebertaV2Config, key)}
        return {key: value for key, value in settings.items() if key not in unset}


class DebertaEmbeddings(nnx.Module):
    """The sum of word and, where there are such, position and token type embeddings, normalised; 0 at padding."""

    def __init__(self, config: DebertaV2Config, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        size, hidden_size = config.embedding_size or config.hidden_size, config.hidden_size
        n_positions, n_types = config.max_position_embeddings, config.type_vocab_size
        self.word = Embedding(config.vocab_size, size, dtype, rngs)
        self.position = Embedding(n_positions, size, dtype, rngs) if config.position_biased_input else None
        self.token_type = Embedding(n_types, size, dtype, rngs) if n_types else None
        self.projection = linear(size, hidden_size, dtype, rngs, bias=False) if size != hidden_size else None
        self.norm = layer_norm(hidden_size, config.layer_norm_eps, rngs)

    def __call__(
        self,
        input_ids: Int[Array, "batch token"],
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        noise: Noise = SILENT,
    ) -> Float[Array, "batch token hidden"]:
        embedded = self.word(input_ids)
        if self.position is not None:
            embedded += self.position(positions_from_left(attention_mask))
        if self.token_type is not None:
            embedded += self.token_type(token_type_ids)
        if self.projection is not None:
            embedded = self.projection(embedded).astype(jnp.float32)
        return noise("embeddings", jnp.where(real_tokens(attention_mask)[:, :, None], self.norm(embedded), 0.0))


class RelativePositions(nnx.Module):
    """The vectors of relative positions that all layers attend by."""

    def __init__(self, config: DebertaV2Config, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        size, normed = config.hidden_size, config.norm_rel_ebd == "layer_norm"
        self.vectors = Embedding(2 * config.span, size, dtype, rngs) if config.relative_attention else None
        self.norm = layer_norm(size, config.layer_norm_eps, rngs) if normed else None

    def __call__(self, numbers: Int[np.ndarray, " distance"]) -> Float[Array, "distance hidden"] | None:
        """The vectors of these numbers, normalised where they are; None without relative attention."""
        if self.vectors is None:
            return None
        vectors = self.vectors(jnp.asarray(numbers))
        return vectors if self.norm is None else self.norm(vectors)


class DebertaLayer(PostNormLayer):
    """A layer of disentangled attention."""

    def __init__(self, config: DebertaV2Config, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        super().__init__(config, DisentangledAttention(config, dtype, rngs=rngs), dtype, rngs=rngs)


class DebertaV2(Encoder):
    """A DeBERTa v2 or v3 encoder."""

    config_type = DebertaV2Config
    embeddings_type = DebertaEmbeddings
    layer_type = DebertaLayer
    dropouts: ClassVar[Dropouts] = {**Bert.dropouts, "positions": ("hidden_dropout_prob", 0.1)}
    sentence_head: ClassVar[HeadTable] = HeadTable(
        "classifier",
        dense="pooler.dense",
        activation="gelu",
        dropout=(("cls_dropout", "hidden_dropout_prob"), 0.1),
        settings={"pooler_hidden_act": "gelu", "pooler_dropout": 0},
    )
    word_head: ClassVar[HeadTable] = HeadTable("classifier", dropout=(("hidden_dropout_prob",), 0.1))
    weights: ClassVar[WeightTable] = WeightTable(
        names={
            **Bert.weights.names,
            "embeddings.projection.kernel": "embeddings.embed_proj.weight",
            "shared.vectors.embedding": "encoder.rel_embeddings.weight",
            "shared.norm.scale": "encoder.LayerNorm.weight",
            "shared.norm.bias": "encoder.LayerNorm.bias",
            "layers.attention.query.kernel": "encoder.layer.{}.attention.self.query_proj.weight",
            "layers.attention.query.bias": "encoder.layer.{}.attention.self.query_proj.bias",
            "layers.attention.key.kernel": "encoder.layer.{}.attention.self.key_proj.weight",
            "layers.attention.key.bias": "encoder.layer.{}.attention.self.key_proj.bias",
            "layers.attention.value.kernel": "encoder.layer.{}.attention.self.value_proj.weight",
            "layers.attention.value.bias": "encoder.layer.{}.attention.self.value_proj.bias",
            "layers.attention.position_key.kernel": "encoder.layer.{}.attention.self.pos_key_proj.weight",
            "layers.attention.position_key.bias": "encoder.layer.{}.attention.self.pos_key_proj.bias",
            "layers.attention.position_query.kernel": "encoder.layer.{}.attention.self.pos_query_proj.weight",
            "layers.attention.position_query.bias": "encoder.layer.{}.attention.self.pos_query_proj.bias",
        },
        prefix="deberta.",
        ignored=r"(pooler|cls|lm_predictions|mask_predictions|classifier|qa_outputs)\..*"
        r"|embeddings\.(position_ids|position_embeddings\.weight)",
    )

    def shared_by_layers(self, config: DebertaV2Config, dtype: jnp.dtype, rngs: nnx.Rngs) -> RelativePositions:
        return RelativePositions(config, dtype, rngs=rngs)

    def relate(
        self,
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        queries: Int[Array, "batch query"],
    ) -> Relations:
        del token_type_ids
        assert isinstance(self.shared, RelativePositions)
        positions = self.shared(position_numbers(self.config, attention_mask.shape[1]))
        return Relations(visible_tokens(attention_mask, queries), queries, positions)

    def with_noise(self, relations: Relations, noise: Noise) -> Relations:
        if relations.positions is None:
            return relations
        return relations._replace(positions=noise("positions", relations.positions))


def position_numbers(config: DebertaV2Config, n_tokens: int) -> Int[np.ndarray, " distance"]:
    """The vectors of distances n_tokens, n_tokens - 1, ... -n_tokens of a token i to a token j, i - j."""
    distances = np.arange(n_tokens, -n_tokens - 1, -1)
    if config.position_buckets > 0:
        distances = log_buckets(distances, config.position_buckets, config.n_positions)
    return np.clip(distances + config.span, 0, 2 * config.span - 1)
