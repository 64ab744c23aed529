"""The cells of a table: texts, classes and scores."""

import math
import re
from decimal import Decimal
from typing import Any

from jaxred.data.lines import checked_class_name, checked_score
from jaxred.errors import UserError

_WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+", re.ASCII)
NO_LABEL = -1  # what `datasets` has in place of a class that is unknown
_NOT_A_NUMBER = ("nan", "<na>")


def check_text(text: Any, column: str, where: str) -> None:
    """Rejects a value that is no text, or an empty one.

    Raises:
        UserError: naming the column and the row.
    """
    if text is None or (isinstance(text, str) and not text.strip()):
        raise UserError(f"{where}: the text (column {column!r}) is empty: fill it, or remove the row.")
    if not isinstance(text, str):
        raise UserError(f"{where}: the text (column {column!r}) is {text!r}, but a text is expected: check the column.")


def class_of_id(label: Any, names: list[str], where: str) -> Any:
    if label is None or not 0 <= label < len(names):
        raise UserError(
            f"{where}: the label is {label}, but the number of one of the {len(names)} classes is expected: fix it, or "
            "remove the row."
        )
    return names[label]


def class_of(label: Any, where: str) -> str:
    """The class that a value stands for, the same whatever the format of the file: 1, 1.0 and '1' are the class '1'.

    Args:
        label: a text (white space around it is not part of it), a number, or a truth value ('True' and 'False').
        where: the file and line, for the message.

    Raises:
        UserError: it is empty, not a number (NaN), or of another type.
    """
    if isinstance(label, str):
        name = label.strip()
        whole = _WHOLE_NUMBER.fullmatch(name)
        name = str(int(whole[1])) if whole and len(name) < 20 else name
    elif isinstance(label, bool | int):
        name = str(label)
    elif isinstance(label, float | Decimal):
        name = _number_name(label)
    elif label is None:
        name = ""
    else:
        raise UserError(f"{where}: the label is {str(label)[:80]}, but a name or a number is expected: fix it.")
    if not name or name.lower() in _NOT_A_NUMBER:
        raise UserError(
            f"{where}: the label is {name or 'empty'}, but a class is expected: fill it, or remove the row."
        )
    return checked_class_name(name, where)


def _number_name(number: float | Decimal) -> str:
    if not math.isfinite(number):
        return "nan"
    if number == int(number):
        return str(int(number))
    return format(number.normalize(), "f") if isinstance(number, Decimal) else repr(number)


def score_of(label: Any, where: str) -> float:
    """The finite number that a value is.

    Args:
        label: a number, or a text that is one.
        where: the file and line, for the message.

    Raises:
        UserError: it is empty, not finite, or no number.
    """
    if isinstance(label, bool) or not isinstance(label, str | int | float | Decimal):
        label = "" if label is None else str(label)[:80]
    return checked_score(label if isinstance(label, str) else repr(_float(label)), where)


def _float(number: int | float | Decimal) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def is_number(cell: str) -> bool:
    """Whether a cell is text of a finite number."""
    try:
        return math.isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False
