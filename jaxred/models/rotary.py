"""Rotary positions: the angles by which the heads of queries and keys are turned, and the scalings in use.

Reference: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021); for the scalings Peng et
al., "YaRN: Efficient Context Window Extension of Large Language Models" (ICLR 2024). The numbers are Hugging Face's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxred.errors import UserError

_TYPES = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")
_NEEDED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "longrope": ("short_factor", "long_factor"),
}


@dataclass(frozen=True)
class Rotary:
    """The rotary positions of a configuration, each setting as `config.json` names it; 0 where it says nothing."""

    rope_theta: float
    rope_type: str = "default"
    factor: float = 0.0
    partial_rotary_factor: float = 1.0
    original_max_position_embeddings: int = 0
    low_freq_factor: float = 0.0
    high_freq_factor: float = 0.0
    beta_fast: float = 0.0
    beta_slow: float = 0.0
    attention_factor: float = 0.0
    mscale: float = 0.0
    mscale_all_dim: float = 0.0
    truncate: bool = True
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()

    @classmethod
    def read(cls, raw: Mapping[str, Any], path: Path, key: str, max_positions: int, theta: float) -> "Rotary":
        """Reads one object of rotary settings.

        Args:
            raw: the object, without what stands elsewhere in the file.
            path: the file, for messages.
            key: where the object is in it, for messages.
            max_positions: the model's positions.
            theta: the base, where the object has none.

        Raises:
            UserError: naming a scaling that is not known, a setting that it needs, or one that is impossible.
        """
        kind = raw.get("rope_type", raw.get("type", "default"))
        if kind not in _TYPES:
            raise UserError(
                f"{path}: {key} has rope_type={kind!r}, which is not supported: jaxred runs {', '.join(_TYPES)}."
            )
        values: dict[str, Any] = {"rope_theta": theta, "rope_type": kind}
        for name in cls.__dataclass_fields__:
            value = raw.get(name)
            if name == "rope_type" or value is None:
                continue
            values[name] = _checked(value, f"{path}: {key}.{name}", name)
        missing = [name for name in _NEEDED.get(kind, ()) if not values.get(name)]
        if missing:
            raise UserError(f"{path}: {key} has rope_type={kind!r} without {missing[0]}: take the file of the model.")
        if kind in ("llama3", "yarn", "longrope"):
            values.setdefault("original_max_position_embeddings", max_positions)
        if kind in ("yarn", "longrope"):
            values.setdefault("factor", max_positions / values["original_max_position_embeddings"])
        return cls(**values)

    def check_head(self, head_size: int, path: Path) -> None:
        """Rejects settings that do not fit the size of a head.

        Raises:
            UserError: naming the setting.
        """
        n_pairs = int(head_size * self.partial_rotary_factor) // 2
        for name in ("short_factor", "long_factor"):
            factors = getattr(self, name)
            if self.rope_type == "longrope" and len(factors) != n_pairs:
                raise UserError(
                    f"{path}: {name} has {len(factors)} numbers, not one for each of the {n_pairs} pairs of a head's "
                    f"values: take the file of the model."
                )
        if self.rope_type == "dynamic" and n_pairs < 2:
            raise UserError(
                f"{path}: rope_type='dynamic' is not possible with {n_pairs} pair of a head's values: it needs two."
            )

    def to_raw(self) -> dict[str, Any]:
        """The object that `read` reads back."""
        defaults = Rotary(self.rope_theta)
        changed = {
            name: list(value) if isinstance(value, tuple) else value
            for name in self.__dataclass_fields__
            if (value := getattr(self, name)) != getattr(defaults, name)
        }
        return {"rope_theta": self.rope_theta, "rope_type": self.rope_type, **changed}

    def frequencies(
        self, head_size: int, max_positions: int, n_tokens: int
    ) -> tuple[Float[np.ndarray, " pair"], float]:
        """The angle by which each pair of a head turns from one token to the next, and a factor of the turned values.

        Args:
            head_size: of a head.
            max_positions: the model's positions.
            n_tokens: of the sentence; beyond what a model was trained with, `dynamic` and `longrope` depend on it.
        """
        size = int(head_size * self.partial_rotary_factor)
        exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
        base = self.rope_theta
        if self.rope_type == "dynamic":
            length = max(n_tokens, max_positions)
            base *= (self.factor * length / max_positions - (self.factor - 1)) ** (size / (size - 2))
        powers = np.power(np.float64(base), np.float64(exponents)).astype(np.float32)
        if self.rope_type == "longrope":
            factors = self.long_factor if n_tokens > self.original_max_position_embeddings else self.short_factor
            return np.float32(1) / (np.array(factors, np.float32) * powers), self._amplification()
        plain = np.float32(1) / powers
        if self.rope_type == "linear":
            return plain / np.float32(self.factor), 1.0
        if self.rope_type == "llama3":
            return self._by_wavelength(plain), 1.0
        if self.rope_type == "yarn":
            return self._interpolated(powers, size), self._amplification()
        return plain, 1.0

    def _by_wavelength(self, plain: Float[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
        """Long waves are stretched by the factor, short ones are left, and those between are mixed."""
        trained, wavelength = self.original_max_position_embeddings, np.float32(2 * math.pi) / plain
        stretched = np.where(wavelength > trained / self.low_freq_factor, plain / np.float32(self.factor), plain)
        share = (trained / wavelength - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        mixed = (1 - share) * stretched / self.factor + share * stretched
        is_long = wavelength > trained / self.low_freq_factor
        is_short = wavelength < trained / self.high_freq_factor
        return np.where(is_long | is_short, stretched, mixed).astype(np.float32)

    def _interpolated(self, powers: Float[np.ndarray, " pair"], size: int) -> Float[np.ndarray, " pair"]:
        """Pairs that turn often are left, those that turn seldom are stretched, with a ramp between."""

        def pair_of(n_turns: float) -> float:
            trained = self.original_max_position_embeddings
            return size * math.log(trained / (n_turns * 2 * math.pi)) / (2 * math.log(self.rope_theta))

        low, high = pair_of(self.beta_fast or 32), pair_of(self.beta_slow or 1)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, size - 1)
        high += 0.001 if low == high else 0
        ramp = np.clip((np.arange(size // 2, dtype=np.float32) - low) / (high - low), 0, 1)
        kept = np.float32(1) - ramp.astype(np.float32)
        stretched = np.float32(1) / (np.float32(self.factor) * powers)
        return (stretched * (1 - kept) + np.float32(1) / powers * kept).astype(np.float32)

    def _amplification(self) -> float:
        if self.attention_factor:
            return self.attention_factor
        if self.rope_type == "longrope":
            trained = self.original_max_position_embeddings
            return math.sqrt(1 + math.log(self.factor) / math.log(trained)) if self.factor > 1 else 1.0

        def scale(weight: float) -> float:
            return 0.1 * weight * math.log(self.factor) + 1.0 if self.factor > 1 else 1.0

        if self.mscale and self.mscale_all_dim:
            return scale(self.mscale) / scale(self.mscale_all_dim)
        return scale(1.0)


def rotation_of(
    rotary: Rotary,
    head_size: int,
    max_positions: int,
    n_tokens: int,
    positions: Int[Array, "rows query"],
    lengths: Int[Array, "batch _"],
) -> tuple[Float[Array, "_ query pair"], Float[Array, "_ query pair"]]:
    """The cosine and sine of each token's angles.

    They are taken of a table that NumPy computes, of float32 angles as PyTorch has them: at position 1,000, the
    rounding of a frequency moves them by 1e-5, so that exact ones would not be those of training. With `longrope`, a
    sentence's own length decides which of two tables it has: in PyTorch, that of the longest one beside it does.

    Args:
        rotary: the settings.
        head_size: of a head.
        max_positions: the model's positions.
        n_tokens: of a row.
        positions: those of the tokens in their sentences; one row, where they are the same in all.
        lengths: of the tokens' sentences.
    """
    trained = rotary.original_max_position_embeddings

    def of_texts(length: int) -> tuple[Float[Array, "rows query pair"], Float[Array, "rows query pair"]]:
        frequencies, factor = rotary.frequencies(head_size, max_positions, length)
        angles = np.float64(np.arange(n_tokens, dtype=np.float32)[:, None] * frequencies)
        cos, sin = (np.float32(np.float32(table) * np.float32(factor)) for table in (np.cos(angles), np.sin(angles)))
        return jnp.asarray(cos)[positions], jnp.asarray(sin)[positions]

    if rotary.rope_type != "longrope" or n_tokens <= trained:
        return of_texts(n_tokens)
    is_long = (lengths > trained)[:, :, None]
    (long_cos, long_sin), (cos, sin) = of_texts(n_tokens), of_texts(trained)
    return jnp.where(is_long, long_cos, cos), jnp.where(is_long, long_sin, sin)


def checked_theta(raw: Mapping[str, Any], path: Path, key: str, default: float, null_is_default: bool = True) -> float:
    """The base of a configuration that names it beside its object of rotary settings.

    Raises:
        UserError: naming the key, if it is no number above 0.
    """
    value = raw.get(key, default)
    return default if value is None and null_is_default else _checked(value, f"{path}: {key}", "rope_theta")


def _checked(value: Any, what: str, name: str) -> Any:
    if name == "truncate":
        if not isinstance(value, bool):
            raise UserError(f"{what}={value!r} is not possible: it must be true or false.")
        return value
    many = name in ("short_factor", "long_factor")
    numbers = value if many and isinstance(value, list) else [value]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < 1e30:
            raise UserError(
                f"{what}={str(value)[:60]} is not possible: it must be {'numbers' if many else 'a number'} above 0."
            )
    if name == "original_max_position_embeddings":
        if numbers[0] != int(numbers[0]):
            raise UserError(f"{what}={value!r} is not possible: it must be a whole number.")
        return int(numbers[0])
    return tuple(map(float, numbers)) if many else float(numbers[0])
