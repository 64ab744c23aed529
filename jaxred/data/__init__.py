"""Task files to examples: the built-in movie reviews, GLUE, tables, the original's parallel files, labelled words."""

from collections.abc import Sequence
from pathlib import Path

from jaxred.config import TaskConfig
from jaxred.data.checks import refuse_wordless, warn_of_single
from jaxred.data.examples import Dataset, WordDataset
from jaxred.data.folders import reader_of
from jaxred.data.glue import GLUE_TASKS, glue_name, load_glue
from jaxred.data.labeling import LABELING_TASKS, load_labeling
from jaxred.data.labels import refuse_odd_labels
from jaxred.data.lines import MissingFile
from jaxred.data.movie_reviews import load_movie_reviews
from jaxred.data.parallel import load_parallel
from jaxred.data.split import sample_in_proportion
from jaxred.data.table import load_table
from jaxred.errors import UserError
from jaxred.io.paths import local

TABLE = "table"
TASKS = ("movie_reviews", *GLUE_TASKS, TABLE, "parallel", *LABELING_TASKS)

_FEWEST_ROWS = 10  # a tenth of the training rows becomes dev, and that must be at least one


def load_task(config: TaskConfig) -> Dataset | WordDataset:
    """The examples that a task configuration asks for.

    Args:
        config: its `name`, `kind`, `data_dir`, `limit_instances` (which cuts train only) and `split_seed` are used, and
            what `load_labeling` uses.

    Returns:
        The dataset, with the splits 'train' and 'test', and 'dev' where the task has its own. Its rows are sentences
        or, of a labelling task, words.

    Raises:
        UserError: an unknown task, a kind the task does not have, a missing folder, bad files, or training data that
            teaches nothing (under 10 rows, one class, one score; one sentence of words and no dev).
    """
    try:
        return _load_task(config)
    except MissingFile as error:
        hint = (
            reader_of(local(config.data_dir, "config.task.data_dir"), glue_name(config.name) or config.name)
            if config.data_dir
            else ""
        )
        raise UserError(f"{error} {hint}".rstrip()) from None


def _load_task(config: TaskConfig) -> Dataset | WordDataset:
    if config.name in LABELING_TASKS:
        task = LABELING_TASKS[config.name]
        dataset = load_labeling(config, _folder(config, f"{task.file('train')} and {task.file('test')}"))
        labels = [label for sentence in dataset.splits["train"] for label in sentence.labels]
        refuse_odd_labels(
            (label for rows in dataset.splits.values() for row in rows for label in row.labels), f"Task {dataset.name}"
        )
        refuse_wordless(dataset)
        warn_of_single(dataset)
        _check_train(labels, dataset.name, dataset.kind, config)
        if "dev" not in dataset.splits and len(dataset.splits["train"]) == 1:
            raise UserError(
                f"Task {dataset.name} has one training sentence, and a dev file or a second sentence is needed: an "
                "empty line ends a sentence (in parallel_words, each line is a sentence); cut the words into sentences."
            )
        return dataset
    dataset = _read(config)
    refuse_odd_labels((row.label for rows in dataset.splits.values() for row in rows), f"Task {dataset.name}")
    refuse_wordless(dataset)
    warn_of_single(dataset)
    if config.limit_instances >= 0:
        train = dataset.splits["train"]
        rows = sample_in_proportion([example.label for example in train], config.limit_instances, config.split_seed)
        dataset = Dataset(dataset.name, dataset.kind, {**dataset.splits, "train": [train[i] for i in rows]})
    _check_train([example.label for example in dataset.splits["train"]], dataset.name, dataset.kind, config)
    return dataset


def _read(config: TaskConfig) -> Dataset:
    if config.name == "movie_reviews":
        return load_movie_reviews(config.kind)
    if config.name == TABLE:
        files = "train.csv and test.csv (or .tsv, .jsonl, .parquet), or a file of these"
        return load_table(config, _path(config, files))
    if config.name == "parallel":
        return load_parallel(_folder(config, "train.word, train.label, test.word and test.label"), config.kind)
    name = glue_name(config.name)
    if name is None:
        raise UserError(f"config.task.name={config.name!r} is not known: choose one of {', '.join(TASKS)}.")
    task = GLUE_TASKS[name]
    if task.kind != config.kind:
        metric = "pearson_and_spearman" if task.kind == "regression" else "accuracy"
        raise UserError(
            f"config.task.kind={config.kind!r} does not fit task {name}, which is {task.kind}: pass "
            f"config.task.kind={task.kind!r} and a metric for it, as config.task.metric={metric!r}."
        )
    return load_glue(name, _folder(config, f"{task.file('train')} and {task.file('test')}"))


def _path(config: TaskConfig, files: str) -> Path:
    """The file or folder that `data_dir` names."""
    if not config.data_dir:
        raise UserError(f"Task {config.name} needs a folder with {files}: pass it as config.task.data_dir.")
    path = local(config.data_dir, "config.task.data_dir")
    if not path.exists():
        raise UserError(
            f"config.task.data_dir={config.data_dir!r} does not exist, but task {config.name} needs a folder with "
            f"{files}: pass one as config.task.data_dir."
        )
    return path


def _folder(config: TaskConfig, files: str) -> Path:
    folder = _path(config, files)
    if not folder.is_dir():
        raise MissingFile(
            f"config.task.data_dir={config.data_dir!r} is a file, but task {config.name} needs a folder with {files}: "
            "pass one as config.task.data_dir."
        )
    return folder


def _check_train(labels: Sequence[str | float], name: str, kind: str, config: TaskConfig) -> None:
    if len(labels) < _FEWEST_ROWS:
        limit = f" (config.task.limit_instances={config.limit_instances})" if config.limit_instances >= 0 else ""
        raise UserError(
            f"Task {name} has {len(labels)} training rows{limit}, but at least {_FEWEST_ROWS} are needed: add rows."
        )
    if len(set(labels)) == 1:
        what, need = ("class", "classes") if kind == "classification" else ("score", "different scores")
        raise UserError(
            f"All {len(labels)} training rows of task {name} have the same {what}, {labels[0]!r}, but at least "
            f"two {need} are needed to learn anything: check the labels."
        )
