"""Qwen3: Qwen2 with norms of queries and keys.

Reference: Yang et al., "Qwen3 Technical Report" (2025). The numbers are those of Hugging Face's `Qwen3Model`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxred.models.attention import AttentionShape
from jaxred.models.decoder_config import with_biases
from jaxred.models.llama import Llama
from jaxred.models.qwen2 import Qwen2Config


@dataclass(frozen=True)
class Qwen3Config(Qwen2Config):
    """The shape of a Qwen3."""

    model_type: ClassVar[str] = "qwen3"
    title: ClassVar[str] = "Qwen3"
    model_class: ClassVar[str] = "Qwen3Model"

    head_dim: int | None = 128
    attention_bias: bool = False

    @property
    def attention_shape(self) -> AttentionShape:
        shape = dataclasses.replace(super().attention_shape, head_norm_epsilon=self.rms_norm_eps)
        return with_biases(shape, self.attention_bias)

    def to_dict(self) -> dict[str, Any]:
        """The object of a `config.json` that `from_dict` reads back."""
        return {**super().to_dict(), "head_dim": self.head_size}


class Qwen3(Llama):
    """A Qwen3 decoder."""

    config_type = Qwen3Config
