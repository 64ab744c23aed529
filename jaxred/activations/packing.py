"""Which sentences go through the encoder together: several to a row, so that hardly any padding is computed.

Rows are of few lengths, so that few shapes are compiled, and short, since attention's cost grows with them. Which
length is best, the sentences' own lengths decide: that of which the encoder has least to compute.
"""

import bisect
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxred.models.tokenization import PaddedBatch, TokenBatch, TokenizedWords, Tokenizer

LEAST_BUDGET = 2048  # tokens that a batch may have however few there are
LEAST_LENGTH = 32  # of a row
ATTENTION = 1500  # tokens of a row whose attention costs about as much as all else
PARTS = 4  # a batch that is not filled has a quarter of the rows, where they suffice
SLOT_SHARES = 4  # the words taken from a batch fill up to 1/4, 2/4, 3/4 or 4/4 of its tokens, so that shapes are few


class Shape(NamedTuple):
    """The shape of a batch."""

    n_rows: int
    length: int  # tokens of a row
    n_slots: int  # the most sentences that a row has


class WordSlots(NamedTuple):
    """Which tokens of a batch are words; those that fill the arrays up have no tokens."""

    rows: np.ndarray  # [slot], the row of the batch
    starts: np.ndarray  # [slot], the first token
    counts: np.ndarray  # [slot], how many tokens


class Work(NamedTuple):
    """A batch that is to be computed."""

    rows: Int[np.ndarray, " row"]  # of the window, whose vectors it has
    places: Int[np.ndarray, " row"] | slice  # where they are among all its vectors
    batch: PaddedBatch
    words: WordSlots | None = None


