"""The files of the task `table`: which file is which split, and what its rows and columns are."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxred.config import TaskConfig
from jaxred.data.arrow import ArrowColumns, read_parquet, read_saved_split, saved_splits
from jaxred.data.delimited import read_delimited
from jaxred.data.json_rows import read_json_rows
from jaxred.data.lines import MissingFile
from jaxred.errors import UserError

log = logging.getLogger("jaxred")

DELIMITED, JSON_ROWS, PARQUET = (".csv", ".tsv", ".tab"), (".jsonl", ".ndjson", ".json"), (".parquet",)
SUFFIXES = DELIMITED + JSON_ROWS + PARQUET
SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation", "valid", "val"), "test": ("test",)}

_SHARD = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})")


@dataclass(frozen=True)
class Table:
    """The columns of one file."""

    path: Path
    names: tuple[str, ...]  # of the columns; of a CSV or TSV file, the cells of its first row
    numbers: Sequence[int]  # of the rows, for messages
    unit: str  # what those count: line or row
    values: Callable[[int], list[Any]]  # of a column by its number, counted from 0
    class_names: dict[str, list[str]] = field(default_factory=dict)  # of columns whose integers stand for classes
    named: bool = True  # False: the first row may be a header or an example, and is one of the rows
    separator: str = ""  # of CSV and TSV

    def where(self, row: int) -> str:
        """The row, counted from 0, as a message names it."""
        return f"{self.path}, {self.unit} {self.numbers[row]}"


def open_table(path: Path, least_columns: int = 2) -> Table:
    """Opens a file of any format, by its suffix.

    Args:
        path: the file.
        least_columns: fewer in CSV or TSV are taken for another separator.

    Raises:
        UserError: the suffix is unknown, or the file is not of its format.
    """
    suffix = path.suffix.lower()
    if suffix in DELIMITED:
        rows = read_delimited(path, least_columns)
        names = tuple(cell.strip() for cell in rows.cells[0])

        def cells(column: int) -> list[Any]:
            return [row[column] for row in rows.cells]

        return Table(path, names, rows.lines, "line", cells, named=False, separator=rows.separator)
    if suffix in JSON_ROWS:
        objects, numbers, unit = read_json_rows(path)
        keys = tuple(dict.fromkeys(key for row in objects for key in row))
        return Table(path, keys, numbers, unit, lambda column: [row.get(keys[column]) for row in objects])
    if suffix in PARQUET:
        return _arrow_table(path, read_parquet(path))
    raise UserError(
        f"{path} has none of the suffixes that task table reads ({', '.join(SUFFIXES)}): convert it to one."
    )


def open_split(path: Path) -> list[Table]:
    """The tables of a split: of a file, of the shards of one, or of a folder that `datasets` saved.

    Raises:
        UserError: as `open_table`.
    """
    if path.is_dir():
        return [_arrow_table(file, columns) for file, columns in read_saved_split(path).items()]
    return [open_table(shard) for shard in _shards(path)]


def find_splits(path: Path, config: TaskConfig) -> dict[str, Path]:
    """The files or folders of the splits, `train` always; `test` is missing where it is to be held out of train.

    Args:
        path: a file, or a folder with one file per split, such as `train.csv` and `test.csv`, or one that `datasets`
            saved. Of a file in shards (`train-00000-of-00002.parquet`), the first stands for all.
        config: its `train_split`, `dev_split` and `test_split` name splits that are not called so.

    Raises:
        UserError: a split is missing, there more than once, or a link out of the folder.
    """
    if not path.is_dir():
        named = [name for name in ("train_split", "dev_split", "test_split") if getattr(config, name)]
        if named:
            raise UserError(
                f"config.task.{named[0]}={getattr(config, named[0])!r} names a file of a folder, but "
                f"config.task.data_dir={config.data_dir!r} is a file: pass the folder, or leave {named[0]} out."
            )
        _warn_of_unused(path)
        return {"train": path}
    saved = saved_splits(path)
    candidates = {name: [folder] for name, folder in saved.items()} if saved else _candidates(path)
    splits = {}
    for split in ("train", "test", "dev"):
        name = getattr(config, f"{split}_split")
        names = (name,) if name else SPLIT_NAMES[split]
        matches = {p: None for n in names for p in candidates.get(n if name else n.lower(), [])}
        if not name:  # what was named as another split is not this one
            matches = {p: None for p in matches if p not in splits.values()}
        if len(matches) > 1:
            both = " and ".join(match.name for match in matches)
            raise UserError(f"{path} has {both}: name the one that is {split} as config.task.{split}_split.")
        if matches:
            (splits[split],) = matches
        elif name or split == "train":
            files = ", ".join(sorted({p.name for ps in candidates.values() for p in ps})[:20]) or "no file of a table"
            expected = repr(name) if name else f"train ({', '.join(f'train{suffix}' for suffix in SUFFIXES)})"
            raise MissingFile(
                f"{path} has no {expected} for task table, but {files}: name the file that is {split} as "
                f"config.task.{split}_split, or check config.task.data_dir."
            )
    if "test" not in splits and "dev" in splits:
        raise UserError(
            f"{path} has {splits['train'].name} and {splits['dev'].name}, but no test file: add one, or use that one "
            f"as the test set with config.task.test_split={splits['dev'].name} (dev is then held out of train)."
        )
    for chosen in splits.values():
        if not chosen.resolve().is_relative_to(path.resolve()):
            raise UserError(
                f"{chosen} is a link to {chosen.resolve()}, out of its folder: put the file itself there, or pass the "
                "folder that holds it as config.task.data_dir."
            )
    return splits


def _warn_of_unused(path: Path) -> None:
    """Warns of a test or dev file next to a train file that was passed alone."""
    if path.stem.lower() in SPLIT_NAMES["train"]:
        others = {name for split in ("dev", "test") for name in SPLIT_NAMES[split]}
        unused = [other.name for other in path.parent.glob("*" + path.suffix) if other.stem.lower() in others]
        if unused:
            log.warning(
                "%s is used alone, and %s next to it is not: pass the folder as config.task.data_dir to use both",
                path.name,
                " and ".join(sorted(unused)),
            )


def _candidates(folder: Path) -> dict[str, list[Path]]:
    """The files of a folder that are tables, by their whole name and by their name without suffix, in small letters."""
    candidates: dict[str, list[Path]] = {}
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}): make it a readable folder.") from None
    for path in paths:
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or path.is_dir():
            continue
        shard = _SHARD.fullmatch(path.stem)
        if shard and int(shard[2]) > 0:
            continue
        stem = shard[1] if shard else path.stem
        for name in dict.fromkeys((path.name, stem, stem.lower())):
            candidates.setdefault(name, []).append(path)
    return candidates


def _shards(path: Path) -> list[Path]:
    shard = _SHARD.fullmatch(path.stem)
    if not shard or int(shard[2]) > 0:
        return [path]
    paths = [
        path.with_name(f"{shard[1]}-{number:05d}-of-{shard[3]}{path.suffix}") for number in range(int(shard[3]) or 1)
    ]
    for one in paths:
        if not one.exists():
            raise MissingFile(f"{one} does not exist, but {path.name} says that it is one of {int(shard[3])}: add it.")
        if one.resolve().parent != path.resolve().parent:
            raise UserError(f"{one} is a link out of its folder: put the file itself there.")
    return paths


def _arrow_table(path: Path, columns: ArrowColumns) -> Table:
    return Table(path, columns.names, range(1, columns.n_rows + 1), "row", columns.values, columns.class_names)
