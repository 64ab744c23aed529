"""Which rows train, which select, and which are used at all."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxred.errors import UserError


class DataSplit(NamedTuple):
    """Row numbers of a train file divided into train and dev."""

    all_idx: Int[np.ndarray, " row"]  # every row, shuffled
    train_idx: Int[np.ndarray, " train_row"]  # the first of them
    dev_idx: Int[np.ndarray, " dev_row"]  # the rest


def train_dev_split(n: int, dev_fraction: float = 0.1, seed: int = 7361, what: str = "rows") -> DataSplit:
    """Holds out a share of the training rows as dev, exactly as the original does at the default arguments.

    The original shuffles `arange(n)` after `np.random.seed(7361)` and trains on the first `int(n * 0.90)`; the same
    stream is drawn here without touching NumPy's global generator. The product is rounded to six decimals before it is
    cut, so that no share loses a row to float rounding (`int(100 * 0.29)` is 28).

    Args:
        n: number of rows.
        dev_fraction: share held out, between 0 and 1.
        seed: seed of the shuffle.
        what: the name of what is split, for the message.

    Returns:
        The shuffled rows, and their train and dev parts.

    Raises:
        UserError: a part would be empty.
    """
    n_train = int(round(n * (1 - dev_fraction), 6))
    if not 0 < n_train < n:
        raise UserError(
            f"{n} {what} cannot be split with config.task.dev_fraction={dev_fraction}: train would have {n_train} "
            f"and dev {n - n_train}, and each needs at least 1; give more {what} or another share."
        )
    all_idx = np.arange(n)
    np.random.RandomState(seed).shuffle(all_idx)
    return DataSplit(all_idx, all_idx[:n_train], all_idx[n_train:])


def train_dev_split_of_words(
    sentence_index: Int[np.ndarray, " row"], dev_fraction: float = 0.1, seed: int = 7361
) -> DataSplit:
    """Holds out a share of the training sentences as dev, where a row is a word.

    Sentences are shuffled as `train_dev_split` shuffles rows, and stay whole: the vector of a word depends on its
    sentence, so that dev would be similar to what train has seen. The words of a sentence keep their order.

    Args:
        sentence_index: the sentence of each row.
        dev_fraction: share of the sentences held out, between 0 and 1.
        seed: seed of the shuffle.

    Returns:
        The row numbers in the shuffled order of their sentences, and their train and dev parts.

    Raises:
        UserError: a part would be empty.
    """
    _, sentence, sizes = np.unique(sentence_index, return_inverse=True, return_counts=True)
    by_sentence = np.split(np.argsort(sentence, kind="stable"), np.cumsum(sizes)[:-1])
    split = train_dev_split(len(sizes), dev_fraction, seed, "sentences")
    return DataSplit(*(np.concatenate([by_sentence[i] for i in part]) for part in split))


def sample_in_proportion(labels: Sequence[str | float], n: int, seed: int) -> Int[np.ndarray, " sampled_row"]:
    """A seeded sample of rows in which every class keeps its share.

    Classes get rows by the largest remainder, and at least one row each. Scores (regression) are sampled uniformly.

    Args:
        labels: a class name or a score for every row.
        n: size of the sample; all rows are returned where there are no more than that.
        seed: seed of the sample.

    Returns:
        Row numbers in ascending order, so the order of the data is kept.

    Raises:
        UserError: the sample is smaller than the number of classes.
    """
    if n >= len(labels):
        return np.arange(len(labels))
    if n < 1:
        raise UserError(f"config.task.limit_instances={n} is not possible: at least 1 row must be kept.")
    random = np.random.RandomState(seed)
    if not isinstance(labels[0], str):
        return np.sort(random.permutation(len(labels))[:n])

    sizes = Counter(labels)
    if n < len(sizes):
        raise UserError(
            f"config.task.limit_instances={n} is fewer than the {len(sizes)} classes of the training data: "
            f"give at least {len(sizes)}, or -1 for all rows."
        )
    classes = sorted(sizes, key=str)
    shares = _shares([sizes[name] for name in classes], n)
    array = np.asarray(labels, dtype=object)
    kept = [
        random.permutation(np.flatnonzero(array == name))[:share] for name, share in zip(classes, shares, strict=True)
    ]
    return np.sort(np.concatenate(kept))


def _shares(sizes: list[int], n: int) -> list[int]:
    """Divides n rows over classes in proportion to their sizes, at least one each; ties go to the earlier class."""
    total = sum(sizes)
    shares = [max(1, n * size // total) for size in sizes]

    def excess(i: int) -> int:  # rows above the exact share, times total
        return shares[i] * total - n * sizes[i]

    while sum(shares) < n:
        shares[min(range(len(sizes)), key=excess)] += 1
    while sum(shares) > n:
        shares[max((i for i in range(len(sizes)) if shares[i] > 1), key=excess)] -= 1
    return shares
