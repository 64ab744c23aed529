"""Many runs from one file: a study's configuration, and the axes along which the runs differ from it."""

import dataclasses
import difflib
import hashlib
import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, get_origin

from jaxred.config import StudyConfig
from jaxred.errors import UserError
from jaxred.runs.sweep_folder import MARK, SHARED, TABLES

LONGEST_PART, LONGEST_NAME = 48, 160


@dataclass(unsafe_hash=True)
class Sweep(StudyConfig):
    """A base configuration with axes; the runs are the product of the axes.

    An axis is a field with its values, or a free name with labelled sets of fields that belong together:

        Sweep(
            probe=ProbeConfig(epochs=20),
            axes={
                "task": {
                    "sst2": {"task.name": "sst2"},
                    "stsb": {"task.name": "stsb", "task.kind": "regression", "task.metric": "pearson"},
                },
                "probe.l1": (0.0, 1e-5, 1e-4),
            },
        )
    """

    axes: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Run:
    """One run of a sweep."""

    name: str  # its folder in the sweep's workdir, such as sst2-l1=1e-05; decided by its values alone
    values: dict[str, Any]  # by axis: the field's value, or the label
    config: StudyConfig


def runs(sweep: Sweep, overridden: Collection[str] = ()) -> list[Run]:
    """The product of the axes, the last axis fastest.

    Args:
        sweep: the base and its axes.
        overridden: the fields that flags have set, which no axis may set as well.

    Raises:
        UserError: for an axis that is no field, a value that a field cannot take, or two runs of one name.
    """
    axes = [_axis(name, values) for name, values in _mapping(sweep.axes, "axes", "axis to values").items()]
    if not axes:
        raise UserError("The sweep has no axes: give it at least one, such as axes={'probe.l1': (0.0, 1e-5)}.")
    _check_fields(axes, overridden)
    ends = [axis.name.split(".")[-1] for axis in axes if axis.is_field]
    base = StudyConfig(**{section.name: getattr(sweep, section.name) for section in dataclasses.fields(StudyConfig)})
    all_runs = []
    for points in itertools.product(*(axis.points for axis in axes)):
        parts, config = [], base
        for axis, point in zip(axes, points, strict=True):
            end = axis.name.split(".")[-1]
            title = end if ends.count(end) == 1 else axis.name
            parts.append(f"{title}={_safe(_text(point.value))}" if axis.is_field else _safe(point.value, label=True))
            config = _changed(config, point.fields)
        values = {axis.name: point.value for axis, point in zip(axes, points, strict=True)}
        all_runs.append(Run(_limited("-".join(parts)), values, config))
    _check_names([run.name for run in all_runs])
    return all_runs


def swept(sweep: Sweep) -> set[str]:
    """The fields that the axes set."""
    axes = (_axis(name, values) for name, values in _mapping(sweep.axes, "axes", "axis to values").items())
    return {path for axis in axes for point in axis.points for path in point.fields}


@dataclass(frozen=True)
class _Point:
    value: Any
    fields: dict[str, Any]


@dataclass(frozen=True)
class _Axis:
    name: str
    is_field: bool
    points: list[_Point]


def _axis(name: str, values: Any) -> _Axis:
    where = f"Sweep axis {name!r}"
    if not isinstance(name, str) or not name:
        raise UserError(f"{where} must be named by text: a field, such as 'probe.l1', or a free name.")
    if not isinstance(values, dict | tuple | list):
        raise UserError(f"{where} is {values!r}: it must be a tuple of values, or a dict of labels to fields.")
    if not values:
        raise UserError(f"{where} has no values: give it at least one.")
    if isinstance(values, dict):
        points = []
        for label, fields in values.items():
            if not isinstance(label, str) or not label:
                raise UserError(f"{where} has the label {label!r}: labels are text, and name the runs.")
            inside = f"{where}, {label!r}"
            changes = _mapping(fields, inside, "fields to values")
            points.append(_Point(label, {path: _typed(path, value, inside) for path, value in changes.items()}))
        return _Axis(name, False, points)
    typed = [_typed(name, value, where) for value in values]
    for value in typed:
        if typed.count(value) > 1:
            raise UserError(f"{where} has the value {value!r} more than once: give each once.")
    return _Axis(name, True, [_Point(value, {name: value}) for value in typed])


