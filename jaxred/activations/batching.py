"""Which sentences go through the encoder together: batches of few shapes, and where the words of each are."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxred.models.tokenization import PaddedBatch, TokenizedWords, Tokenizer

# The padded lengths; longer ones are powers of two.
LENGTHS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512)
ROW_MULTIPLE = 8
LEAST_BUDGET = 2048  # padded tokens that a batch may have however few there are
SLOT_SHARES = 4  # the words taken from a batch fill up to 1/4, 2/4, 3/4 or 4/4 of its tokens, so that shapes are few


@dataclass(frozen=True)
class Batch:
    """Sentences that go through the encoder together, padded to `n_rows` x `length`."""

    rows: np.ndarray
    length: int
    n_rows: int


class WordSlots(NamedTuple):
    """Which tokens of a padded batch are words; those that fill the arrays up have no tokens."""

    sentences: np.ndarray  # [slot], the row of the batch
    starts: np.ndarray  # [slot], the first token
    counts: np.ndarray  # [slot], how many tokens


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


def justified_budget(token_budget: int, lengths: np.ndarray, least: int = LEAST_BUDGET) -> int:
    """A token budget, cut to what a window's sentences can fill, but to no less than `least`: memory is not asked for
    padding alone.

    It is a power of two where it is cut, so that windows of about as many tokens have batches of the same shapes.
    """
    n_tokens = max(int(lengths.sum()), least)
    return min(token_budget, 1 << (n_tokens - 1).bit_length())


def padded_length(length: int) -> int:
    """The length that a sentence of so many tokens is padded to."""
    return next((padded for padded in LENGTHS if padded >= length), 1 << (length - 1).bit_length())


def word_batches(
    words: TokenizedWords, window: slice, tokenizer: Tokenizer, token_budget: int
) -> Iterator[tuple[np.ndarray, PaddedBatch, WordSlots]]:
    """The batches of a window of words: the numbers of the words, their whole sentences, and where they are in them.

    Args:
        words: all words.
        window: the numbers of those of the window.
        tokenizer: pads the sentences.
        token_budget: padded tokens per batch.
    """
    sentences, first, n_words = np.unique(words.sentence_index[window], return_index=True, return_counts=True)
    tokens = words.tokens
    for batch in plan_batches(tokens.lengths[sentences], token_budget, tokenizer.longest):
        size = n_words[batch.rows]
        within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        rows = window.start + np.repeat(first[batch.rows], size) + within
        n_slots = _n_slots(len(rows), batch.n_rows * batch.length)
        slots = WordSlots(*(np.zeros(n_slots, np.int32) for _ in WordSlots._fields))
        slots.sentences[: len(rows)] = np.repeat(np.arange(len(size)), size)
        shift = tokenizer.first_token(tokens, words.sentence_index[rows], batch.length)
        slots.starts[: len(rows)] = words.start[rows] + shift
        slots.counts[: len(rows)] = words.count[rows]
        yield rows, tokenizer.pad(tokens, sentences[batch.rows], batch.length, batch.n_rows), slots


def _n_slots(n_words: int, n_tokens: int) -> int:
    """Places for so many words of a batch of so many padded tokens."""
    share = -(-n_tokens // SLOT_SHARES)
    return -(-n_words // share) * share
