"""Targets of control tasks, which say nothing about the task: what a probe scores on them it has memorised (Hewitt and
Liang 2019).
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped


def permuted(targets: Shaped[np.ndarray, " row"], seed: int, split: int = 0) -> Shaped[np.ndarray, " row"]:
    """The targets in a random order, which keeps their shares.

    Args:
        targets: class ids or scores.
        seed: of the order.
        split: the number of the split, so that each has its own order.
    """
    return targets[np.random.default_rng([seed, split]).permutation(len(targets))]


def of_types(
    words: Sequence[str], train_targets: Shaped[np.ndarray, " train_row"], seed: int
) -> Shaped[np.ndarray, " row"]:
    """One target for every word type, drawn from the task's shares: a function of the type, the targets and the seed.

    A word that occurs in test alone has a target too. Types are words as they are written.

    Args:
        words: the word of each row.
        train_targets: class ids or scores of the training rows, from whose distribution targets are drawn.
        seed: of the draws.
    """
    ordered = np.sort(train_targets)
    of_type = {word: int(_uniform(word, seed) * len(ordered)) for word in set(words)}
    return ordered[np.array([of_type[word] for word in words], int)]


def _uniform(word: str, seed: int) -> float:
    """A number within [0, 1) that depends on the word and the seed alone, on every machine."""
    digest = hashlib.blake2b(f"{seed}:{word}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
