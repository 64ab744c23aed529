"""What the configurations of decoders have in common that are built like Llama: grouped heads, rotary positions, and
layers with a window or without.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from jaxred.errors import UserError
from jaxred.models.alternating import FULL, SLIDING, kinds_of_layers
from jaxred.models.architecture_config import ArchitectureConfig, Keys
from jaxred.models.attention import AttentionShape
from jaxred.models.rotary import Rotary, checked_theta
from jaxred.models.token_layout import CAUSAL, TokenLayout

DEFAULT_ROTARY = Rotary(10_000.0)


@dataclass(frozen=True)
class DecoderConfig(ArchitectureConfig):
    """The shape that Llama and its kin have in common."""

    tokens: ClassVar[TokenLayout] = CAUSAL
    keys: ClassVar[Keys] = {"n_layers": ("num_hidden_layers",), "n_heads": ("num_attention_heads",)}
    norm_offset: ClassVar[float] = 0.0  # of the scales of norms
    scaled_embeddings: ClassVar[bool] = False  # by the root of the hidden size
    norms_what_is_added: ClassVar[bool] = False  # of attention and of the feed-forward network

    vocab_size: int = 32000
    hidden_size: int = 4096
    n_layers: int = 32
    n_heads: int = 32
    num_key_value_heads: int | None = None  # null: as many as heads
    head_dim: int | None = None  # null: the hidden size's share
    intermediate_size: int = 11008
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rotary: Rotary = DEFAULT_ROTARY

    @property
    def n_key_heads(self) -> int:
        """The number of heads of keys and of values."""
        return self.num_key_value_heads or self.n_heads

    @property
    def head_size(self) -> int:
        """The size of every head."""
        return self.head_dim or self.hidden_size // self.n_heads

    @property
    def window(self) -> int:
        """How many tokens a token sees where a layer attends within a window, itself included; 0: there is none."""
        return 0

    @property
    def sliding(self) -> tuple[bool, ...]:
        """Of every layer, whether it attends within the window."""
        return (self.window > 0,) * self.n_layers

    @property
    def sliding_rotary(self) -> Rotary:
        """The rotary positions of layers that attend within the window."""
        return self.rotary

    @property
    def attention_shape(self) -> AttentionShape:
        """That of every layer."""
        return AttentionShape(
            self.hidden_size, self.n_heads, self.n_key_heads, self.head_size, bias=False, output_bias=False
        )

    @property
    def has_feed_forward_bias(self) -> bool:
        """Whether the maps of the feed-forward network have biases."""
        return False

    @classmethod
    def structures(cls, raw: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """The rotary positions, of `rope_parameters` or, in older files, of `rope_theta` and `rope_scaling`."""
        key = "rope_scaling" if raw.get("rope_scaling") else "rope_parameters"
        settings = as_object(raw.get(key), path, key)
        nested = [name for name, value in settings.items() if isinstance(value, dict)]
        if nested:
            raise UserError(
                f"{path}: {key} has settings of their own for {nested[0]}, which is not supported: "
                f"jaxred runs {cls.title} with the same for all layers."
            )
        if raw.get("original_max_position_embeddings") is not None:
            settings["original_max_position_embeddings"] = raw["original_max_position_embeddings"]
        theta = checked_theta(raw, path, "rope_theta", DEFAULT_ROTARY.rope_theta)
        return {"rotary": Rotary.read(settings, path, key, values["max_position_embeddings"], theta)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], path: Path) -> Any:
        """Reads the object of a `config.json`, as `ArchitectureConfig.from_dict`.

        Raises:
            UserError: also if a part of the heads' rotation is left out, which Hugging Face's models of this kind
                cannot do either.
        """
        config = super().from_dict(raw, path)
        rotaries = config.rotary, config.sliding_rotary
        partial = {raw.get("partial_rotary_factor") or 1, *(each.partial_rotary_factor for each in rotaries)} - {1}
        if partial:
            raise UserError(
                f"{path}: partial_rotary_factor={partial.pop()!r} is not supported: "
                f"jaxred runs {cls.title} with partial_rotary_factor=1.0 only."
            )
        return config

    def check_heads(self, path: Path) -> None:
        """Rejects heads that do not share the hidden size or the keys, or whose values do not make pairs to turn.

        Raises:
            UserError: naming the settings.
        """
        if self.head_dim is None:
            super().check_heads(path)
        if self.n_heads % self.n_key_heads:
            raise UserError(
                f"{path}: num_attention_heads={self.n_heads} does not divide into num_key_value_heads="
                f"{self.n_key_heads}: it must be a multiple of it."
            )
        if self.head_size % 2:
            raise UserError(
                f"{path}: head_dim={self.head_size} is not possible: it must be even, for rotary positions turn pairs "
                f"of a head's values."
            )
        for rotary in (self.rotary, self.sliding_rotary):
            rotary.check_head(self.head_size, path)

    def to_dict(self) -> dict[str, Any]:
        """The object of a `config.json` that `from_dict` reads back."""
        heads = {"num_key_value_heads": self.n_key_heads, "head_dim": self.head_size}
        return {**super().to_dict(), **heads, "rope_parameters": self.rotary.to_raw()}


@dataclass(frozen=True)
class AlternatingConfig(DecoderConfig):
    """The shape of decoders of which each layer has its own kind of attention, with a window or without."""

    layer_types: tuple[str, ...] = ()  # of every layer; (): as `slides` says

    def slides(self, index: int) -> bool:
        """Whether the layer attends within the window, where `layer_types` does not say it."""
        raise NotImplementedError

    @property
    def sliding(self) -> tuple[bool, ...]:
        if self.layer_types:
            return tuple(kind == SLIDING for kind in self.layer_types[: self.n_layers])
        return tuple(map(self.slides, range(self.n_layers)))

    @classmethod
    def structures(cls, raw: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """The rotary positions and the kinds of layers."""
        kinds = kinds_of_layers(raw, values["n_layers"], path)
        return super().structures(raw, values, path) | ({} if kinds is None else {"layer_types": kinds})

    def to_dict(self) -> dict[str, Any]:
        """The object of a `config.json` that `from_dict` reads back."""
        return {**super().to_dict(), "layer_types": [SLIDING if slides else FULL for slides in self.sliding]}


def as_object(value: Any, path: Path, key: str) -> dict[str, Any]:
    """A copy of an object of settings; null is an empty one.

    Raises:
        UserError: if it is something else.
    """
    if value is not None and not isinstance(value, dict):
        raise UserError(f"{path}: {key}={str(value)[:60]} is not possible: it must be an object or null.")
    return dict(value or {})


def with_biases(shape: AttentionShape, bias: bool) -> AttentionShape:
    """The shape with biases of all its maps, or with none."""
    return replace(shape, bias=bias, output_bias=bias)
