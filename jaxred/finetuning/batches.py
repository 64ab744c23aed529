"""The batches of an epoch: sentences of similar lengths together, in a random order that the seed decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxred.activations.packing import WordSlots, n_word_slots
from jaxred.models.tokenization import PaddedBatch, TokenBatch, TokenizedWords, Tokenizer

# The padded lengths, fewer than those of extraction: a training step takes longer to compile. Longer ones are multiples
# of the last.
LENGTHS = (16, 32, 40, 48, 56, 64, 80, 96, 112, 128, 192, 256, 384, 512)
_GROUP = 50  # batches whose sentences are sorted by length together


@dataclass(frozen=True)
class Rows:
    """Tokenised sentences with what is to be learned of them or, where rows are words, of their words."""

    tokens: TokenBatch
    targets: np.ndarray  # [row] class ids (int32) or scores (float32)
    words: TokenizedWords | None = None  # where rows are words, in the order of the sentences

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def n_sentences(self) -> int:
        return len(self.tokens)

    def of_sentences(self, sentences: np.ndarray) -> list[np.ndarray]:
        """The numbers of the rows of each of some sentences."""
        if self.words is None:
            return list(sentences[:, None])
        first = np.searchsorted(self.words.sentence_index, np.arange(self.n_sentences + 1)).tolist()
        return [np.arange(first[sentence], first[sentence + 1]) for sentence in sentences.tolist()]

    def subset(self, sentences: np.ndarray) -> "Rows":
        """The rows of some sentences, in their order."""
        tokens = _of_sentences(self.tokens, sentences)
        if self.words is None:
            return Rows(tokens, self.targets[sentences])
        words = self.words
        by_sentence = self.of_sentences(sentences)
        rows = np.concatenate(by_sentence)
        sentence_index = np.repeat(np.arange(len(sentences)), list(map(len, by_sentence))).astype(np.int32)
        parts = words.word_index[rows], words.start[rows], words.count[rows]
        subset = TokenizedWords(tokens, sentence_index, *parts, words.n_cut[sentences], words.n_empty[sentences])
        return Rows(tokens, self.targets[rows], subset)


def _of_sentences(tokens: TokenBatch, sentences: np.ndarray) -> TokenBatch:
    ids, types = ([arrays[s] for s in sentences] for arrays in (tokens.ids, tokens.token_type_ids))
    return TokenBatch(ids, types, tokens.lengths[sentences], tokens.positions[sentences], tokens.n_truncated)


class TrainingBatch(NamedTuple):
    """The arrays of one step; every array has a leading axis of parts, which are computed one after the other."""

    tokens: PaddedBatch
    words: WordSlots | None
    targets: np.ndarray  # [part, row]
    weights: np.ndarray  # [part, row]; 0: the row is padding


def epoch_order(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int, group_by_length: bool = True
) -> list[np.ndarray]:
    """The sentences of each batch of an epoch.

    Sentences are shuffled; of every 50 batches, those of similar lengths come together; then the batches are shuffled.
    All is decided by the seed and the epoch. The last, shorter batch is used too.

    Args:
        lengths: tokens of each sentence.
        batch_size: sentences per batch.
        seed: of the order.
        epoch: counted from 0.
        group_by_length: put similar lengths together; without it, sentences are shuffled alone.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    if not group_by_length:
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    size = _GROUP * batch_size
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    order = np.concatenate([group[np.argsort(-lengths[group], kind="stable")] for group in groups])
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def padded_length(longest: int) -> int:
    """The length to which a batch is padded whose longest sentence has so many tokens."""
    return next((length for length in LENGTHS if length >= longest), -(-longest // LENGTHS[-1]) * LENGTHS[-1])


def padded(
    rows: Rows, sentences: np.ndarray, tokenizer: Tokenizer, batch_size: int, n_parts: int = 1, multiple: int = 1
) -> TrainingBatch:
    """The arrays of some sentences, in parts of as many rows.

    Args:
        rows: all rows.
        sentences: the numbers of the batch's sentences.
        tokenizer: pads them.
        batch_size: sentences that the arrays have room for.
        n_parts: in which they are computed one after the other.
        multiple: of which each part's number of sentences must be one, such as the number of devices.
    """
    length = min(padded_length(int(rows.tokens.lengths[sentences].max())), tokenizer.longest)
    per_part = -(-batch_size // n_parts)
    per_part = -(-per_part // multiple) * multiple
    parts = [sentences[start : start + per_part] for start in range(0, per_part * n_parts, per_part)]
    padded_parts = [tokenizer.pad(rows.tokens, part, length, per_part) for part in parts]
    tokens = PaddedBatch(*(np.stack(arrays) for arrays in zip(*padded_parts, strict=True)))
    if rows.words is None:
        targets = np.zeros((n_parts, per_part), rows.targets.dtype)
        weights = np.zeros((n_parts, per_part), np.float32)
        for i, part in enumerate(parts):
            targets[i, : len(part)], weights[i, : len(part)] = rows.targets[part], 1.0
        return TrainingBatch(tokens, None, targets, weights)
    return _of_words(rows, rows.words, parts, tokens, tokenizer)


def _of_words(
    rows: Rows, words: TokenizedWords, parts: Sequence[np.ndarray], tokens: PaddedBatch, tokenizer: Tokenizer
) -> TrainingBatch:
    """The same with the words of each part's sentences."""
    n_parts, per_part, length = tokens.input_ids.shape
    numbers = [rows.of_sentences(part) for part in parts]
    n_slots = n_word_slots(max(1, *(sum(map(len, part)) for part in numbers)), per_part * length)
    slots = WordSlots(*(np.zeros((n_parts, n_slots), np.int32) for _ in WordSlots._fields))
    targets, weights = np.zeros((n_parts, n_slots), rows.targets.dtype), np.zeros((n_parts, n_slots), np.float32)
    for i, part in enumerate(numbers):
        if not part:
            continue
        of_part = np.concatenate(part)
        n = len(of_part)
        slots.rows[i, :n] = np.repeat(np.arange(len(part)), [len(each) for each in part])
        shift = tokenizer.first_token(words.tokens, words.sentence_index[of_part], length)
        slots.starts[i, :n], slots.counts[i, :n] = words.start[of_part] + shift, words.count[of_part]
        targets[i, :n], weights[i, :n] = rows.targets[of_part], 1.0
    return TrainingBatch(tokens, slots, targets, weights)
