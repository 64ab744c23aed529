"""CSV and TSV files: rows of cells, and the line at which each row starts."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

from jaxred.data.lines import read_text
from jaxred.errors import UserError

# A tab-separated file in which every quote opens, closes or is doubled inside a quoted cell. Possessive quantifiers
# keep the match linear in the length of the text.
_QUOTED_TSV = re.compile(r'(?:(?:"(?:[^"]++|"")*+"|[^"\t\r\n]*+)(?:\t|\r?\n|\Z))*+')
_LONE_RETURN = re.compile("\r(?!\n)")
_CSV_PROBLEMS = {  # what the csv module says, and what that means
    "unexpected end of data": "the quote that opens a cell is never closed",
    "field larger than field limit": f"a cell has more than {csv.field_size_limit():,} characters; a quote may be open",
}


class DelimitedRows(NamedTuple):
    """The rows of a file, all of the same number of cells."""

    cells: list[list[str]]
    lines: list[int]  # at which each row starts, counted from 1
    separator: str
    quoted: bool  # whether quotes around a cell are read as the format's, or are text


def read_delimited(path: Path, least_columns: int = 2) -> DelimitedRows:
    r"""Reads a file of comma- or tab-separated cells.

    CSV is read by RFC 4180: a cell in double quotes may hold separators, line breaks and doubled quotes. Its separator
    is the comma or, if the first line has semicolons and no comma, the semicolon. TSV (suffix `.tsv` or `.tab`) is read
    without quoting, so that quotes are text, unless every quote of the file opens, closes, or is doubled inside a
    quoted cell. Lines end at `\n` or `\r\n`, and a lone `\r` is text; empty lines are skipped.

    Args:
        path: the file; UTF-8, with or without a byte-order mark.
        least_columns: fewer are taken for another separator.

    Returns:
        At least one row; the first may be a header.

    Raises:
        UserError: naming the line: quotes that do not fit together, a row of another number of cells than the first, a
            single column; or as `read_text`.
    """
    text = read_text(path)
    if "\r" in text and "\n" not in text:
        raise UserError(f"{path}, line 1: lines end with a lone carriage return: end them with a newline.")
    first_line = text.split("\n", 1)[0]
    if path.suffix.lower() == ".csv":
        separator = ";" if ";" in first_line and "," not in first_line else ","
        quoted = True
    else:
        separator = "\t"
        quoted = '"' in text and _QUOTED_TSV.fullmatch(_LONE_RETURN.sub(" ", text)) is not None
    rows = _parse(text, separator, path) if quoted else _split(text)
    if not rows:
        raise UserError(f"{path} has no row, but one per example is expected: write the file again.")
    width = len(rows[0][1])
    if width < least_columns:
        raise UserError(
            f"{path}, line {rows[0][0]}: there is one column alone when cells are separated by {separator!r}, and a "
            "text and its label are expected: separate them as the file's name says (.csv by commas, .tsv by tabs)."
        )
    for line, cells in rows:
        if len(cells) != width:
            rule = (
                "put a text that holds the separator in double quotes"
                if quoted
                else "quotes are text in this file, and a tab always separates"
            )
            raise UserError(
                f"{path}, line {line}: {len(cells)} cells separated by {separator!r}, but the first line has {width}: "
                f"fix that line ({rule})."
            )
    return DelimitedRows([cells for _, cells in rows], [line for line, _ in rows], separator, quoted)


def _split(text: str) -> list[tuple[int, list[str]]]:
    lines = (line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))
    return [(number, line.split("\t")) for number, line in enumerate(lines, start=1) if line]


def _parse(text: str, separator: str, path: Path) -> list[tuple[int, list[str]]]:
    """Rows by RFC 4180; a row may go over several lines."""
    stand_in = ""  # for returns inside of lines, at which the csv module would end a row
    if _LONE_RETURN.search(text):
        stand_in = next(chr(code) for code in range(0xE000, 0x110000) if chr(code) not in text)
        text = _LONE_RETURN.sub(stand_in, text)
    reader = csv.reader((f"{line}\n" for line in text.removesuffix("\n").split("\n")), delimiter=separator, strict=True)
    rows, start = [], 1
    try:
        for cells in reader:
            if cells:
                rows.append((start, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        problem = next((meaning for begins, meaning in _CSV_PROBLEMS.items() if str(error).startswith(begins)), "")
        problem = problem or "text follows the quote that closes a cell"
        raise UserError(
            f"{path}, line {start}: {problem}: write a cell with quotes, separators or line breaks as "
            '"...", with every quote inside doubled (RFC 4180).'
        ) from None
    if stand_in:
        rows = [(line, [cell.replace(stand_in, "\r") for cell in cells]) for line, cells in rows]
    return rows
