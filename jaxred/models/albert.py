"""ALBERT, a BERT whose layers share their weights and whose embeddings are smaller than its layers.

Reference: Lan, Chen, Goodman, Gimpel, Sharma, Soricut, "ALBERT: A Lite BERT for Self-supervised Learning of Language
Representations" (ICLR 2020). The numbers are those of Hugging Face's `AlbertModel`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from jaxred.errors import UserError
from jaxred.models.architecture_config import Keys
from jaxred.models.bert import Bert, BertConfig, BertLayer
from jaxred.models.dropout import Dropouts
from jaxred.models.electra import SmallEmbeddings
from jaxred.models.encoder import Encoder
from jaxred.models.heads import HeadTable
from jaxred.models.weight_table import WeightTable

_LAYER = "encoder.albert_layer_groups.{}.albert_layers.0."


@dataclass(frozen=True)
class AlbertConfig(BertConfig):
    """The shape of an ALBERT."""

    model_type: ClassVar[str] = "albert"
    title: ClassVar[str] = "ALBERT"
    model_class: ClassVar[str] = "AlbertModel"
    keys: ClassVar[Keys] = {**BertConfig.keys, "n_groups": ("num_hidden_groups",)}
    only: ClassVar[Mapping[str, Any]] = {"inner_group_num": 1, "position_embedding_type": "absolute"}

    vocab_size: int = 30000
    hidden_size: int = 4096
    n_heads: int = 64
    intermediate_size: int = 16384
    hidden_act: str = "gelu_new"
    embedding_size: int = 128
    n_groups: int = 1  # each a layer's weights, run as the layers of its part of the depth

    @classmethod
    def structures(cls, raw: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """Nothing but a check: every group has a layer.

        Raises:
            UserError: if there are more groups than layers.
        """
        del raw
        if values["n_groups"] > max(values["n_layers"], 1):
            raise UserError(
                f"{path}: num_hidden_groups={values['n_groups']} is not possible: it must be at most the number of "
                f"layers, {values['n_layers']}."
            )
        return {}


class MappedEmbeddings(SmallEmbeddings):
    """BERT's embeddings of a size of their own, always mapped to the hidden size: layer 0."""

    def is_mapped(self, config: AlbertConfig) -> bool:
        return True


class Albert(Encoder):
    """An ALBERT encoder, of BERT's layers."""

    config_type = AlbertConfig
    embeddings_type = MappedEmbeddings
    layer_type = BertLayer
    dropouts: ClassVar[Dropouts] = {
        "embeddings": ("hidden_dropout_prob", 0.0),
        "attention": ("attention_probs_dropout_prob", 0.0),
        "attended": ("hidden_dropout_prob", 0.0),
    }
    sentence_head: ClassVar[HeadTable] = HeadTable(
        "classifier",
        dense="albert.pooler",
        dropout=(("classifier_dropout_prob",), 0.1),
    )
    word_head: ClassVar[HeadTable] = HeadTable(
        "classifier",
        dropout=(("classifier_dropout_prob", "hidden_dropout_prob"), 0.1),
    )
    weights: ClassVar[WeightTable] = WeightTable(
        names={
            **Bert.weights.names,
            "embeddings.projection.kernel": "encoder.embedding_hidden_mapping_in.weight",
            "embeddings.projection.bias": "encoder.embedding_hidden_mapping_in.bias",
            "layers.attention.query.kernel": _LAYER + "attention.query.weight",
            "layers.attention.query.bias": _LAYER + "attention.query.bias",
            "layers.attention.key.kernel": _LAYER + "attention.key.weight",
            "layers.attention.key.bias": _LAYER + "attention.key.bias",
            "layers.attention.value.kernel": _LAYER + "attention.value.weight",
            "layers.attention.value.bias": _LAYER + "attention.value.bias",
            "layers.attention.output.kernel": _LAYER + "attention.dense.weight",
            "layers.attention.output.bias": _LAYER + "attention.dense.bias",
            "layers.attention_norm.scale": _LAYER + "attention.LayerNorm.weight",
            "layers.attention_norm.bias": _LAYER + "attention.LayerNorm.bias",
            "layers.feed_forward.intermediate.kernel": _LAYER + "ffn.weight",
            "layers.feed_forward.intermediate.bias": _LAYER + "ffn.bias",
            "layers.feed_forward.output.kernel": _LAYER + "ffn_output.weight",
            "layers.feed_forward.output.bias": _LAYER + "ffn_output.bias",
            "layers.output_norm.scale": _LAYER + "full_layer_layer_norm.weight",
            "layers.output_norm.bias": _LAYER + "full_layer_layer_norm.bias",
        },
        prefix="albert.",
        ignored=r"(pooler|pooler_activation|predictions|sop_classifier|classifier|qa_outputs)\..*"
        r"|embeddings\.(position_ids|token_type_ids)",
    )

    def stored_layer(self, index: Any) -> Any:
        """The group of the layer `index`."""
        whole, n_groups = self.depth, self.config.n_groups
        groups = (np.arange(whole) / (whole / n_groups)).astype(int) if whole else np.zeros(1, int)
        return int(groups[index]) if isinstance(index, int) else jnp.asarray(groups)[index]
