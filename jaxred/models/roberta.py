"""RoBERTa, and XLM-RoBERTa and CamemBERT, which are the same model: BERT with positions that begin after the padding's.

References: Liu et al., "RoBERTa: A Robustly Optimized BERT Pretraining Approach" (2019); Conneau et al.,
"Unsupervised Cross-lingual Representation Learning at Scale" (ACL 2020); Martin et al., "CamemBERT: a Tasty French
Language Model" (ACL 2020). The numbers are those of Hugging Face's `RobertaModel`.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxred.models.bert import Bert, BertConfig, BertEmbeddings
from jaxred.models.heads import CLASSIFIER_DROPOUT, HeadTable, pooled_head
from jaxred.models.token_layout import FAST, TokenLayout
from jaxred.models.token_rows import Mask, is_packed, sentence_starts
from jaxred.models.weight_table import WeightTable


@dataclass(frozen=True)
class RobertaConfig(BertConfig):
    """The shape of a RoBERTa."""

    model_type: ClassVar[str] = "roberta"
    title: ClassVar[str] = "RoBERTa"
    model_class: ClassVar[str] = "RobertaModel"
    tokens: ClassVar[TokenLayout] = TokenLayout(vocabularies=(FAST, "vocab.json"))

    vocab_size: int = 50265
    pad_token_id: int = 1

    @property
    def usable_length(self) -> int:
        """The positions up to that of padding are not for tokens."""
        return self.max_position_embeddings - self.pad_token_id - 1


@dataclass(frozen=True)
class XLMRobertaConfig(RobertaConfig):
    """The shape of an XLM-RoBERTa."""

    model_type: ClassVar[str] = "xlm-roberta"
    title: ClassVar[str] = "XLM-RoBERTa"
    model_class: ClassVar[str] = "XLMRobertaModel"
    tokens: ClassVar[TokenLayout] = TokenLayout()

    vocab_size: int = 30522


@dataclass(frozen=True)
class CamembertConfig(XLMRobertaConfig):
    """The shape of a CamemBERT."""

    model_type: ClassVar[str] = "camembert"
    title: ClassVar[str] = "CamemBERT"
    model_class: ClassVar[str] = "CamembertModel"


def positions_after_padding(
    input_ids: Int[Array, "batch token"], attention_mask: Mask, pad_token_id: int
) -> Int[Array, "batch token"]:
    """Tokens count from one after the padding's number; padding, and text that is a padding token, stays there."""
    real = (input_ids != pad_token_id).astype(input_ids.dtype)
    count = jnp.cumsum(real, axis=1)
    if is_packed(attention_mask):  # from the start of each sentence
        count -= jnp.take_along_axis(count - real, sentence_starts(attention_mask), axis=1)
    return count * real + pad_token_id


class RobertaEmbeddings(BertEmbeddings):
    """The sum of word, token type and position embeddings, normalised: layer 0."""

    def positions(self, input_ids: Int[Array, "batch token"], attention_mask: Mask) -> Int[Array, "batch token"]:
        return positions_after_padding(input_ids, attention_mask, self.pad_token_id)


class Roberta(Bert):
    """A RoBERTa encoder."""

    config_type = RobertaConfig
    embeddings_type = RobertaEmbeddings
    sentence_head: ClassVar[HeadTable] = pooled_head(CLASSIFIER_DROPOUT)
    weights: ClassVar[WeightTable] = dataclasses.replace(
        Bert.weights,
        prefix="roberta.",
        renamed={},
        ignored=r"(pooler|lm_head|classifier|qa_outputs)\..*|embeddings\.(position_ids|token_type_ids)",
    )


class XLMRoberta(Roberta):
    """An XLM-RoBERTa encoder."""

    config_type = XLMRobertaConfig


class Camembert(Roberta):
    """A CamemBERT encoder."""

    config_type = CamembertConfig
