"""What a folder of data looks like, for the error of a task that does not find its own files there."""

import re
from itertools import islice
from pathlib import Path

from jaxred.data.arrow import DATASET_DICT, STATE
from jaxred.data.glue import GLUE_TASKS, glue_name
from jaxred.data.labeling import LABELING_TASKS
from jaxred.data.table_files import SUFFIXES

_MOST_ENTRIES = 1000  # of a folder that are looked at
_FIRST_BYTES = 4096  # of a file
_TRAIN_TABLE = re.compile(r"train(-00000-of-[0-9]{5})?", re.IGNORECASE)
_CONLL2000_COLUMNS = 3


def reader_of(folder: Path, task: str = "") -> str:
    """Says in a sentence which configuration reads a folder, or a single file; empty where none is known.

    It looks at names and at the first bytes of small text files, and never raises.

    Args:
        folder: a folder or a file, which need not exist.
        task: the task that missed its files there; that it reads such folders itself is not said.

    Returns:
        Such as "This folder has train.csv and test.csv: it is read by --config=configs/table.py."
    """
    try:
        if folder.is_file():
            if folder.suffix.lower() in SUFFIXES and task != "table":
                return "This file is read by --config=configs/table.py."
            return ""
        names = _names(folder)
        reads = _reader(folder, names)
        if reads and _same_files(reads[1], task):
            return ""
        if reads:
            return f"This folder has {reads[0]}: it is read by --config=configs/{reads[1]}."
        for name in names:
            inner = folder / name
            reads = _reader(inner, _names(inner)) if inner.is_dir() else None
            if reads:
                return f"Its folder {name} has {reads[0]}: pass that one, which --config=configs/{reads[1]} reads."
    except (OSError, ValueError):
        return ""
    return ""


def _same_files(config: str, task: str) -> bool:
    """Whether a configuration is of the task, or of one with files of the same names."""
    module, _, name = config.partition(".py")
    name = name.removeprefix(":") or module
    one, other = LABELING_TASKS.get(name), LABELING_TASKS.get(task)
    return name == task or (one is not None and other is not None and one.files == other.files)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in islice(folder.iterdir(), _MOST_ENTRIES)) if folder.is_dir() else []


def _reader(folder: Path, names: list[str]) -> tuple[str, str] | None:
    """What a folder has, and the configuration that reads it."""
    if (folder / "train" / "ledger.json").is_file():
        return "stores of activations", "stores.py"
    if DATASET_DICT in names or STATE in names:
        return (DATASET_DICT if DATASET_DICT in names else STATE), "table.py"
    if {"train.word", "train.label"} <= set(names):
        config = "labeling.py:parallel_words" if _one_label_per_word(folder) else "parallel.py"
        return "train.word and train.label", config
    for suffix, config in ((".conllu", "labeling.py:ud_pos"), (".conll", "labeling.py:pmb_semtag")):
        treebank = next((name for name in names if name.endswith(f"train{suffix}")), None)
        if treebank:
            return treebank, config
    if "train.txt" in names:
        columns = len(_first_line(folder / "train.txt").split())
        if columns == _CONLL2000_COLUMNS:
            return "train.txt", "labeling.py:conll2000_chunk"
        if columns > 1:
            return "train.txt", "labeling.py:columns"
    glue = _glue_task(folder, names)
    if glue:
        return f"train.tsv and {GLUE_TASKS[glue].test_file} of {GLUE_TASKS[glue].folder}", f"glue.py:{glue}"
    tables = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
    train = [name for name in tables if _TRAIN_TABLE.fullmatch(Path(name).stem)]
    if train:
        test = [name for name in tables if Path(name).stem.lower().startswith("test")]
        return " and ".join([train[0], *test[:1]]), "table.py"
    return None


def _glue_task(folder: Path, names: list[str]) -> str | None:
    """The GLUE task whose files a folder has: by its name or, of CoLA and SST-2, by the first line of train.tsv."""
    if "train.tsv" not in names:
        return None
    named = glue_name(folder.name)
    first_line = _first_line(folder / "train.tsv")
    if named is None and first_line == "sentence\tlabel":
        named = "sst2"
    cells = first_line.split("\t")
    if named is None and len(cells) == 4 and cells[1] in GLUE_TASKS["cola"].labels:
        named = "cola"
    return named if named and GLUE_TASKS[named].test_file in names else None


def _one_label_per_word(folder: Path) -> bool:
    n_words, n_labels = (len(_first_line(folder / f"train{suffix}").split()) for suffix in (".word", ".label"))
    return n_words == n_labels > 1


def _first_line(path: Path) -> str:
    if not path.is_file():  # a pipe might never answer
        return ""
    with path.open("rb") as file:
        return file.read(_FIRST_BYTES).decode(errors="ignore").lstrip("\ufeff").split("\n")[0].rstrip("\r")