@dataclass(frozen=True)
class Packing:
    """Sentences of a batch, and where each is in it."""

    shape: Shape
    sentences: Int[np.ndarray, " sentence"]
    rows: Int[np.ndarray, " sentence"]
    starts: Int[np.ndarray, " sentence"]  # the first token of each in its row
    slots: Int[np.ndarray, " sentence"]  # the how-manieth of its row it is

    @property
    def places(self) -> Int[np.ndarray, " sentence"]:
        """Where the vector of each sentence is among those of all slots."""
        return self.rows * self.shape.n_slots + self.slots

    @property
    def n_tokens(self) -> int:
        """Tokens that are computed."""
        return self.shape.n_rows * self.shape.length

    def work(self, tokenizer: Tokenizer, tokens: TokenBatch) -> Work:
        """What is computed for the vectors of the sentences; the arguments are those of `tokens`."""
        return Work(self.sentences, self.places, self.tokens(tokenizer, tokens))

    def tokens(self, tokenizer: Tokenizer, tokens: TokenBatch) -> PaddedBatch:
        """The arrays that the encoder takes.

        Args:
            tokenizer: what padding is made of.
            tokens: of all sentences.
        """
        n_rows, length, n_slots = self.shape
        shape = n_rows, length
        input_ids = np.full(shape, tokenizer.pad_token_id, np.int32)
        token_type_ids = np.full(shape, tokenizer.layout.pad_token_type_id, np.int32)
        numbers = np.zeros(shape, np.int32)
        positions = np.zeros((n_rows, n_slots), np.int32)
        lengths = tokens.lengths[self.sentences]
        of_token = np.repeat(np.arange(len(lengths)), lengths)
        within = np.arange(len(of_token)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        at = self.rows[of_token], self.starts[of_token] + within
        input_ids[at] = np.concatenate([tokens.ids[sentence] for sentence in self.sentences])
        token_type_ids[at] = np.concatenate([tokens.token_type_ids[sentence] for sentence in self.sentences])
        numbers[at] = self.slots[of_token] + 1
        of_slots = self.slots < n_slots  # none but the first, where no vector of a sentence is taken
        positions[self.rows[of_slots], self.slots[of_slots]] = (self.starts + tokens.positions[self.sentences])[
            of_slots
        ]
        return PaddedBatch(input_ids, numbers, token_type_ids, positions)


def pack(lengths: np.ndarray, token_budget: int, longest: int = sys.maxsize, one_slot: bool = False) -> list[Packing]:
    """Packs sentences into batches of few shapes, in the rows that cost least.

    Every sentence is in exactly one batch and no row is longer than `longest`. The shapes depend on the lengths alone.

    Args:
        lengths: the tokens of each sentence.
        token_budget: tokens of a batch, padding included; a row that is longer is a batch.
        longest: the most tokens that a row may have: those that the model takes.
        one_slot: shapes without places for the vectors of sentences, where those of words are taken.

    Example:
        >>> [batch.sentences.tolist() for batch in pack(np.array([3, 30, 5]), token_budget=64)]
        [[1], [0, 2]]
    """
    if not len(lengths):
        return []
    mean = int(np.ceil(lengths.mean()))
    tried = {min(max(_power_of_two(times * mean), LEAST_LENGTH), longest) for times in (1, 2, 4)}
    return min((_packed(lengths, length, token_budget, longest, one_slot) for length in sorted(tried)), key=_cost)


def _packed(lengths: np.ndarray, usual: int, token_budget: int, longest: int, one_slot: bool) -> list[Packing]:
    """Sentences in rows of a usual length: those that are longer first, then the rest in their order; each row is
    filled with the longest that still fit.
    """
    gap = max(_power_of_two(int(lengths.mean() / 1.5) + 1) // 2, 2)  # tokens to a slot: fewer than a sentence has
    waiting = _Waiting(lengths)
    batches = []
    while (length := waiting.longest()) > 0:
        length = min(max(usual, _power_of_two(length)), longest)
        n_rows, n_slots = max(token_budget // length, 1), max(length // gap, 1)
        placed: list[tuple[int, int, int, int]] = []
        n_filled = 0
        while n_filled < n_rows and (sentence := waiting.first(above=usual)) is not None:
            start = slot = 0
            while sentence is not None:
                placed.append((sentence, n_filled, start, slot))
                start, slot = start + int(lengths[sentence]), slot + 1
                sentence = waiting.next(length - start) if slot < n_slots else None
            n_filled += 1
        part = -(-n_rows // PARTS)
        shape = Shape(part if n_filled <= part else n_rows, length, 1 if one_slot else n_slots)
        batches.append(Packing(shape, *np.array(placed, np.int64).T))
    return batches


class _Waiting:
    """Sentences that are in no row yet, to be had in their order or by length."""

    def __init__(self, lengths: np.ndarray):
        self._lengths = lengths.tolist()
        self._by_length: dict[int, list[int]] = {}
        for sentence in reversed(range(len(lengths))):
            self._by_length.setdefault(self._lengths[sentence], []).append(sentence)
        self._present = sorted(self._by_length)
        self._taken = [False] * len(lengths)
        self._at = 0

    def longest(self) -> int:
        """The most tokens of a sentence; 0: none is left."""
        return self._present[-1] if self._present else 0

    def first(self, above: int) -> int | None:
        """The longest sentence, where it is longer than so many tokens; else the next one in their order."""
        return self._of_length(-1) if self.longest() > above else self._in_order(self.longest())

    def next(self, capacity: int) -> int | None:
        """The next one in their order, where it fits; else the longest that does."""
        sentence = self._in_order(capacity)
        if sentence is None and (n_fitting := bisect.bisect_right(self._present, capacity)):
            return self._of_length(n_fitting - 1)
        return sentence

    def _in_order(self, capacity: int) -> int | None:
        while self._at < len(self._taken) and self._taken[self._at]:
            self._at += 1
        if self._at == len(self._taken) or self._lengths[self._at] > capacity:
            return None
        size = self._lengths[self._at]
        return self._of_length(bisect.bisect_left(self._present, size))

    def _of_length(self, index: int) -> int:
        """The first of the sentences of a length: by the order, where it is that of the next one in it."""
        size = self._present[index]
        sentence = self._by_length[size].pop()
        if not self._by_length[size]:
            del self._present[index]
        self._taken[sentence] = True
        return sentence


def _cost(batches: list[Packing]) -> float:
    """What the encoder computes, in tokens: attention grows with a row's length, and a shape is not free."""
    computed = sum(batch.n_tokens * (1 + batch.shape.length / ATTENTION) for batch in batches)
    return computed + sum(length * n_rows for n_rows, length, _ in {batch.shape for batch in batches})


def justified_budget(token_budget: int, lengths: np.ndarray, least: int = LEAST_BUDGET) -> int:
    """A token budget, cut to what a window's sentences can fill, but to no less than `least`: memory is not asked for
    padding alone.

    It is a power of two where it is cut, so that windows of about as many tokens have batches of the same shapes.
    """
    return min(token_budget, _power_of_two(max(int(lengths.sum()), least)))


def pack_words(
    words: TokenizedWords, window: slice, tokenizer: Tokenizer, token_budget: int, least: int = LEAST_BUDGET
) -> Iterator[Work]:
    """The batches of a window of words: their whole sentences, and where the words are in them.

    Args:
        words: all words.
        window: the numbers of those of the window.
        tokenizer: what padding is made of.
        token_budget: tokens of a batch.
        least: tokens that a batch may have however few there are.
    """
    sentences, first, n_words = np.unique(words.sentence_index[window], return_index=True, return_counts=True)
    lengths = words.tokens.lengths[sentences]
    budget = justified_budget(token_budget, lengths, least)
    for packing in pack(lengths, budget, tokenizer.longest, one_slot=True):
        size = n_words[packing.sentences]
        of_word = np.repeat(np.arange(len(size)), size)
        within = np.arange(len(of_word)) - np.repeat(np.cumsum(size) - size, size)
        rows = first[packing.sentences][of_word] + within
        slots = WordSlots(*(np.zeros(n_word_slots(len(rows), packing.n_tokens), np.int32) for _ in WordSlots._fields))
        slots.rows[: len(rows)] = packing.rows[of_word]
        slots.starts[: len(rows)] = packing.starts[of_word] + words.start[window][rows]
        slots.counts[: len(rows)] = words.count[window][rows]
        whole = replace(packing, sentences=sentences[packing.sentences])
        yield Work(rows, slice(len(rows)), whole.tokens(tokenizer, words.tokens), slots)


def n_word_slots(n_words: int, n_tokens: int) -> int:
    """Places for so many words of a batch of so many tokens, of which there are few numbers."""
    share = -(-n_tokens // SLOT_SHARES)
    return -(-n_words // share) * share


def _power_of_two(number: int) -> int:
    """The least one that is not less."""
    return 1 << (number - 1).bit_length()
