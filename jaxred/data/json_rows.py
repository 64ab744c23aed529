"""JSON lines, one object per line, and a JSON array of objects: rows of named values."""

from pathlib import Path
from typing import Any, NamedTuple

import orjson

from jaxred.data.lines import read_text
from jaxred.errors import UserError


class JsonRows(NamedTuple):
    """The objects of a file."""

    objects: list[dict[str, Any]]
    numbers: list[int]  # of each object, counted from 1
    unit: str  # what is counted: line, or row of an array


def read_json_rows(path: Path) -> JsonRows:
    """Reads JSON lines, or an array of objects if the file starts with a bracket.

    Args:
        path: the file, in UTF-8; empty lines are skipped.

    Returns:
        At least one object.

    Raises:
        UserError: naming the line or row that is no JSON object; or as `read_text`.
    """
    text = read_text(path)
    rows: list[tuple[int, Any]]
    if text.lstrip().startswith("["):
        unit, rows = "row", list(enumerate(_parse(text, str(path)), start=1))
    else:
        unit = "line"
        lines = enumerate(text.split("\n"), start=1)
        rows = [(number, _parse(line, f"{path}, line {number}")) for number, line in lines if line.strip()]
    for number, row in rows:
        if not isinstance(row, dict):
            raise UserError(
                f"{path}, {unit} {number}: {_name(row)} stands there, but an object such as "
                '{"text": "a fine film", "label": "good"} is expected: fix it.'
            )
    if not rows:
        raise UserError(f"{path} has no row, but one per example is expected: write the file again.")
    return JsonRows([row for _, row in rows], [number for number, _ in rows], unit)


def _parse(text: str, where: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UserError(
            f"{where}: it is not JSON ({error.msg}): write one object per line, or an array of objects, in UTF-8."
        ) from None


def _name(value: Any) -> str:
    names = {list: "an array", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
