"""Column files: one word per line with its labels next to it, and an empty line after every sentence."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jaxred.data.examples import LabelledSentence
from jaxred.data.labels import refuse_odd_labels
from jaxred.data.lines import class_name, parse_score, read_lines
from jaxred.errors import UserError

SEPARATORS = {"whitespace": re.compile("[ \t]+"), "tab": re.compile("\t")}


@dataclass(frozen=True)
class ColumnFormat:
    """How a file lays out its columns."""

    layouts: tuple[tuple[str, ...], ...] = ()  # names of all columns, for every width a file may have; empty: any width
    word: str = "1"  # the column of the words: a name, or a number counted from 1
    separator: str = "whitespace"  # whitespace (spaces and tabs), tab, or the text between two columns
    comments: tuple[str, ...] = ()  # lines that start with one of these are skipped
    space: str = ""  # what stands for a space inside a word


class Line(NamedTuple):
    """A line that is not empty and no comment."""

    number: int  # counted from 1
    cells: list[str]


def read_columns(path: Path, layout: ColumnFormat, label: str, kind: str = "classification") -> list[LabelledSentence]:
    """Reads a column file.

    Every line of words has as many columns as the first, as a word with a space in it would otherwise shift its label.

    Args:
        path: the file.
        layout: how it lays out its columns.
        label: the column of the labels: a name of the layout's, or a number counted from 1.
        kind: classification, or regression, whose labels are numbers.

    Returns:
        The sentences, in file order.

    Raises:
        UserError: the file cannot be read as text or holds no words; a line has another number of columns or none for
            the word or the label; a word or label is empty; a score is not a finite number.
    """
    sentences = []
    first_lines: dict[str, int] = {}  # of the cells of labels, with the white space that is taken off them
    width, word_at, label_at = 0, 0, 0
    for sentence in split_sentences(path, layout.separator, layout.comments):
        words, labels = [], []
        for line in sentence:
            if not width:
                width = len(line.cells)
                names = _names(width, layout, path, line.number)
                _refuse_one_column(width, layout, path, line.number)
                word_at, label_at = (column_index(column, names, path, line.number) for column in (layout.word, label))
            if len(line.cells) != width:
                raise UserError(
                    f"{path}, line {line.number}: {len(line.cells)} columns, but the lines before it have {width}: "
                    "fix that line, or name what separates columns as config.task.separator."
                )
            words.append(_spaced(_cell(line, word_at, "word", path), layout.space))
            cell = _cell(line, label_at, "label", path)
            first_lines.setdefault(line.cells[label_at], line.number)
            labels.append(
                parse_score(cell, path, line.number) if kind == "regression" else class_name(cell, path, line.number)
            )
        sentences.append(LabelledSentence(tuple(words), tuple(labels), sentence[0].number))
    if not sentences:
        raise UserError(f"{path} holds no words, but one word per line is expected: check the file.")
    if kind == "classification":
        refuse_odd_labels(first_lines, path)
    return sentences


def split_sentences(path: Path, separator: str, comments: tuple[str, ...]) -> Iterator[list[Line]]:
    """The lines of a file cut into cells, one sentence at a time.

    Args:
        path: the file.
        separator: a name of SEPARATORS, or the text between two columns.
        comments: lines that start with one of these are skipped.

    Raises:
        UserError: the file cannot be read as text, or as lines.
    """
    between = SEPARATORS.get(separator) or re.compile(re.escape(separator))
    margin = " \t" if separator == "whitespace" else ""
    sentence: list[Line] = []
    lines = read_lines(path)
    if len(lines) == 1 and "\r" in lines[0]:
        raise UserError(f"{path}, line 1: lines end with a lone carriage return: end them with a newline.")
    for number, text in enumerate(lines, start=1):
        if comments and text.startswith(comments):
            continue
        if text.strip():
            sentence.append(Line(number, between.split(text.strip(margin) if margin else text)))
        elif sentence:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def column_index(column: str, names: tuple[str, ...], path: Path, number: int) -> int:
    """Where a column, given by name or by number counted from 1, is in a list of cells.

    Raises:
        UserError: if the file has no such column.
    """
    if column.isascii() and column.isdigit() and 1 <= int(column) <= len(names):
        return int(column) - 1
    if column in names and not column.isdigit():
        return names.index(column)
    named = [name for name in names if not name.isdigit()]
    or_names = f" or one of {', '.join(named)}" if named else ""
    raise UserError(
        f"{path}, line {number}: there is no column {column!r} among the {len(names)} of this line: pass a number from "
        f"1 to {len(names)}{or_names} as config.task.label_column (and config.task.word_column)."
    )


def _refuse_one_column(width: int, layout: ColumnFormat, path: Path, number: int) -> None:
    """A line of a single column has no label, whichever column is asked for: its separator is another."""
    if width == 1 and not layout.layouts:
        raise UserError(
            f"{path}, line {number}: there is one column alone when columns are separated by {layout.separator!r}, and "
            "a word and its label are expected: name what separates them as config.task.separator (whitespace, tab, "
            "or the text itself)."
        )


def _names(width: int, layout: ColumnFormat, path: Path, number: int) -> tuple[str, ...]:
    if not layout.layouts:
        return tuple(str(i) for i in range(1, width + 1))
    for names in layout.layouts:
        if len(names) == width:
            return names
    allowed = " or ".join(f"{len(names)} ({', '.join(names)})" for names in layout.layouts)
    between = "tabs" if layout.separator == "tab" else "spaces or tabs"
    raise UserError(
        f"{path}, line {number}: {width} columns separated by {between}, but {allowed} are expected: check the file."
    )


def _spaced(word: str, space: str) -> str:
    """A word with spaces where a sign stands for them, unless it is nothing but that sign."""
    return (word.replace(space, " ").strip() or word) if space else word


def _cell(line: Line, index: int, what: str, path: Path) -> str:
    cell = line.cells[index].strip()
    if not cell:
        raise UserError(f"{path}, line {line.number}: the {what} (column {index + 1}) is empty: fill it.")
    return cell
