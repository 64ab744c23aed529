"""ModernBERT: rotary positions, gated feed-forward networks, and windows in two of three layers.

Reference: Warner et al., "Smarter, Better, Faster, Longer: A Modern Bidirectional Encoder for Fast, Memory Efficient,
and Long Context Finetuning and Inference" (ACL 2025). The numbers are those of Hugging Face's `ModernBertModel`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jaxred.errors import UserError
from jaxred.models.alternating import FULL, SLIDING, kinds_of_layers, of_layer
from jaxred.models.architecture_config import ArchitectureConfig, Keys
from jaxred.models.attention import Attention, AttentionShape, Relations
from jaxred.models.dropout import SILENT, Dropouts, Noise
from jaxred.models.encoder import Encoder
from jaxred.models.feed_forward import GatedFeedForward
from jaxred.models.heads import HeadTable
from jaxred.models.layer import PreNormLayer
from jaxred.models.linear import Embedding
from jaxred.models.norms import layer_norm
from jaxred.models.rotary import Rotary, checked_theta, rotation_of
from jaxred.models.token_layout import TokenLayout
from jaxred.models.token_rows import Mask, at_queries, positions_from_left, sentence_lengths, visible_tokens
from jaxred.models.weight_table import Stored, WeightTable

_FULL_ROTARY, _SLIDING_ROTARY = Rotary(160_000.0), Rotary(10_000.0)
_THETA = {FULL: ("global_rope_theta", _FULL_ROTARY), SLIDING: ("local_rope_theta", _SLIDING_ROTARY)}  # older files'


@dataclass(frozen=True)
class ModernBertConfig(ArchitectureConfig):
    """The shape of a ModernBERT."""

    model_type: ClassVar[str] = "modernbert"
    title: ClassVar[str] = "ModernBERT"
    model_class: ClassVar[str] = "ModernBertModel"
    tokens: ClassVar[TokenLayout] = TokenLayout()
    keys: ClassVar[Keys] = {
        "n_layers": ("num_hidden_layers",),
        "n_heads": ("num_attention_heads",),
        "hidden_act": ("hidden_activation",),
        "layer_norm_eps": ("norm_eps",),
    }
    only: ClassVar[Mapping[str, Any]] = {"partial_rotary_factor": 1.0}

    vocab_size: int = 50368
    hidden_size: int = 768
    n_layers: int = 22
    n_heads: int = 12
    intermediate_size: int = 1152
    hidden_act: str = "gelu"
    max_position_embeddings: int = 8192
    layer_norm_eps: float = 1e-5
    norm_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    local_attention: int = 128  # a token sees half as many on either side, where a layer has a window
    pad_token_id: int = 50283
    layer_types: tuple[str, ...] = ()  # of each layer; none: the first of every three sees the whole text
    full_rotary: Rotary = _FULL_ROTARY
    sliding_rotary: Rotary = _SLIDING_ROTARY

    @property
    def sliding_layers(self) -> tuple[bool, ...]:
        """Of each layer, whether it sees a window alone."""
        kinds = self.layer_types or _pattern(self.n_layers, 3)
        return tuple(kind == SLIDING for kind in kinds[: self.n_layers])

    @classmethod
    def structures(cls, raw: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """The kinds of layers and the rotary positions of each kind, of older files and present ones."""
        return {
            "layer_types": _layer_types(raw, values["n_layers"], path),
            "full_rotary": _rotary(raw, values, path, FULL),
            "sliding_rotary": _rotary(raw, values, path, SLIDING),
        }

    def check_heads(self, path: Path) -> None:
        """Rejects sizes of heads that cannot be turned in pairs.

        Raises:
            UserError: naming both settings.
        """
        super().check_heads(path)
        if self.hidden_size // self.n_heads % 2:
            raise UserError(
                f"{path}: hidden_size={self.hidden_size} by num_attention_heads={self.n_heads} makes heads of "
                f"{self.hidden_size // self.n_heads} values: rotary positions need an even number."
            )

    def to_dict(self) -> dict[str, Any]:
        """The object of a `config.json`, as present versions of transformers write it."""
        kinds = [SLIDING if sliding else FULL for sliding in self.sliding_layers]
        rotary = {FULL: self.full_rotary.to_raw(), SLIDING: self.sliding_rotary.to_raw()}
        return {**super().to_dict(), "layer_types": kinds, "rope_parameters": rotary}


def _pattern(n_layers: int, period: int) -> tuple[str, ...]:
    return tuple(SLIDING if index % period else FULL for index in range(n_layers))


def _layer_types(raw: Mapping[str, Any], n_layers: int, path: Path) -> tuple[str, ...]:
    kinds = kinds_of_layers(raw, n_layers, path)
    if kinds is not None:
        return kinds
    period = raw.get("global_attn_every_n_layers", 3)
    if not isinstance(period, int) or isinstance(period, bool) or period < 1:
        raise UserError(
            f"{path}: global_attn_every_n_layers={period!r} is not possible: it must be a whole number of at least 1."
        )
    return _pattern(n_layers, period)


def _rotary(raw: Mapping[str, Any], values: Mapping[str, Any], path: Path, kind: str) -> Rotary:
    """The rotary positions of one kind of layers; where an older file scales, it does so for both."""
    nested, scaling = raw.get("rope_parameters") or {}, raw.get("rope_scaling") or {}
    for key, value in (("rope_parameters", nested), ("rope_scaling", scaling)):
        if not isinstance(value, dict) or not isinstance(value.get(kind) or {}, dict):
            raise UserError(f"{path}: {key}={str(value)[:60]} is not possible: it must be an object of settings.")
    settings = {"rope_type": "default"} if nested.get(kind) is None else nested[kind]
    old_key, default = _THETA[kind]
    theta = checked_theta(raw, path, old_key, default.rope_theta, null_is_default=False)
    key = f"rope_parameters.{kind}"
    rotary = Rotary.read({**settings, **scaling}, path, key, values["max_position_embeddings"], theta)
    if rotary.partial_rotary_factor != 1:
        raise UserError(
            f"{path}: {key}.partial_rotary_factor={rotary.partial_rotary_factor} is not supported: jaxred runs "
            "ModernBERT with partial_rotary_factor=1.0 only."
        )
    return rotary


class ModernBertEmbeddings(nnx.Module):
    """The word embeddings, normalised: layer 0."""

    def __init__(self, config: ModernBertConfig, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        self.word = Embedding(config.vocab_size, config.hidden_size, dtype, rngs)
        self.norm = layer_norm(config.hidden_size, config.layer_norm_eps, rngs, config.norm_bias)

    def __call__(
        self,
        input_ids: Int[Array, "batch token"],
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        noise: Noise = SILENT,
    ) -> Float[Array, "batch token hidden"]:
        """The embeddings of tokens, wherever they stand."""
        del attention_mask, token_type_ids
        return noise("embeddings", self.norm(self.word(input_ids)))


class LayerRelations(NamedTuple):
    """What one layer is given in addition to the hidden states."""

    attention: Relations
    is_first: Bool[Array, ""]


class ModernBertAttention(Attention):
    """Attention by what a layer of its kind sees."""

    def __call__(
        self,
        hidden: Float[Array, "batch token hidden"],
        relations: LayerRelations,
        wanted: Float[Array, "batch query hidden"] | None = None,
        noise: Noise = SILENT,
    ) -> Float[Array, "batch query hidden"]:
        """The attention of the tokens that are wanted, or of all, to the tokens that they see."""
        return super().__call__(hidden, relations.attention, wanted, noise)


class ModernBertLayer(PreNormLayer):
    """A layer that normalises before each part; the first one's attention is given the embeddings as they are."""

    def __init__(self, config: ModernBertConfig, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        size, epsilon, bias = config.hidden_size, config.layer_norm_eps, config.attention_bias
        shape = AttentionShape(size, config.n_heads, bias=bias, output_bias=bias)
        self.attention = ModernBertAttention(shape, dtype, rngs=rngs)
        self.attention_norm = layer_norm(size, epsilon, rngs, config.norm_bias)
        self.feed_forward = GatedFeedForward(
            size, config.intermediate_size, config.hidden_act, dtype, bias=config.mlp_bias, rngs=rngs
        )
        self.feed_forward_norm = layer_norm(size, epsilon, rngs, config.norm_bias)

    def normalised(
        self, hidden: Float[Array, "batch token hidden"], relations: LayerRelations
    ) -> Float[Array, "batch token hidden"]:
        """What attention is given."""
        return jnp.where(relations.is_first, hidden, self.attention_norm(hidden))


class ModernBert(Encoder):
    """A ModernBERT encoder."""

    config_type = ModernBertConfig
    embeddings_type = ModernBertEmbeddings
    layer_type = ModernBertLayer
    dropouts: ClassVar[Dropouts] = {
        "embeddings": ("embedding_dropout", 0.0),
        "attention": ("attention_dropout", 0.0),
        "attended": ("attention_dropout", 0.0),
        "inner": ("mlp_dropout", 0.0),
    }
    sentence_head: ClassVar[HeadTable] = HeadTable(
        "classifier",
        dense="head.dense",
        dense_bias=False,
        activation="gelu",
        norm="head.norm",
        dropout=(("classifier_dropout",), 0.0),
        settings={"classifier_pooling": "cls", "classifier_bias": False, "classifier_activation": "gelu"},
    )
    word_head = sentence_head
    weights: ClassVar[WeightTable] = WeightTable(
        names={
            "embeddings.word.embedding": "embeddings.tok_embeddings.weight",
            "embeddings.norm.scale": "embeddings.norm.weight",
            "embeddings.norm.bias": "embeddings.norm.bias",
            "layers.attention_norm.scale": "layers.{}.attn_norm.weight",
            "layers.attention_norm.bias": "layers.{}.attn_norm.bias",
            "layers.attention.query.kernel": Stored("layers.{}.attn.Wqkv.weight", 0, 3),
            "layers.attention.query.bias": Stored("layers.{}.attn.Wqkv.bias", 0, 3),
            "layers.attention.key.kernel": Stored("layers.{}.attn.Wqkv.weight", 1, 3),
            "layers.attention.key.bias": Stored("layers.{}.attn.Wqkv.bias", 1, 3),
            "layers.attention.value.kernel": Stored("layers.{}.attn.Wqkv.weight", 2, 3),
            "layers.attention.value.bias": Stored("layers.{}.attn.Wqkv.bias", 2, 3),
            "layers.attention.output.kernel": "layers.{}.attn.Wo.weight",
            "layers.attention.output.bias": "layers.{}.attn.Wo.bias",
            "layers.feed_forward_norm.scale": "layers.{}.mlp_norm.weight",
            "layers.feed_forward_norm.bias": "layers.{}.mlp_norm.bias",
            "layers.feed_forward.gate.kernel": Stored("layers.{}.mlp.Wi.weight", 0, 2),
            "layers.feed_forward.gate.bias": Stored("layers.{}.mlp.Wi.bias", 0, 2),
            "layers.feed_forward.intermediate.kernel": Stored("layers.{}.mlp.Wi.weight", 1, 2),
            "layers.feed_forward.intermediate.bias": Stored("layers.{}.mlp.Wi.bias", 1, 2),
            "layers.feed_forward.output.kernel": "layers.{}.mlp.Wo.weight",
            "layers.feed_forward.output.bias": "layers.{}.mlp.Wo.bias",
            "final_norm.scale": "final_norm.weight",
            "final_norm.bias": "final_norm.bias",
        },
        prefix="model.",
        ignored=r"(head|decoder|classifier)\..*",
        absent=("layers.0.attn_norm.weight", "layers.0.attn_norm.bias"),
    )

    def norm_after_layers(self, config: ModernBertConfig, rngs: nnx.Rngs) -> nnx.Module:
        """The norm of the last layer's hidden states."""
        return layer_norm(config.hidden_size, config.layer_norm_eps, rngs, config.norm_bias)

    def relate(
        self,
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        queries: Int[Array, "batch query"],
    ) -> tuple[Relations, Relations]:
        """What layers attend by that see the whole text, and what those do that see a window."""
        del token_type_ids
        config = self.config
        head_size, window = config.hidden_size // config.n_heads, config.local_attention // 2 + 1
        keys_at, lengths = positions_from_left(attention_mask), sentence_lengths(attention_mask)
        n_tokens = attention_mask.shape[1]

        def seen(rotary: Rotary, window: int) -> Relations:
            of_queries, of_keys = (
                rotation_of(rotary, head_size, config.max_position_embeddings, n_tokens, *of)
                for of in ((at_queries(keys_at, queries), at_queries(lengths, queries)), (keys_at, lengths))
            )
            return Relations(visible_tokens(attention_mask, queries, window=window), of_queries, of_keys)

        return seen(config.full_rotary, 0), seen(config.sliding_rotary, window)

    def relations_of_layer(self, relations: tuple[Relations, Relations], index: int | Int[Array, ""]) -> LayerRelations:
        """What the layer attends by, and whether it is the first."""
        return LayerRelations(of_layer(self.config.sliding_layers, index, *relations), jnp.asarray(index) == 0)
