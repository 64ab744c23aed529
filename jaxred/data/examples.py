"""What every reader returns: examples, by split."""

from dataclasses import dataclass
from typing import Any, NamedTuple


class Example(NamedTuple):
    """One sentence or sentence pair with its label."""

    text: str
    pair: str | None  # the second sentence of a pair
    label: str | float  # a class name, or a score for regression


@dataclass(frozen=True)
class Dataset:
    """A task's examples: `train` and `test`, and `dev` where the task has a dev file in addition to its test file.

    Without a `dev` split, dev is held out of train (see `jaxred.data.split`).
    """

    name: str
    kind: str  # classification or regression
    splits: dict[str, list[Example]]


class LabelledSentence(NamedTuple):
    """A sentence whose words are labelled."""

    words: tuple[str, ...]
    labels: tuple[str | float, ...]  # a class name for each word, or a score for regression
    line: int  # where it starts in its file, counted from 1


@dataclass(frozen=True)
class WordDataset:
    """The sentences of a labelling task: a row is a word; otherwise as `Dataset`."""

    name: str
    kind: str  # classification or regression
    splits: dict[str, list[LabelledSentence]]
    notes: dict[str, dict[str, Any]]  # by split: how many sentences and words its file has, and what is left out
