"""Task files to examples: the built-in movie reviews, GLUE, the original's parallel files, and labelled words."""

from collections.abc import Sequence
from pathlib import Path

from jaxred.config import TaskConfig
from jaxred.data.examples import Dataset, WordDataset
from jaxred.data.glue import GLUE_TASKS, glue_name, load_glue
from jaxred.data.labeling import LABELING_TASKS, load_labeling
from jaxred.data.labels import refuse_odd_labels
from jaxred.data.movie_reviews import load_movie_reviews
from jaxred.data.parallel import load_parallel
from jaxred.data.split import sample_in_proportion
from jaxred.data.wordless import refuse_wordless
from jaxred.errors import UserError
from jaxred.io.paths import local

TASKS = ("movie_reviews", *GLUE_TASKS, "parallel", *LABELING_TASKS)

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
            nothing can be learnt from (under 10 rows, one class, one score; one sentence of words and no dev).
    """
    if config.name in LABELING_TASKS:
        task = LABELING_TASKS[config.name]
        dataset = load_labeling(config, _folder(config, f"{task.file('train')} and {task.file('test')}"))
        labels = [label for sentence in dataset.splits["train"] for label in sentence.labels]
        refuse_odd_labels(
            (label for rows in dataset.splits.values() for row in rows for label in row.labels), f"Task {dataset.name}"
        )
        refuse_wordless(dataset)
        _check_train(labels, dataset.name, dataset.kind, config)
        if "dev" not in dataset.splits and len(dataset.splits["train"]) == 1:
            raise UserError(
                f"Task {dataset.name} has one training sentence, and a dev file or a second sentence is needed: an "
                "empty line ends a sentence (in parallel_words, a line is one); cut the words into sentences."
            )
        return dataset
    dataset = _read(config)
    refuse_odd_labels((row.label for rows in dataset.splits.values() for row in rows), f"Task {dataset.name}")
    refuse_wordless(dataset)
    if config.limit_instances >= 0:
        train = dataset.splits["train"]
        rows = sample_in_proportion([example.label for example in train], config.limit_instances, config.split_seed)
        dataset = Dataset(dataset.name, dataset.kind, {**dataset.splits, "train": [train[i] for i in rows]})
    _check_train([example.label for example in dataset.splits["train"]], dataset.name, dataset.kind, config)
    return dataset


def _read(config: TaskConfig) -> Dataset:
    if config.name == "movie_reviews":
        return load_movie_reviews(config.kind)
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


def _folder(config: TaskConfig, files: str) -> Path:
    if not config.data_dir:
        raise UserError(f"Task {config.name} needs a folder with {files}: pass it as config.task.data_dir.")
    folder = local(config.data_dir, "config.task.data_dir")
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise UserError(
            f"config.task.data_dir={config.data_dir!r} {found}, but task {config.name} needs a folder with {files}: "
            "pass one as config.task.data_dir."
        )
    return folder


def _check_train(labels: Sequence[str | float], name: str, kind: str, config: TaskConfig) -> None:
    if len(labels) < _FEWEST_ROWS:
        limit = f" (config.task.limit_instances={config.limit_instances})" if config.limit_instances >= 0 else ""
        raise UserError(
            f"Task {name} has {len(labels)} training rows{limit}, but at least {_FEWEST_ROWS} are needed: give more."
        )
    if len(set(labels)) == 1:
        what, need = ("class", "classes") if kind == "classification" else ("score", "different scores")
        raise UserError(
            f"All {len(labels)} training rows of task {name} have the same {what}, {labels[0]!r}, but at least "
            f"two {need} are needed to learn anything: check the labels."
        )
