"""A Hugging Face `config.json` to the frozen dataclass of an architecture, every setting checked."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from jaxred.errors import UserError
from jaxred.models.activation_functions import ACTIVATIONS
from jaxred.models.token_layout import TokenLayout

Keys = Mapping[str, tuple[str, ...]]  # field -> its key in `config.json`, and other keys that Hugging Face takes for it

_MOST = 10**7  # of whole numbers: beyond any model, and products of three of them still fit what counts elements
_MOST_LAYERS = 10**4
_LARGEST = 1e30  # of fractions: beyond any, and a float
_LEAST = {"n_layers": 0, "pad_token_id": 0}  # of whole numbers; of the others 1

_AnyArchitecture = TypeVar("_AnyArchitecture", bound="ArchitectureConfig")


class ArchitectureConfig:
    """The shape of an architecture: a frozen dataclass of this kind, its defaults Hugging Face's.

    A text must be an activation or among the field's `choices`, a fraction above 0, a whole number large enough; null
    is a value where a number's type has None. Fields that are neither texts nor numbers are read by `structures`.
    """

    model_type: ClassVar[str]  # as `config.json` has it
    title: ClassVar[str]  # as messages have it
    model_class: ClassVar[str]  # Hugging Face's class without a head
    tokens: ClassVar[TokenLayout]
    keys: ClassVar[Keys] = {}
    only: ClassVar[Mapping[str, Any]] = {}  # key -> the one value that is supported
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # field -> the texts it may be
    least: ClassVar[Mapping[str, int]] = {}  # field -> the least whole number it may be, where that is not 1

    vocab_size: int
    hidden_size: int
    n_layers: int
    n_heads: int
    max_position_embeddings: int

    @property
    def type_vocab_size(self) -> int:
        """The number of segments; 0: the model does not look at them."""
        return 0

    @property
    def usable_length(self) -> int:
        """The most tokens that a sentence may have."""
        return self.max_position_embeddings

    @classmethod
    def from_dict(cls: type[_AnyArchitecture], raw: Mapping[str, Any], path: Path) -> _AnyArchitecture:
        """Reads the object of a `config.json`; keys that do not change the forward pass are not looked at.

        Args:
            raw: the object; for keys that it leaves out, the defaults hold.
            path: the file it came from, for messages.

        Raises:
            UserError: naming the setting that is impossible, or that would change the numbers and is not supported.
        """
        for key, allowed in cls.only.items():
            if raw.get(key, allowed) != allowed:
                raise UserError(
                    f"{path}: {key}={raw[key]!r} is not supported: jaxred runs {cls.title} with {key}={allowed!r} only."
                )
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            if field.type not in _CHECKED:
                continue
            names = cls.keys.get(field.name, (field.name,))
            key = next((name for name in names if name in raw), names[0])
            value: Any = raw.get(key, field.default)
            if value is None and field.name in cls.or_default():
                value = field.default
            if value is not None or field.type not in _NULLABLE:
                least = {**_LEAST, **cls.least}.get(field.name, 1)
                _check(path, key, value, field, cls.choices.get(field.name, tuple(sorted(ACTIVATIONS))), least)
            values[field.name] = float(value) if field.type in (float, float | None) and value is not None else value
        values |= cls.structures(raw, values, path)
        config = cls(**values)
        config.check_heads(path)
        return config

    @classmethod
    def or_default(cls) -> tuple[str, ...]:
        """Fields for which null stands for the default."""
        return ("pad_token_id",)

    @classmethod
    def structures(cls, raw: Mapping[str, Any], values: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """The fields that are no texts or numbers of their own, by name, and those that others decide.

        Args:
            raw: the object of a `config.json`.
            values: the other fields.
            path: the file, for messages.
        """
        del raw, values, path
        return {}

    def check_heads(self, path: Path) -> None:
        """Rejects a hidden size that does not divide into heads, where heads have their share of it.

        Raises:
            UserError: naming both settings.
        """
        if self.hidden_size % self.n_heads:
            size, heads = (self.keys.get(name, (name,))[0] for name in ("hidden_size", "n_heads"))
            raise UserError(
                f"{path}: {size}={self.hidden_size} does not divide into {heads}={self.n_heads}: "
                f"it must be a multiple of it."
            )

    def to_dict(self) -> dict[str, Any]:
        """The object of a `config.json` that `from_dict` reads back."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        simple = {f.name: getattr(self, f.name) for f in fields if f.type in _CHECKED}
        named = {self.keys.get(name, (name,))[0]: value for name, value in simple.items()}
        return {"architectures": [self.model_class], "model_type": self.model_type, **named}


_NULLABLE = {int | None: int, float | None: float}  # types of which null is a value -> those of the other values
_CHECKED = (str, bool, int, float, *_NULLABLE)


def _check(path: Path, key: str, value: Any, field: dataclasses.Field[Any], texts: tuple[str, ...], least: int) -> None:
    kind: Any = _NULLABLE.get(field.type, field.type)  # type: ignore[arg-type]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is str:
        valid, allowed = isinstance(value, str) and value in texts, f"one of {', '.join(texts)}"
    elif kind is bool:
        valid, allowed = isinstance(value, bool), "true or false"
    elif kind is float:
        valid, allowed = number and 0 < value < _LARGEST, "a number above 0"
    else:
        most = _MOST_LAYERS if field.name == "n_layers" else _MOST
        valid = number and isinstance(value, int) and least <= value <= most
        allowed = f"a whole number of at least {least}" + (f" and at most {most:,}" if number and value > most else "")
    if not valid:
        shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
        raise UserError(f"{path}: {key}={shown} is not possible: it must be {allowed}.")
