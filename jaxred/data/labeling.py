"""Sequence labelling: which files a task has, in which format, and which of their sentences are used."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxred.config import TaskConfig
from jaxred.data import conllu
from jaxred.data.columns import ColumnFormat, read_columns
from jaxred.data.examples import LabelledSentence, WordDataset
from jaxred.data.lines import MissingFile
from jaxred.data.parallel_words import read_parallel_words
from jaxred.errors import UserError

SPLITS = ("train", "dev", "test")
CONLLU = "conllu"
PARALLEL = "parallel_words"


@dataclass(frozen=True)
class LabelingTask:
    """Which files and columns a labelling task has."""

    files: str  # the file of a split, as a pattern with the split's name in it
    label: str  # the column of the labels, unless `task.label_column` names another
    columns: ColumnFormat | None = None  # None: not a file of columns alone

    def file(self, split: str) -> str:
        """The pattern of the file of a split."""
        return self.files.format(split=split)


_CONLL2000 = ColumnFormat(layouts=(("word", "pos", "chunk"),), word="word")
_PMB = ColumnFormat(
    layouts=(
        ("token", "token2", "symbol", "semtag", "ccg", "sense", "roles"),
        ("token", "symbol", "semtag", "ccg", "sense", "roles"),  # up to version 3.0.0
    ),
    word="token",
    separator="tab",
    comments=("# ", "###"),  # and not "#", which is also a word
    space="~",
)

LABELING_TASKS = {
    "conll2000_chunk": LabelingTask("{split}.txt", "chunk", _CONLL2000),
    "conll2000_pos": LabelingTask("{split}.txt", "pos", _CONLL2000),
    "ud_pos": LabelingTask("*{split}.conllu", "upos"),
    CONLLU: LabelingTask("*{split}.conllu", "upos"),
    "pmb_semtag": LabelingTask("{split}.conll", "semtag", _PMB),
    "pmb_ccg": LabelingTask("{split}.conll", "ccg", _PMB),
    "columns": LabelingTask("{split}.*", "2", ColumnFormat()),
    PARALLEL: LabelingTask("{split}.word", ""),
}


def load_labeling(config: TaskConfig, folder: Path) -> WordDataset:
    """Reads the splits train, test and, where its file exists, dev.

    Of every sentence the first word is left out where `ignore_start_token` says so; sentences of more than
    `max_sent_l` words are left out; of train, whole sentences are used from the first on, as long as they have no more
    than `limit_instances` words together.

    Args:
        config: its `name`, `kind`, `limit_instances`, `max_sent_l`, `ignore_start_token` and, of files of columns,
            `label_column`, `word_column`, `separator` and `comment` are used.
        folder: the folder with the files.

    Raises:
        UserError: a file is missing, there is more than one for a split, or is not of its format; no sentence is left.
    """
    task = LABELING_TASKS[config.name]
    splits, notes = {}, {}
    for split in SPLITS:
        path = _find(folder, task.file(split), config.name, optional=split == "dev")
        if path is None:
            _refuse_labels_alone(folder, split, config.name)
            continue
        sentences, dropped = _reader(task, config)(path)
        notes[split] = {
            "sentences": len(sentences) + len(dropped),
            "words": sum(len(sentence.words) for sentence in sentences),
            "sentences_dropped": len(dropped),
            "dropped_lines": dropped,
        }
        splits[split], notes_of_use = _used(sentences, config, path, split)
        notes[split] |= notes_of_use
    return WordDataset(config.name, config.kind, splits, notes)


def _reader(task: LabelingTask, config: TaskConfig) -> Callable[[Path], tuple[list[LabelledSentence], list[int]]]:
    """What gives the sentences of a file, and the lines of those that do not fit together."""
    label = config.label_column or task.label
    if config.name == PARALLEL:
        return lambda path: read_parallel_words(path.with_suffix(""), config.kind)
    columns = task.columns
    if columns is None:
        return lambda path: (conllu.read_conllu(path, label, config.kind), [])
    if not columns.layouts:
        if label == str(config.word_column) and not config.label_column:
            raise UserError(
                f"config.task.word_column={config.word_column} is where task {config.name} has its labels: name their "
                "column as config.task.label_column."
            )
        comments = (config.comment,) if config.comment else ()
        columns = replace(columns, word=str(config.word_column), separator=config.separator, comments=comments)
    return lambda path: (read_columns(path, columns, label, config.kind), [])


def _used(
    sentences: list[LabelledSentence], config: TaskConfig, path: Path, split: str
) -> tuple[list[LabelledSentence], dict[str, Any]]:
    if config.ignore_start_token:
        sentences = [LabelledSentence(words[1:], labels[1:], line) for words, labels, line in sentences]
        sentences = [sentence for sentence in sentences if sentence.words]
        if not sentences:
            raise UserError(
                f"{path} has no sentence of more than one word, and config.task.ignore_start_token leaves out the "
                "first of each: set it to False, or put an empty line only after a whole sentence."
            )
    kept = [sentence for sentence in sentences if len(sentence.words) <= config.max_sent_l]
    too_long = [sentence.line for sentence in sentences if len(sentence.words) > config.max_sent_l]
    notes: dict[str, Any] = {"sentences_too_long": len(too_long), "too_long_lines": too_long}
    if not kept:
        raise UserError(
            f"{path} has no sentence of at most config.task.max_sent_l={config.max_sent_l} words: check where "
            "sentences end (at an empty line; in parallel_words, at the end of a line), or allow longer ones."
        )
    if split == "train" and config.limit_instances >= 0:
        first, n_words = 0, 0
        while first < len(kept) and n_words + len(kept[first].words) <= config.limit_instances:
            n_words += len(kept[first].words)
            first += 1
        if not first:
            raise UserError(
                f"config.task.limit_instances={config.limit_instances} is fewer than the {len(kept[0].words)} words of "
                f"the first sentence of {path}, and sentences are taken whole: allow more, or -1 for all words."
            )
        notes["sentences_beyond_limit"] = len(kept) - first
        kept = kept[:first]
    return kept, notes


def _refuse_labels_alone(folder: Path, split: str, task: str) -> None:
    """A split that may be missing must be missing whole."""
    labels = folder / f"{split}.label"
    if task == PARALLEL and labels.exists():
        raise UserError(f"{labels} has no {split}.word next to it: add the words, or remove the labels.")


def _find(folder: Path, pattern: str, task: str, optional: bool) -> Path | None:
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise UserError(f"{folder} has {len(paths)} files {pattern} ({names}), but task {task} takes one: keep one.")
    if not paths and not optional:
        raise MissingFile(f"{folder} has no file {pattern}, which task {task} needs: check config.task.data_dir.")
    return paths[0] if paths else None
