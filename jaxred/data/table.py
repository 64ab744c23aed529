"""The task `table`: texts and labels in CSV, TSV, JSON lines, Parquet, or a folder that `datasets` saved."""

import logging
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from jaxred.config import TaskConfig
from jaxred.data.examples import Dataset, Example
from jaxred.data.labels import refuse_odd_labels
from jaxred.data.lines import checked_class_name, checked_score
from jaxred.data.split import sample_in_proportion
from jaxred.data.table_files import Table, find_splits, open_split
from jaxred.errors import UserError

log = logging.getLogger("jaxred")

# Names of columns that are taken where no other column could be meant; the first of each list always is.
TEXT_NAMES = ("text", "sentence", "review", "comment", "content", "document", "tweet", "utterance")
PAIR_NAMES = (
    ("text", "text_pair"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"),
    ("question", "sentence"), ("text1", "text2"),
)  # fmt: skip
LABEL_NAMES = ("label", "labels", "target", "class", "category", "score", "sentiment", "intent")

MOST_FRACTIONS, MOST_NUMBERS = 20, 50  # classes that are fractional numbers, and that are whole ones

_WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+", re.ASCII)
_NO_LABEL = -1  # what `datasets` has in place of a class that is unknown
_NOT_A_NUMBER = ("nan", "<na>")


class Columns(NamedTuple):
    """Which columns of a table are used, counted from 0."""

    text: int
    pair: int | None
    label: int
    first_row: int  # of the examples: 1 where the first row of the table is its header


def load_table(config: TaskConfig, path: Path) -> Dataset:
    """Reads a table for each split, and holds test out of train where there is one table alone.

    Args:
        config: its `kind`, the names of columns (`text_column`, `text_pair_column`, `label_column`) and of splits
            (`train_split`, `dev_split`, `test_split`), `test_fraction` and `split_seed` are used.
        path: a file, or a folder as `find_splits` describes it.

    Returns:
        The dataset, with a `dev` split only where the folder has one.

    Raises:
        UserError: a split is missing, a column is missing or ambiguous, or a row is bad (naming file and line).
    """
    splits = {split: _read_split(part, split, config) for split, part in find_splits(path, config).items()}
    for split, examples in splits.items():
        if (examples[0].pair is None) != (splits["train"][0].pair is None):
            raise UserError(
                f"{path}: {split} and train disagree, as one has single texts and the other pairs: name the columns as "
                "config.task.text_column and config.task.text_pair_column."
            )
    if config.kind == "classification":
        _check_numeric_classes([str(example.label) for example in splits["train"]], path)
    if "test" not in splits:
        splits["train"], splits["test"] = hold_out(splits["train"], config.test_fraction, config.split_seed)
        log.info(
            "%s: %s rows are train, and %s are held out as test (task.test_fraction=%s, task.split_seed=%d)",
            path.name,
            f"{len(splits['train']):,}",
            f"{len(splits['test']):,}",
            config.test_fraction,
            config.split_seed,
        )
    return Dataset("table", config.kind, splits)


def hold_out(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Holds a share of the examples out as test, in which every class keeps its share; both keep their order.

    Examples of the same text stay together, so that no text is on both sides. A class of one text stays in train.

    Args:
        examples: class names or scores as their labels.
        share: between 0 and 1, of the different texts.
        seed: seed of the sample.

    Returns:
        The examples of train, and those of test.

    Raises:
        UserError: a side would be empty, or test has fewer rows than there are classes.
    """
    labels = {(example.text, example.pair): example.label for example in reversed(examples)}
    texts_of_class: dict[Any, int] = {}
    for label in labels.values():
        texts_of_class[label] = texts_of_class.get(label, 0) + 1
    classified = isinstance(examples[0].label, str)
    texts = [text for text, label in reversed(labels.items()) if not classified or texts_of_class[label] > 1]
    n_test = min(round(share * len(labels)), len(texts))
    n_least = len({labels[text] for text in texts}) if classified else 1
    if not max(n_least, 1) <= n_test < len(labels):
        raise UserError(
            f"config.task.test_fraction={share} of {len(labels)} different texts is {n_test} rows for test, but "
            f"test needs at least {max(n_least, 1)} (one per class) and train some: choose another share, or give a "
            "test file."
        )
    rows = sample_in_proportion([labels[text] for text in texts], n_test, seed)
    tested = {texts[row] for row in rows.tolist()}
    sides: tuple[list[Example], list[Example]] = [], []
    for example in examples:
        sides[(example.text, example.pair) in tested].append(example)
    return sides


def _read_split(path: Path, split: str, config: TaskConfig) -> list[Example]:
    examples: list[Example] = []
    tables = open_split(path)
    for table in tables:
        columns = choose_columns(table, config)
        _report(table, columns)
        examples += _examples(table, columns, split, config.kind)
    if not examples:
        raise UserError(f"{path} has no examples, but one per row is expected: write it again.")
    return examples


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
        if name and (_is_number(name) or len(name.split()) > 5 or name in {cell.strip() for cell in below}):
            return True
    return False


def _starts_with_example(table: Table, label: int, kind: str) -> bool:
    """Whether the label of the first row of a CSV or TSV file is one: a score, or a class of a row below it."""
    first, *below = (cell.strip() for cell in table.values(label))
    return _is_number(first) if kind == "regression" else not below or first in set(below)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


def _report(table: Table, columns: Columns) -> None:
    """Says how many rows a table has and where its texts and labels come from."""
    n_rows = len(table.numbers) - columns.first_row
    if table.named or columns.first_row:
        name = [repr(column) for column in table.names]
        header = f"{'columns' if table.named else 'header'}: {', '.join(table.names[:20])}"
    else:
        name = [str(column) for column in range(1, len(table.names) + 1)]
        header = "no header, as the first line is an example"
    if len(table.names) > 20:
        header += ", ..."
    texts = f"column {name[columns.text]}"
    if columns.pair is not None:
        texts = f"columns {name[columns.text]} and {name[columns.pair]}"
    classes = table.class_names.get(table.names[columns.label])
    named = f" (classes: {', '.join(classes[:20])})" if classes else ""
    between = f"; separated by {table.separator!r}" if table.separator == ";" else ""
    path = table.path
    log.info(
        "%s: %s rows; text from %s, label from %s%s; %s%s",
        f"{path.parent.name}/{path.name}" if path.suffix == ".arrow" else path.name,
        f"{n_rows:,}",
        texts,
        name[columns.label],
        named,
        header,
        between,
    )


def _examples(table: Table, columns: Columns, split: str, kind: str) -> list[Example]:
    texts = table.values(columns.text)
    pairs = [None] * len(texts) if columns.pair is None else table.values(columns.pair)
    labels = table.values(columns.label)
    names = table.class_names.get(table.names[columns.label])
    if names is not None and kind == "regression":
        raise UserError(
            f"{table.path}: column {table.names[columns.label]!r} holds classes ({', '.join(names[:5])}), but "
            "config.task.kind is 'regression': pass config.task.kind=classification and a metric for it."
        )
    rows = range(columns.first_row, len(texts))
    if rows and names is not None and all(labels[row] == _NO_LABEL for row in rows):
        raise UserError(
            f"{table.path} has no labels, as all of them are {_NO_LABEL}: name a split that has some as "
            f"config.task.{split}_split (test sets are often distributed without labels; validation has them)."
        )
    examples, first_lines = [], {}
    for row in rows:
        where = table.where(row)
        check_text(texts[row], table.names[columns.text], where)
        if columns.pair is not None:
            check_text(pairs[row], table.names[columns.pair], where)
        label = labels[row]
        if table.unit == "line" and isinstance(label, str):
            first_lines.setdefault(label, table.numbers[row])
        if names is not None:
            label = _class_of_id(label, names, where)
        parse = score_of if kind == "regression" else class_of
        examples.append(Example(texts[row], pairs[row], parse(label, where)))
    if kind == "classification":
        refuse_odd_labels({label: line for label, line in first_lines.items() if label.strip()}, table.path)
    return examples


def check_text(text: Any, column: str, where: str) -> None:
    """Rejects a value that is no text, or an empty one.

    Raises:
        UserError: naming the column and the row.
    """
    if text is None or (isinstance(text, str) and not text.strip()):
        raise UserError(f"{where}: the text (column {column!r}) is empty: fill it, or remove the row.")
    if not isinstance(text, str):
        raise UserError(f"{where}: the text (column {column!r}) is {text!r}, but a text is expected: check the column.")


def _class_of_id(label: Any, names: list[str], where: str) -> Any:
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


def _check_numeric_classes(classes: list[str], path: Path) -> None:
    """Rejects or warns of labels that are so many numbers that they are scores."""
    distinct = set(classes)
    if not all(_is_number(name) for name in distinct):
        return
    n_fractions = sum(not float(name).is_integer() for name in distinct)
    regression = "pass config.task.kind=regression config.task.metric=pearson_and_spearman"
    if n_fractions > MOST_FRACTIONS:
        raise UserError(
            f"{path}: the labels are {len(distinct)} different numbers, such as {min(distinct)} and {max(distinct)}, "
            f"and {n_fractions} of them are fractions: if they are scores and no names of classes, {regression}; if "
            "they are classes, give them names."
        )
    if n_fractions or len(distinct) > MOST_NUMBERS:
        log.warning(
            "%s: the labels are %d different numbers, and each is taken as a class: if they are scores, %s",
            path.name,
            len(distinct),
            regression,
        )
