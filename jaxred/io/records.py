"""Frozen dataclasses to JSON's values and back, by cattrs.

Fields say by their metadata what differs: `renamed`, where JSON's name is no name in Python; `OPTIONAL`, left out where
they have their default; `TRANSIENT`, never written.
"""

import math
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import cattrs
import numpy as np
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

T = TypeVar("T")

OPTIONAL = {"optional": True}
TRANSIENT = {"transient": True}


def renamed(name: str) -> dict[str, str]:
    """The metadata of a field that JSON calls otherwise."""
    return {"renamed": name}


def to_json(record: Any) -> dict[str, Any]:
    """A dataclass as a dictionary of what `result_files.as_json` writes."""
    return _CONVERTER.unstructure(record)


def from_json(kind: type[T], content: Any) -> T:
    """The dataclass that was written.

    Raises:
        ValueError: naming the first field that is missing or of another type.
    """
    try:
        return _CONVERTER.structure(content, kind)
    except cattrs.BaseValidationError as error:
        raise ValueError(cattrs.transform_error(error)[0]) from None


def _overrides(kind: type) -> dict[str, Any]:
    return {
        each.name: override(
            rename=each.metadata.get("renamed"),
            omit_if_default=each.metadata.get("optional", False),
            omit=each.metadata.get("transient", False),
        )
        for each in fields(kind)
    }


def _number(value: Any, _: Any) -> float:
    return math.nan if value is None else float(value)  # JSON has no NaN


def _array(value: Any, _: Any) -> np.ndarray:
    array = np.asarray(value)
    return array.astype(float) if array.dtype == object else array  # of None, for NaN


_CONVERTER = cattrs.Converter()
_CONVERTER.register_structure_hook(float, _number)
_CONVERTER.register_structure_hook_func(lambda kind: kind is np.ndarray, _array)
_CONVERTER.register_unstructure_hook_func(lambda kind: kind is np.ndarray, lambda array: array)
_CONVERTER.register_structure_hook_factory(
    is_dataclass,
    lambda kind: make_dict_structure_fn(kind, _CONVERTER, **_overrides(kind)),  # pyright: ignore[reportArgumentType]
)
_CONVERTER.register_unstructure_hook_factory(
    is_dataclass,
    lambda kind: make_dict_unstructure_fn(kind, _CONVERTER, **_overrides(kind)),  # pyright: ignore[reportArgumentType]
)
