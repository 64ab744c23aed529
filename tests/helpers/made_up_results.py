"""Results of which a test says only what matters to it."""

import types
import typing
from dataclasses import MISSING, fields, is_dataclass

import numpy as np

from jaxred.io.records import from_json
from jaxred.studies.results import RESULTS

_NOTHING = {str: "", int: 0, float: 0.0, bool: False, list: [], dict: {}, np.ndarray: []}


def result(name, content):
    """The result of a study; what the content leaves out is empty."""
    return from_json(RESULTS[name], whole(RESULTS[name], content))


def whole(kind, content):
    """JSON with every field that a dataclass needs."""
    hints, filled = typing.get_type_hints(kind), dict(content)
    for each in fields(kind):
        name = each.metadata.get("renamed", each.name)
        if name in filled:
            filled[name] = _inside(hints[each.name], filled[name])
        elif each.default is MISSING and each.default_factory is MISSING:
            filled[name] = _inside(hints[each.name], _nothing(hints[each.name]))
    return filled


def _nothing(hint):
    if is_dataclass(hint):
        return {}
    if isinstance(hint, types.UnionType):
        return None
    if typing.get_origin(hint) is tuple:
        return [_nothing(inner) for inner in typing.get_args(hint)]
    return _NOTHING[typing.get_origin(hint) or hint]


def _inside(hint, value):
    """The dataclasses within a value, whole."""
    if isinstance(hint, types.UnionType):
        return value if value is None else _inside(typing.get_args(hint)[0], value)
    if is_dataclass(hint) and isinstance(value, dict):
        return whole(hint, value)
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is list and is_dataclass(inner[0]):
        return [_inside(inner[0], item) for item in value]
    if typing.get_origin(hint) is dict and is_dataclass(inner[1]):
        return {key: _inside(inner[1], item) for key, item in value.items()}
    return value
