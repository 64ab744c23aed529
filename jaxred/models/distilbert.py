"""DistilBERT, a BERT without token types that returns the hidden states of every layer.

Reference: Sanh, Debut, Chaumond, Wolf, "DistilBERT, a distilled version of BERT" (2019). The numbers are those of
Hugging Face's `DistilBertModel`.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxred.models.architecture_config import ArchitectureConfig, Keys
from jaxred.models.bert import BertLayer
from jaxred.models.checkpoint import WeightTable
from jaxred.models.encoder import Encoder
from jaxred.models.linear import layer_norm


@dataclass(frozen=True)
class DistilBertConfig(ArchitectureConfig):
    """The shape of a DistilBERT."""

    model_type: ClassVar[str] = "distilbert"
    title: ClassVar[str] = "DistilBERT"
    model_class: ClassVar[str] = "DistilBertModel"
    keys: ClassVar[Keys] = {
        "hidden_size": ("dim", "hidden_size"),
        "n_layers": ("n_layers", "num_hidden_layers"),
        "n_heads": ("n_heads", "num_attention_heads"),
        "intermediate_size": ("hidden_dim",),
        "hidden_act": ("activation",),
    }

    vocab_size: int = 30522
    hidden_size: int = 768
    n_layers: int = 6
    n_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: int = 512
    pad_token_id: int = 0

    @property
    def type_vocab_size(self) -> int:
        """The tokenizer tells a second sentence from the first; the model does not look."""
        return 2

    @property
    def layer_norm_eps(self) -> float:
        """Not a setting of this architecture."""
        return 1e-12


class Embeddings(nnx.Module):
    """The sum of word and position embeddings, normalised: layer 0."""

    def __init__(self, config: DistilBertConfig, *, rngs: nnx.Rngs):
        self.word = nnx.Embed(config.vocab_size, config.hidden_size, rngs=rngs)
        self.position = nnx.Embed(config.max_position_embeddings, config.hidden_size, rngs=rngs)
        self.norm = layer_norm(config.hidden_size, config.layer_norm_eps, rngs)

    def __call__(
        self, input_ids: Int[Array, "batch token"], token_type_ids: Int[Array, "batch token"]
    ) -> Float[Array, "batch token hidden"]:
        del token_type_ids
        return self.norm(self.word(input_ids) + self.position(jnp.arange(input_ids.shape[1])[None]))


class DistilBert(Encoder):
    """A DistilBERT encoder, of BERT's layers."""

    config_type = DistilBertConfig
    embeddings_type = Embeddings
    layer_type = BertLayer
    weights: ClassVar[WeightTable] = WeightTable(
        names={
            "embeddings.word.embedding": "embeddings.word_embeddings.weight",
            "embeddings.position.embedding": "embeddings.position_embeddings.weight",
            "embeddings.norm.scale": "embeddings.LayerNorm.weight",
            "embeddings.norm.bias": "embeddings.LayerNorm.bias",
            "layers.query.kernel": "transformer.layer.{}.attention.q_lin.weight",
            "layers.query.bias": "transformer.layer.{}.attention.q_lin.bias",
            "layers.key.kernel": "transformer.layer.{}.attention.k_lin.weight",
            "layers.key.bias": "transformer.layer.{}.attention.k_lin.bias",
            "layers.value.kernel": "transformer.layer.{}.attention.v_lin.weight",
            "layers.value.bias": "transformer.layer.{}.attention.v_lin.bias",
            "layers.attention_output.kernel": "transformer.layer.{}.attention.out_lin.weight",
            "layers.attention_output.bias": "transformer.layer.{}.attention.out_lin.bias",
            "layers.attention_norm.scale": "transformer.layer.{}.sa_layer_norm.weight",
            "layers.attention_norm.bias": "transformer.layer.{}.sa_layer_norm.bias",
            "layers.intermediate.kernel": "transformer.layer.{}.ffn.lin1.weight",
            "layers.intermediate.bias": "transformer.layer.{}.ffn.lin1.bias",
            "layers.output.kernel": "transformer.layer.{}.ffn.lin2.weight",
            "layers.output.bias": "transformer.layer.{}.ffn.lin2.bias",
            "layers.output_norm.scale": "transformer.layer.{}.output_layer_norm.weight",
            "layers.output_norm.bias": "transformer.layer.{}.output_layer_norm.bias",
        },
        prefix="distilbert.",
        ignored=r"(vocab_transform|vocab_layer_norm|vocab_projector|pre_classifier|classifier|qa_outputs)\..*"
        r"|embeddings\.position_ids",
    )
