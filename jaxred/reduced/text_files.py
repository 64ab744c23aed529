"""Texts out of a file: a table of any kind that jaxred reads, lines, or what is piped in."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxred.data.lines import MissingFile
from jaxred.data.table_columns import choose_text_columns
from jaxred.data.table_files import SUFFIXES, open_table
from jaxred.data.table_values import check_text
from jaxred.errors import UserError
from jaxred.io.files import refuse_special
from jaxred.io.paths import local

STANDARD = "-"  # the standard input or output
LINES = (".txt", ".word", ".text")


@dataclass(frozen=True)
class TextFile:
    """The texts of a file, in its order."""

    rows: Iterator[tuple[str, ...]]  # a text each, or a pair
    names: tuple[str, ...]  # of the columns of `rows`
    n_rows: int | None  # None: not known before they are read
    labels: list[Any] | None = None  # of each row, where the file has some


def open_texts(source: str, text_column: str = "", text_pair_column: str = "") -> TextFile:
    """Opens a file of texts.

    Args:
        source: a file, by its suffix .csv, .tsv, .jsonl, .json, .parquet, or .txt of one text per line; `-` is the
            standard input, of one text per line.
        text_column: of a table; empty: by its usual name.
        text_pair_column: the same of the second text of pairs.

    Raises:
        UserError: there is no such file, or it is not of its format; `rows` raises it too, naming the line of a row
            that has no text.
    """
    if source == STANDARD:
        return TextFile(_lines(sys.stdin.buffer, "the standard input"), ("text",), None)
    path = local(source, "input")
    suffix = path.suffix.lower()
    if suffix in LINES:
        refuse_special(path, "a UTF-8 text file")
        if not path.exists():
            raise MissingFile(f"{path} does not exist: a UTF-8 text file is expected there; check the path.")
        return TextFile(_lines_of(path), ("text",), None)
    if suffix not in SUFFIXES:
        raise UserError(
            f"{path} has none of the suffixes that texts are read from ({', '.join((*SUFFIXES, LINES[0]))}): rename or "
            "convert it."
        )
    try:
        table = open_table(path, least_columns=1)
        columns = choose_text_columns(table, text_column, text_pair_column)
    except UserError as error:  # which speaks of the configuration of a study
        message = str(error)
        for name in ("text_pair_column", "text_column"):
            message = message.replace(f"config.task.{name}", f"`{name}`")
        raise UserError(message.replace(" and config.task.label_column", "")) from error
    used = [columns.text] if columns.pair is None else [columns.text, columns.pair]
    values = [table.values(column)[columns.first_row :] for column in used]
    names = tuple(table.names[column] if columns.first_row or table.named else "text" for column in used)
    names = names if len({*names}) == len(names) else ("text", "text_pair")
    labels = None
    if columns.label is not None:
        labels, classes = (
            table.values(columns.label)[columns.first_row :],
            table.class_names.get(table.names[columns.label]),
        )
        if classes is not None:
            labels = [classes[label] if label is not None and 0 <= label < len(classes) else None for label in labels]

    def rows() -> Iterator[tuple[str, ...]]:
        for number, row in enumerate(zip(*values, strict=True)):
            for text, name in zip(row, names, strict=True):
                check_text(text, name, table.where(number + columns.first_row))
            yield row

    return TextFile(rows(), names, len(values[0]), labels)


def _lines_of(path: Path) -> Iterator[tuple[str]]:
    try:
        with path.open("rb") as file:
            yield from _lines(file, str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it a readable UTF-8 text file.") from None


def _lines(file: Iterable[bytes], where: str) -> Iterator[tuple[str]]:
    for number, raw in enumerate(file, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            byte = raw[error.start]
            raise UserError(
                f"{where}, line {number}: byte 0x{byte:02x} is not valid UTF-8; convert the file to UTF-8."
            ) from None
        text = line.removesuffix("\n").removesuffix("\r")
        if not text.strip():
            raise UserError(f"{where}, line {number} is empty, but each line is a text: fill it, or remove it.")
        yield (text,)
