"""The task `table`: texts and labels in CSV, TSV, JSON lines, Parquet, or a folder that `datasets` saved."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxred.config import TaskConfig
from jaxred.data.examples import Dataset, Example
from jaxred.data.labels import refuse_odd_labels
from jaxred.data.split import sample_in_proportion
from jaxred.data.table_columns import Columns, choose_columns
from jaxred.data.table_files import Table, find_splits, open_split
from jaxred.data.table_values import NO_LABEL, check_text, class_of, class_of_id, is_number, score_of
from jaxred.errors import UserError

log = logging.getLogger("jaxred")

MOST_FRACTIONS, MOST_NUMBERS = 20, 50  # classes that are fractional numbers, and that are whole ones


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
    if rows and names is not None and all(labels[row] == NO_LABEL for row in rows):
        raise UserError(
            f"{table.path} has no labels, as all of them are {NO_LABEL}: name a split that has some as "
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
            label = class_of_id(label, names, where)
        parse = score_of if kind == "regression" else class_of
        examples.append(Example(texts[row], pairs[row], parse(label, where)))
    if kind == "classification":
        refuse_odd_labels({label: line for label, line in first_lines.items() if label.strip()}, table.path)
    return examples


def _check_numeric_classes(classes: list[str], path: Path) -> None:
    """Rejects or warns of labels that are so many numbers that they are scores."""
    distinct = set(classes)
    if not all(is_number(name) for name in distinct):
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
