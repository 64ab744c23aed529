"""The nine GLUE tasks, read from the TSV files that GLUE distributes.

The official train file is the split 'train', the official dev file the split 'test' (as in the original); the files
named test.tsv have no labels and are never read. Cells are separated by tabs and never quoted: quotes are text.
"""

from dataclasses import dataclass
from pathlib import Path

from absl import logging

from jaxred.data.examples import Dataset, Example
from jaxred.data.lines import MissingFile, parse_score, read_lines
from jaxred.errors import UserError


@dataclass(frozen=True)
class GlueTask:
    """Which files and columns a GLUE task has. Columns are counted from 1."""

    folder: str  # the official spelling
    texts: tuple[int, ...]  # the column of the sentence, or the two of the pair
    labels: tuple[str, ...]  # the allowed classes; empty: scores
    train: dict[int, int]  # number of columns of train.tsv -> column of the label
    test: dict[int, int]  # the same for the official dev file
    test_file: str = "dev.tsv"
    header: bool = True  # line 1 holds names
    ragged: bool = False  # the official file has a few broken lines, and pairs that lack one text

    @property
    def kind(self) -> str:
        """Classification or regression."""
        return "classification" if self.labels else "regression"

    def file(self, split: str) -> str:
        """The name of the file of a split."""
        return "train.tsv" if split == "train" else self.test_file


_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
_NLI = ("contradiction", "entailment", "neutral")

GLUE_TASKS = {
    #                 folder   texts    labels       train     test
    "cola": GlueTask("CoLA", (4,), _BINARY, {4: 2}, {4: 2}, header=False),
    "sst2": GlueTask("SST-2", (1,), _BINARY, {2: 2}, {2: 2}),
    "mrpc": GlueTask("MRPC", (4, 5), _BINARY, {5: 1}, {5: 1}),
    "qqp": GlueTask("QQP", (4, 5), _BINARY, {6: 6}, {6: 6}, ragged=True),
    "stsb": GlueTask("STS-B", (8, 9), (), {10: 10}, {10: 10}),
    # dev_matched.tsv has five annotators' labels before the gold one; files cut out of train.tsv keep its 12 columns.
    "mnli": GlueTask("MNLI", (9, 10), _NLI, {12: 12}, {16: 16, 12: 12}, test_file="dev_matched.tsv"),
    "qnli": GlueTask("QNLI", (2, 3), _ENTAILMENT, {4: 4}, {4: 4}),
    "rte": GlueTask("RTE", (2, 3), _ENTAILMENT, {4: 4}, {4: 4}),
    "wnli": GlueTask("WNLI", (2, 3), _BINARY, {4: 4}, {4: 4}),
}

_MOST_BROKEN = 1000  # of so many lines of a ragged file, one may be broken


def glue_name(name: str) -> str | None:
    """The name in GLUE_TASKS of a task in any usual spelling ('SST-2', 'sst-2', 'sst2'), or None if there is none."""
    plain = name.lower().replace("-", "")
    return plain if plain in GLUE_TASKS else None


def load_glue(name: str, data_dir: Path) -> Dataset:
    """Reads a GLUE task: the official train file as 'train', the official dev file as 'test'.

    Args:
        name: a key of GLUE_TASKS.
        data_dir: the folder with the task's files, or a folder that has such a folder ('SST-2', in any usual spelling).

    Returns:
        The dataset.

    Raises:
        UserError: a file is missing, or as `read_glue_file` does.
    """
    task = GLUE_TASKS[name]
    folder = _find_folder(name, data_dir)
    splits = {split: read_glue_file(folder / task.file(split), name, split) for split in ("train", "test")}
    return Dataset(name, task.kind, splits)


