"""Which sentences are scored together: padded batches of few shapes, a sentence to a row."""

import sys
from dataclasses import dataclass

import numpy as np

# The padded lengths; longer ones are powers of two.
LENGTHS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512)
ROW_MULTIPLE = 8


@dataclass(frozen=True)
class Batch:
    """Sentences that go through the encoder together, padded to `n_rows` x `length`."""

    rows: np.ndarray
    length: int
    n_rows: int


def plan_batches(lengths: np.ndarray, token_budget: int, longest: int = sys.maxsize) -> list[Batch]:
    """Packs sentences, longest first, into batches of at most `token_budget` padded tokens and few different shapes.

    Every sentence is in exactly one batch, no batch is shorter than its sentences, and the shape depends on the
    length alone. Only the last batch may have rows to spare.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        length = min(padded_length(int(lengths[order[start]])), longest)
        n_rows = max(token_budget // length, 1)
        n_rows -= n_rows % ROW_MULTIPLE if n_rows > ROW_MULTIPLE else 0
        batches.append(Batch(order[start : start + n_rows], length, n_rows))
        start += n_rows
    return batches


def padded_length(length: int) -> int:
    """The length that a sentence of so many tokens is padded to."""
    return next((padded for padded in LENGTHS if padded >= length), 1 << (length - 1).bit_length())
