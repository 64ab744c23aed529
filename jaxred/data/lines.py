"""Text files of the user: lines, and the scores written in them."""

import codecs
import math
from pathlib import Path

from jaxred.errors import UserError
from jaxred.io.files import read_whole
from jaxred.io.git_lfs import is_pointer, refuse_pointer

LONGEST_CLASS = 1000  # characters of a class's name


class MissingFile(UserError):
    """A file that a task needs is not there."""


def read_text(path: Path) -> str:
    """The content of a UTF-8 text file, without a byte-order mark.

    Args:
        path: the file.

    Raises:
        MissingFile: there is no such file.
        UserError: the file is a folder, unreadable, empty, or not UTF-8 (naming the line).
    """
    try:
        content = read_whole(path, "a UTF-8 text file")
    except FileNotFoundError:
        raise MissingFile(f"{path} does not exist: a UTF-8 text file is expected there; check the path.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it a readable UTF-8 text file.") from None

    if is_pointer(content):
        refuse_pointer(path)
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content:
        raise UserError(f"{path} is empty, but at least one line of text is expected: write the file again.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not valid UTF-8; convert the file to UTF-8."
        ) from None


def read_lines(path: Path) -> list[str]:
    r"""The lines of a UTF-8 text file, without line ends.

    Lines end at `\n` or `\r\n` only: the other Unicode line separators (U+2028, U+0085, `\v`, `\f`, a lone `\r`) occur
    inside sentences and are text. A byte-order mark and the newline of the last line are dropped; empty lines are kept.

    Args:
        path: the file.

    Returns:
        At least one line; line `i` of the list is line `i + 1` of the file.

    Raises:
        UserError: as `read_text`.
    """
    return [line.removesuffix("\r") for line in read_text(path).removesuffix("\n").split("\n")]


def class_name(cell: str, path: Path, line: int) -> str:
    """The class that a cell of a text file names.

    Args:
        cell: the text of the cell.
        path: the file, for the message.
        line: the 1-based line, for the message.

    Raises:
        UserError: it is a text rather than a name: arrays of labels are as wide as the longest one.
    """
    return checked_class_name(cell, f"{path}, line {line}")


def checked_class_name(cell: str, where: str) -> str:
    """As `class_name`, of a cell anywhere.

    Args:
        cell: the text of the cell.
        where: the file and line or row, for the message.
    """
    if len(cell) > LONGEST_CLASS:
        raise UserError(
            f"{where}: the label has {len(cell):,} characters ({cell[:40]!r}...), but a class has at most "
            f"{LONGEST_CLASS:,}: check that this file, or column, is the one of labels."
        )
    return cell


def parse_score(cell: str, path: Path, line: int) -> float:
    """The finite number that a cell of a text file holds.

    Args:
        cell: the text of the cell; white space around the number is allowed.
        path: the file, for the message.
        line: the 1-based line, for the message.

    Returns:
        The number.

    Raises:
        UserError: the cell is empty, not a number, NaN or infinite.
    """
    return checked_score(cell, f"{path}, line {line}")


def checked_score(cell: str, where: str) -> float:
    """As `parse_score`, of a cell anywhere.

    Args:
        cell: the text of the cell.
        where: the file and line or row, for the message.
    """
    try:
        score = float(cell) if "_" not in cell else math.nan  # Python alone reads '1_0' as 10
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise UserError(f"{where}: the score is {cell!r}, but a finite number is expected: fix that line.")
    return score