def _mapping(value: Any, where: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where} of the sweep must be a dict of {what}, not {value!r}.")
    return value


def _check_fields(axes: Sequence[_Axis], overridden: Collection[str]) -> None:
    owner: dict[str, str] = {}
    for axis in axes:
        for path in {path for point in axis.points for path in point.fields}:
            if path in owner:
                raise UserError(
                    f"Sweep axes {owner[path]!r} and {axis.name!r} both set {path}: let only one of them do so."
                )
            if path in overridden:
                raise UserError(
                    f"`config.{path}` cannot be given: the sweep's axis {axis.name!r} sets {path}. Leave the flag out, "
                    "or change the axis in the sweep's file."
                )
            owner[path] = axis.name


def _check_names(names: Sequence[str]) -> None:
    seen = {name: name for name in (MARK, *TABLES, *SHARED)}  # some file systems do not tell capitals apart
    for name in names:
        before = seen.setdefault(name.casefold(), name)
        if before != name or names.count(name) > 1 or name in (MARK, *TABLES, *SHARED):
            raise UserError(
                f"A run's folder would be {name!r}, and {before!r} is taken: choose other labels or values."
            )


def _fields() -> dict[str, type]:
    """The paths of all fields of a study, those of its sections and its own, and their types."""
    fields: dict[str, Any] = {}
    for part in dataclasses.fields(StudyConfig):
        if dataclasses.is_dataclass(part.type):
            fields |= {f"{part.name}.{field.name}": field.type for field in dataclasses.fields(part.type)}
        else:
            fields[part.name] = part.type
    return fields


def _typed(path: str, value: Any, where: str) -> Any:
    """The value as the field's type has it."""
    fields = _fields()
    if path not in fields:
        section = f"{str(path).split('.')[0]}."
        allowed = [name for name in fields if name.startswith(section)] or list(fields)
        close = difflib.get_close_matches(str(path), fields, 1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise UserError(f"{where}: {path!r} is not a field: allowed are {', '.join(allowed)}.{hint}")
    kind = fields[path]
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple | list):
            raise UserError(f"{where}: {path} is a tuple, so each value must be one, such as ({value!r},).")
        return _tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UserError(f"{where}: {path} must be of type {kind.__name__}, not {value!r}.")
    return value


def _tuple(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(_tuple(item) for item in value)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _changed(config: StudyConfig, fields: dict[str, Any]) -> StudyConfig:
    for path, value in fields.items():
        section, _, name = path.partition(".")
        changed = dataclasses.replace(getattr(config, section), **{name: value}) if name else value
        config = dataclasses.replace(config, **{section: changed})
    return config


def _text(value: Any) -> str:
    """A field's value in a folder's name: 1e-05, 3, bert-base, -1+0.3, 3_1+2_1."""
    if isinstance(value, tuple):
        return "+".join("_".join(map(_text, item)) if isinstance(item, tuple) else _text(item) for item in value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _safe(text: str, label: bool = False) -> str:
    """The text where every file system and shell takes it as it is; else what is left of it, and a digest."""
    plain = r"[A-Za-z0-9][\w.+-]*" if label else r"-?[A-Za-z0-9][\w.+-]*"
    if re.fullmatch(plain, text, re.ASCII) and len(text) <= LONGEST_PART and not text.endswith("."):
        return text
    rest = re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII).strip("._-")[-LONGEST_PART:].lstrip("._-+")
    return f"{rest or 'value'}~{_digest(text)}"


def _limited(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}~{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
