"""Gemma 3 for text: Gemma 2 with norms of queries and keys, and rotary positions of their own within windows.

Reference: Gemma Team, "Gemma 3 Technical Report" (2025). The numbers are those of Hugging Face's `Gemma3TextModel`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from jaxred.errors import UserError
from jaxred.models.alternating import FULL, SLIDING
from jaxred.models.attention import AttentionShape
from jaxred.models.decoder_config import DEFAULT_ROTARY, as_object
from jaxred.models.gemma2 import Gemma2, GemmaConfig
from jaxred.models.heads import HeadTable
from jaxred.models.rotary import Rotary, checked_theta

_ROTARY = Rotary(1_000_000.0)
_PATTERN = 6  # of so many layers the last attends without a window


@dataclass(frozen=True)
class Gemma3Config(GemmaConfig):
    """The shape of a Gemma 3 for text; the settings of soft caps change none of the hidden states."""

    model_type: ClassVar[str] = "gemma3_text"
    title: ClassVar[str] = "Gemma 3"
    model_class: ClassVar[str] = "Gemma3TextModel"

    vocab_size: int = 262_208
    max_position_embeddings: int = 131_072
    rotary: Rotary = _ROTARY
    local_rotary: Rotary = DEFAULT_ROTARY

    def slides(self, index: int) -> bool:
        return (index + 1) % _PATTERN > 0

    @property
    def sliding_rotary(self) -> Rotary:
        return self.local_rotary

    @property
    def attention_shape(self) -> AttentionShape:
        return dataclasses.replace(
            super().attention_shape, head_norm_epsilon=self.rms_norm_eps, head_norm_offset=self.norm_offset
        )

    @classmethod
    def structures(cls, raw: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """The kinds of layers and the rotary positions of each kind.

        These are in `rope_parameters`, an object by kind; in older files, in `rope_theta` and `rope_scaling` for layers
        without a window, in `rope_local_base_freq` for the others.
        """
        without_rotary = {name: value for name, value in raw.items() if name not in ("rope_parameters", "rope_scaling")}
        structures = super().structures(without_rotary, values, path)
        by_kind = as_object(raw.get("rope_parameters"), path, "rope_parameters")
        scaling = as_object(raw.get("rope_scaling"), path, "rope_scaling")
        for field, kind, theta_key, theta, added in (
            ("rotary", FULL, "rope_theta", _ROTARY.rope_theta, scaling),
            ("local_rotary", SLIDING, "rope_local_base_freq", DEFAULT_ROTARY.rope_theta, {}),
        ):
            key = f"rope_parameters.{kind}"
            settings = {**as_object(by_kind.get(kind), path, key), **added}
            theta = checked_theta(raw, path, theta_key, theta)
            key = "rope_scaling" if added else key
            structures[field] = Rotary.read(settings, path, key, values["max_position_embeddings"], theta)
        pattern = raw.get("sliding_window_pattern", _PATTERN)
        if isinstance(pattern, bool) or not isinstance(pattern, int) or pattern < 1:
            raise UserError(
                f"{path}: sliding_window_pattern={pattern!r} is not possible: it must be a whole number of at least 1."
            )
        if "layer_types" not in structures:
            kinds = (SLIDING if (index + 1) % pattern else FULL for index in range(values["n_layers"]))
            structures["layer_types"] = tuple(kinds)
        return structures

    def to_dict(self) -> dict[str, Any]:
        """The object of a `config.json` that `from_dict` reads back."""
        by_kind = {FULL: self.rotary.to_raw(), SLIDING: self.local_rotary.to_raw()}
        return {**super().to_dict(), "rope_parameters": by_kind}


class Gemma3(Gemma2):
    """A Gemma 3 decoder for text."""

    config_type = Gemma3Config
    word_head: ClassVar[HeadTable | None] = None  # Hugging Face has no such model
