"""Qwen2 and Qwen2.5: Llama with biases of queries, keys and values, and windows of the last layers.

Reference: Yang et al., "Qwen2 Technical Report" (2024). The numbers are those of Hugging Face's `Qwen2Model`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jaxred.errors import UserError
from jaxred.models.attention import AttentionShape
from jaxred.models.decoder_config import SLIDING, AlternatingConfig
from jaxred.models.llama import Llama


@dataclass(frozen=True)
class Qwen2Config(AlternatingConfig):
    """The shape of a Qwen2."""

    model_type: ClassVar[str] = "qwen2"
    title: ClassVar[str] = "Qwen2"
    model_class: ClassVar[str] = "Qwen2Model"
    least: ClassVar[Mapping[str, int]] = {"max_window_layers": 0}

    vocab_size: int = 151936
    num_key_value_heads: int | None = 32
    intermediate_size: int = 22016
    max_position_embeddings: int = 32768
    use_sliding_window: bool = False
    sliding_window: int | None = 4096
    max_window_layers: int = 28  # layers without a window, where layer_types says nothing; the others have one

    @property
    def window(self) -> int:
        return (self.sliding_window or 0) if self.use_sliding_window else 0

    def slides(self, index: int) -> bool:
        return self.window > 0 and index >= self.max_window_layers

    @property
    def attention_shape(self) -> AttentionShape:
        return dataclasses.replace(super().attention_shape, bias=True)

    @classmethod
    def structures(cls, raw: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> dict[str, Any]:
        structures = super().structures(raw, values, path)
        windowed = values["use_sliding_window"] and values["sliding_window"]
        if SLIDING in structures.get("layer_types", ()) and not windowed:
            raise UserError(
                f"{path}: layer_types has {SLIDING} without a window: set use_sliding_window=true and sliding_window, "
                f"or take the file of the model."
            )
        return structures

    def to_dict(self) -> dict[str, Any]:
        """The object of a `config.json` that `from_dict` reads back."""
        raw = {**super().to_dict(), "sliding_window": self.window or None}
        if self.head_size * self.n_heads == self.hidden_size:
            del raw["head_dim"]
        return raw


class Qwen2(Llama):
    """A Qwen2 decoder."""

    config_type = Qwen2Config
