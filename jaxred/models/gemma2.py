"""Gemma 2: every second layer within a window, scores with a soft cap, and norms of what layers add.

Reference: Gemma Team, "Gemma 2: Improving Open Language Models at a Practical Size" (2024). The numbers are those of
Hugging Face's `Gemma2Model`.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jaxred.errors import UserError
from jaxred.models.architecture_config import Keys
from jaxred.models.attention import AttentionShape
from jaxred.models.decoder_config import AlternatingConfig, DecoderConfig, with_biases
from jaxred.models.llama import Llama
from jaxred.models.weight_table import WeightTable


@dataclass(frozen=True)
class GemmaConfig(AlternatingConfig):
    """The shape that Gemma 2 and Gemma 3 have in common."""

    keys: ClassVar[Keys] = {**DecoderConfig.keys, "hidden_act": ("hidden_activation",)}
    norm_offset: ClassVar[float] = 1.0
    scaled_embeddings: ClassVar[bool] = True
    norms_what_is_added: ClassVar[bool] = True

    vocab_size: int = 256000
    hidden_size: int = 2304
    n_layers: int = 26
    n_heads: int = 8
    num_key_value_heads: int | None = 4
    head_dim: int | None = 256
    intermediate_size: int = 9216
    hidden_act: str = "gelu_pytorch_tanh"
    max_position_embeddings: int = 8192
    attention_bias: bool = False
    query_pre_attn_scalar: int = 256  # the square of the scores' divisor
    sliding_window: int = 4096

    @property
    def window(self) -> int:
        return self.sliding_window

    @property
    def attention_shape(self) -> AttentionShape:
        shape = dataclasses.replace(super().attention_shape, divisor=math.sqrt(self.query_pre_attn_scalar))
        return with_biases(shape, self.attention_bias)

    @classmethod
    def structures(cls, raw: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> dict[str, Any]:
        if raw.get("use_bidirectional_attention"):
            raise UserError(
                f"{path}: use_bidirectional_attention={raw['use_bidirectional_attention']!r} is not supported: jaxred "
                f"runs {cls.title} with use_bidirectional_attention=False only."
            )
        return super().structures(raw, values, path)


@dataclass(frozen=True)
class Gemma2Config(GemmaConfig):
    """The shape of a Gemma 2; `final_logit_softcapping` changes none of the hidden states."""

    model_type: ClassVar[str] = "gemma2"
    title: ClassVar[str] = "Gemma 2"
    model_class: ClassVar[str] = "Gemma2Model"

    attn_logit_softcapping: float | None = 50.0

    def slides(self, index: int) -> bool:
        return index % 2 == 0

    @property
    def attention_shape(self) -> AttentionShape:
        return dataclasses.replace(super().attention_shape, soft_cap=self.attn_logit_softcapping or 0.0)


class Gemma2(Llama):
    """A Gemma 2 decoder."""

    config_type = Gemma2Config
    weights: ClassVar[WeightTable] = dataclasses.replace(
        Llama.weights,
        names={
            **Llama.weights.names,
            "layers.attended_norm.scale": "layers.{}.post_attention_layernorm.weight",
            "layers.feed_forward_norm.scale": "layers.{}.pre_feedforward_layernorm.weight",
            "layers.fed_norm.scale": "layers.{}.post_feedforward_layernorm.weight",
        },
    )
