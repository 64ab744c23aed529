"""ELECTRA, a BERT whose embeddings may be smaller than its layers.

Reference: Clark, Luong, Le, Manning, "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators"
(ICLR 2020). The numbers are those of Hugging Face's `ElectraModel`, of a generator or a discriminator.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxred.models.bert import Bert, BertConfig, BertEmbeddings
from jaxred.models.heads import CLASSIFIER_DROPOUT, HeadTable, pooled_head
from jaxred.models.weight_table import WeightTable


@dataclass(frozen=True)
class ElectraConfig(BertConfig):
    """The shape of an ELECTRA."""

    model_type: ClassVar[str] = "electra"
    title: ClassVar[str] = "ELECTRA"
    model_class: ClassVar[str] = "ElectraModel"

    hidden_size: int = 256
    n_heads: int = 4
    intermediate_size: int = 1024
    embedding_size: int = 128


class SmallEmbeddings(BertEmbeddings):
    """BERT's embeddings of a size of their own, mapped to the hidden size where that is another: layer 0."""

    def size(self, config: Any) -> int:
        return config.embedding_size


class Electra(Bert):
    """An ELECTRA encoder."""

    config_type = ElectraConfig
    embeddings_type = SmallEmbeddings
    sentence_head: ClassVar[HeadTable] = pooled_head(CLASSIFIER_DROPOUT, activation="gelu")
    weights: ClassVar[WeightTable] = dataclasses.replace(
        Bert.weights,
        names={
            **Bert.weights.names,
            "embeddings.projection.kernel": "embeddings_project.weight",
            "embeddings.projection.bias": "embeddings_project.bias",
        },
        prefix="electra.",
        ignored=r"(discriminator_predictions|generator_predictions|generator_lm_head|classifier|qa_outputs)\..*"
        r"|(sequence_summary|qa_outputs)\..*|embeddings\.(position_ids|token_type_ids)",
    )
