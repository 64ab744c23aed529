"""Which columns of a table are text, second text and label."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxred.config import TaskConfig
from jaxred.data.table_files import Table
from jaxred.data.table_values import is_number
from jaxred.errors import UserError

# Names of columns that are taken where no other column could be meant; the first of each list always is.
TEXT_NAMES = ("text", "sentence", "review", "comment", "content", "document", "tweet", "utterance")
PAIR_NAMES = (
    ("text", "text_pair"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"),
    ("question", "sentence"), ("text1", "text2"),
)  # fmt: skip
LABEL_NAMES = ("label", "labels", "target", "class", "category", "score", "sentiment", "intent")


class Columns(NamedTuple):
    """Which columns of a table are used, counted from 0."""

    text: int
    pair: int | None
    label: int
    first_row: int  # of the examples: 1 where the first row of the table is its header


def choose_columns(table: Table, config: TaskConfig) -> Columns:
    """Finds the columns of texts and labels, by the configuration or by their usual names.

    Args:
        table: a file.
        config: its `text_column`, `text_pair_column` and `label_column`: names, or numbers counted from 1.

    Raises:
        UserError: a column is not there, could be one of several, or is needed and not named.
    """
    label = _named(table, config.label_column, "label_column")
    text = _named(table, config.text_column, "text_column")
    pair = _named(table, config.text_pair_column, "text_pair_column")
    by_number = not table.named and all(
        name.isdigit() or not name for name in (config.label_column, config.text_column, config.text_pair_column)
    )
    if text is None:
        text, usual_pair = _usual_texts(table, {label, pair} - {None})
        pair = usual_pair if pair is None else pair
        by_number = False
    if label is None:
        label = _usual(table, LABEL_NAMES, "label", {text, pair})
        by_number = False
    if len({text, pair, label}) < 3:
        raise UserError(
            f"{table.path}: one column ({table.names[label]!r}) would be used twice: name each as "
            "config.task.text_column, config.task.text_pair_column and config.task.label_column."
        )
    header = not table.named and not (by_number and _starts_with_example(table, label, config.kind))
    return Columns(text, pair, label, int(header))


class TextColumns(NamedTuple):
    """Which columns of a table hold texts and, where it has some, labels, counted from 0."""

    text: int
    pair: int | None
    label: int | None
    first_row: int  # of the texts


def choose_text_columns(table: Table, text_column: str, text_pair_column: str) -> TextColumns:
    """As `choose_columns` for a table that is to be labelled, and may have labels too.

    Args:
        table: a file; where the columns of CSV and TSV are given by number, its first row is no header.
        text_column: a name, or a number counted from 1; empty: by its usual name.
        text_pair_column: the same of the second text of pairs.

    Raises:
        UserError: a column is not there, or could be one of several.
    """
    text, pair = _named(table, text_column, "text_column"), _named(table, text_pair_column, "text_pair_column")
    by_number = (
        text is not None
        and not table.named
        and all(name.isdigit() or not name for name in (text_column, text_pair_column))
    )
    if text is None:
        text, usual_pair = _usual_texts(table, {pair} - {None})
        pair = usual_pair if pair is None else pair
    label = None
    if not by_number:
        names = [name.lower() for name in table.names]
        label = next((names.index(name) for name in LABEL_NAMES if names.count(name) == 1), None)
    return TextColumns(text, pair, None if label in (text, pair) else label, int(not table.named and not by_number))


def _named(table: Table, name: str, field: str) -> int | None:
    """The column that a field of the configuration names; None where it names none."""
    if not name:
        return None
    is_number = name.isascii() and name.isdigit()
    matches = [i for i, column in enumerate(table.names) if column == name]
    if is_number and (not table.named or not matches):
        matches = [int(name) - 1] if 1 <= int(name) <= len(table.names) else []
    if len(matches) == 1:
        return matches[0]
    problem = f"{len(matches)} columns are called {name!r}" if matches else f"there is no column {name!r}"
    raise UserError(
        f"{table.path}: {problem}; its columns are {_listed(table)}: name one of them, or its number counted from 1, "
        f"as config.task.{field}."
    )


def _usual_texts(table: Table, taken: set[int | None]) -> tuple[int, int | None]:
    """The columns of the text and of its pair that are called as usual."""
    names = [name.lower() for name in table.names]
    free = {name for i, name in enumerate(names) if i not in taken}
    if "text" in free:
        pair = "text_pair" if "text_pair" in free else None
    else:
        pairs = [pair for pair in PAIR_NAMES if free.issuperset(pair)]
        singles = [name for name in TEXT_NAMES if name in free and not any(name in pair for pair in pairs)]
        if len(pairs) + len(singles) != 1:
            candidates = [*(" and ".join(pair) for pair in pairs), *singles]
            raise _not_found(table, "text", candidates)
        if singles:
            return _position(table, names, singles[0]), None
        first, second = pairs[0]
        return _position(table, names, first), _position(table, names, second)
    return _position(table, names, "text"), None if pair is None else _position(table, names, pair)


def _usual(table: Table, usual: Sequence[str], what: str, taken: set[int | None]) -> int:
    names = [name.lower() for name in table.names]
    candidates = [name for name in usual if any(n == name and i not in taken for i, n in enumerate(names))]
    if usual[0] not in candidates and len(candidates) != 1:
        raise _not_found(table, what, candidates)
    return _position(table, names, candidates[0])


def _position(table: Table, names: list[str], name: str) -> int:
    if names.count(name) > 1:
        raise UserError(
            f"{table.path}: {names.count(name)} columns are called {name!r}: pass the number of the one that "
            "is meant, counted from 1, as config.task.text_column, text_pair_column or label_column."
        )
    return names.index(name)


def _not_found(table: Table, what: str, candidates: list[str]) -> UserError:
    """What to do about a column that is not called as usual, or is one of several."""
    fields = "config.task.text_column and config.task.label_column"
    if candidates:
        return UserError(
            f"{table.path}: the {what} may be in {' or in '.join(candidates)}: name its column as "
            f"config.task.{what}_column."
        )
    if not table.named and _looks_like_an_example(table):
        return UserError(
            f"{table.path} has no header: its first line holds {_listed(table)}; add a first line with the columns' "
            f"names (text, label), or pass the columns' numbers, counted from 1, as {fields}."
        )
    without = " (a split without labels cannot be used: name another as config.task.test_split)"
    return UserError(
        f"{table.path} has no column that is called {what!r}; its columns are {_listed(table)}: name them as {fields}"
        f"{without if what == 'label' else ''}."
    )


def _listed(table: Table) -> str:
    return ", ".join(repr(name[:40]) for name in table.names[:20]) + (", ..." if len(table.names) > 20 else "")


def _looks_like_an_example(table: Table) -> bool:
    """Whether the first row of a CSV or TSV file is more like the rows below it than like names of columns."""
    for column, name in enumerate(table.names):
        below = table.values(column)[1:]
        if name and (is_number(name) or len(name.split()) > 5 or name in {cell.strip() for cell in below}):
            return True
    return False


def _starts_with_example(table: Table, label: int, kind: str) -> bool:
    """Whether the label of the first row of a CSV or TSV file is one: a score, or a class of a row below it."""
    first, *below = (cell.strip() for cell in table.values(label))
    return is_number(first) if kind == "regression" else not below or first in set(below)
