"""DistilBERT, a BERT without token types that returns the hidden states of every layer.

Reference: Sanh, Debut, Chaumond, Wolf, "DistilBERT, a distilled version of BERT" (2019). The numbers are those of
Hugging Face's `DistilBertModel`.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxred.models.architecture_config import ArchitectureConfig, Keys
from jaxred.models.bert import BertEmbeddings, BertLayer
from jaxred.models.dropout import Dropouts
from jaxred.models.encoder import Encoder
from jaxred.models.heads import HeadTable
from jaxred.models.token_layout import FAST, TokenLayout
from jaxred.models.weight_table import WeightTable


@dataclass(frozen=True)
class DistilBertConfig(ArchitectureConfig):
    """The shape of a DistilBERT."""

    model_type: ClassVar[str] = "distilbert"
    title: ClassVar[str] = "DistilBERT"
    model_class: ClassVar[str] = "DistilBertModel"
    tokens: ClassVar[TokenLayout] = TokenLayout(vocabularies=(FAST, "vocab.txt"))
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
    def layer_norm_eps(self) -> float:
        """Not a setting of this architecture."""
        return 1e-12


class DistilBert(Encoder):
    """A DistilBERT encoder, of BERT's layers."""

    config_type = DistilBertConfig
    embeddings_type = BertEmbeddings
    layer_type = BertLayer
    dropouts: ClassVar[Dropouts] = {
        "embeddings": ("dropout", 0.1),
        "attention": ("attention_dropout", 0.1),
        "fed": ("dropout", 0.1),
    }
    sentence_head: ClassVar[HeadTable] = HeadTable(
        "classifier",
        dense="pre_classifier",
        activation="relu",
        dropout=(("seq_classif_dropout",), 0.2),
    )
    word_head: ClassVar[HeadTable] = HeadTable("classifier", dropout=(("dropout",), 0.1))
    weights: ClassVar[WeightTable] = WeightTable(
        names={
            "embeddings.word.embedding": "embeddings.word_embeddings.weight",
            "embeddings.position.embedding": "embeddings.position_embeddings.weight",
            "embeddings.norm.scale": "embeddings.LayerNorm.weight",
            "embeddings.norm.bias": "embeddings.LayerNorm.bias",
            "layers.attention.query.kernel": "transformer.layer.{}.attention.q_lin.weight",
            "layers.attention.query.bias": "transformer.layer.{}.attention.q_lin.bias",
            "layers.attention.key.kernel": "transformer.layer.{}.attention.k_lin.weight",
            "layers.attention.key.bias": "transformer.layer.{}.attention.k_lin.bias",
            "layers.attention.value.kernel": "transformer.layer.{}.attention.v_lin.weight",
            "layers.attention.value.bias": "transformer.layer.{}.attention.v_lin.bias",
            "layers.attention.output.kernel": "transformer.layer.{}.attention.out_lin.weight",
            "layers.attention.output.bias": "transformer.layer.{}.attention.out_lin.bias",
            "layers.attention_norm.scale": "transformer.layer.{}.sa_layer_norm.weight",
            "layers.attention_norm.bias": "transformer.layer.{}.sa_layer_norm.bias",
            "layers.feed_forward.intermediate.kernel": "transformer.layer.{}.ffn.lin1.weight",
            "layers.feed_forward.intermediate.bias": "transformer.layer.{}.ffn.lin1.bias",
            "layers.feed_forward.output.kernel": "transformer.layer.{}.ffn.lin2.weight",
            "layers.feed_forward.output.bias": "transformer.layer.{}.ffn.lin2.bias",
            "layers.output_norm.scale": "transformer.layer.{}.output_layer_norm.weight",
            "layers.output_norm.bias": "transformer.layer.{}.output_layer_norm.bias",
        },
        prefix="distilbert.",
        ignored=r"(vocab_transform|vocab_layer_norm|vocab_projector|pre_classifier|classifier|qa_outputs)\..*"
        r"|embeddings\.position_ids",
    )