def read_glue_file(path: Path, name: str, split: str) -> list[Example]:
    """Reads one TSV file of a GLUE task.

    QQP alone is read tolerantly, because its official files need it: a few questions hold a line break, which cuts
    their row in two, so lines with too few columns are left out, with a warning, while they are
    at most 1 in 1,000; and one question of a pair may be empty.

    Args:
        path: the file.
        name: a key of GLUE_TASKS.
        split: 'train' or 'test': whose columns the file has.

    Returns:
        The examples, in file order.

    Raises:
        UserError: naming file and line: a wrong number of columns, an empty text, a label the task does not have, a
            score that is not a finite number, a missing header.
    """
    task = GLUE_TASKS[name]
    rows = {line: text.split("\t") for line, text in enumerate(read_lines(path), start=1)}
    n_columns, label_column = _layout(task, split, len(rows[1]), path)
    if task.header:
        _check_header(task, rows.pop(1)[label_column - 1], path)
    if not rows:
        raise UserError(f"{path} has a header but no examples below it: give the whole file.")
    if task.ragged:
        _leave_out_broken(rows, n_columns, path)
    return [_example(row, task, n_columns, label_column, path, line) for line, row in rows.items()]


def _find_folder(name: str, data_dir: Path) -> Path:
    """The folder that holds the task's train.tsv: data_dir itself, or a folder in it that is spelled like the task."""
    if (data_dir / "train.tsv").exists() or not data_dir.is_dir():
        candidates = [data_dir]
    else:
        candidates = sorted(path for path in data_dir.iterdir() if path.is_dir() and glue_name(path.name) == name)
    task = GLUE_TASKS[name]
    files = [task.file(split) for split in ("train", "test")]
    for folder in candidates:
        if all((folder / file).exists() for file in files):
            return folder
    looked = candidates[0] if candidates else data_dir
    missing = [file for file in files if not (looked / file).exists()]
    raise MissingFile(
        f"{looked} has no {' and no '.join(missing)}: GLUE task {name} needs {' and '.join(files)}; set "
        f"config.task.data_dir to the folder that holds them (or that holds {task.folder}/ with them)."
    )


def _layout(task: GlueTask, split: str, n_columns: int, path: Path) -> tuple[int, int]:
    """Number of columns and column of the label, chosen by the number of columns of line 1."""
    layouts = task.train if split == "train" else task.test
    if n_columns not in layouts:
        raise UserError(_wrong_columns(path, 1, n_columns, tuple(layouts)))
    return n_columns, layouts[n_columns]


def _wrong_columns(path: Path, line: int, n_columns: int, expected: tuple[int, ...]) -> str:
    return (
        f"{path}, line {line}: {n_columns} columns separated by tabs, but {' or '.join(map(str, expected))} are "
        "expected: fix that line, or give the file as GLUE distributes it."
    )


def _check_header(task: GlueTask, cell: str, path: Path) -> None:
    """Rejects a file without header, whose first example would be lost."""
    try:
        _parse_label(cell, task, path, 1)
    except UserError:
        return
    raise UserError(
        f"{path}, line 1: the label column holds {cell!r}, but a header is expected: add one above that line."
    )


def _leave_out_broken(rows: dict[int, list[str]], n_columns: int, path: Path) -> None:
    """Removes a few lines with too few columns, with a warning; keeps them, to be rejected, where they are many."""
    broken = [line for line, row in rows.items() if len(row) < n_columns]
    if broken and len(broken) * _MOST_BROKEN <= len(rows):
        logging.warning("%s: %d broken lines are left out, the first is line %d.", path, len(broken), broken[0])
        for line in broken:
            del rows[line]


def _example(row: list[str], task: GlueTask, n_columns: int, label_column: int, path: Path, line: int) -> Example:
    if len(row) != n_columns:
        raise UserError(_wrong_columns(path, line, len(row), (n_columns,)))
    texts = [row[column - 1] for column in task.texts]
    filled = [bool(text.strip()) for text in texts]
    if not (any(filled) if task.ragged else all(filled)):
        column = task.texts[filled.index(False)]
        raise UserError(
            f"{path}, line {line}: the text in column {column} is empty, but a sentence is expected: fix that line."
        )
    label = _parse_label(row[label_column - 1], task, path, line)
    return Example(texts[0], texts[1] if len(texts) == 2 else None, label)


def _parse_label(cell: str, task: GlueTask, path: Path, line: int) -> str | float:
    if not task.labels:
        return parse_score(cell, path, line)
    if cell not in task.labels:
        hint = "" if task.header or line > 1 else f" ({task.folder} files have no header)"
        raise UserError(
            f"{path}, line {line}: the label is {cell!r}, but only {', '.join(task.labels)} are allowed: fix that "
            f"line{hint}."
        )
    return cell
