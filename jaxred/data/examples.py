"""What every reader returns: examples, by split."""

from dataclasses import dataclass
from typing import NamedTuple


class Example(NamedTuple):
    """One sentence or sentence pair with its label."""

    text: str
    pair: str | None  # the second sentence of a pair
    label: str | float  # a class name, or a score for regression


@dataclass(frozen=True)
class Dataset:
    """A task's examples: `train` and `test`, and `dev` where the task has a dev file beside its test file.

    Without a `dev` split, dev is held out of train (see `jaxred.data.split`).
    """

    name: str
    kind: str  # classification or regression
    splits: dict[str, list[Example]]
