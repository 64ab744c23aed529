"""Mistral: Llama with a window.

Reference: Jiang et al., "Mistral 7B" (2023). The numbers are those of Hugging Face's `MistralModel`.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxred.models.decoder_config import DecoderConfig
from jaxred.models.llama import Llama


@dataclass(frozen=True)
class MistralConfig(DecoderConfig):
    """The shape of a Mistral."""

    model_type: ClassVar[str] = "mistral"
    title: ClassVar[str] = "Mistral"
    model_class: ClassVar[str] = "MistralModel"

    num_key_value_heads: int | None = 8
    intermediate_size: int = 14336
    max_position_embeddings: int = 4096 * 32
    sliding_window: int | None = 4096  # of every layer; null: none

    @property
    def window(self) -> int:
        return self.sliding_window or 0


class Mistral(Llama):
    """A Mistral decoder."""

    config_type = MistralConfig
