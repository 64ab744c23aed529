"""Which sentences are computed together, and of which other sentence a removed neuron's value is taken.

Sentences are packed as extraction packs them, so that hardly any padding is computed.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxred.activations.fetching import token_budget
from jaxred.activations.packing import WordSlots, Work, justified_budget, pack, pack_words
from jaxred.finetuning.batches import Rows
from jaxred.models.tokenization import PaddedBatch, TokenBatch, Tokenizer


class Batch(NamedTuple):
    """The arrays of one batch, and which rows they are of."""

    tokens: PaddedBatch
    words: WordSlots | None
    rows: Int[np.ndarray, " row"]  # the numbers of the rows whose outputs it has
    places: Int[np.ndarray, " row"]  # where they are among the batch's outputs
    donors: Int[np.ndarray, " token"]  # for each token, rows one after the other, the token whose value it takes
    donor_slots: Int[np.ndarray, " slot"]  # for each sentence's slot, the slot of that other sentence


def batches_of(rows: Rows, tokenizer: Tokenizer, budget: int = 0, seed: int = 0) -> list[Batch]:
    """The batches of all rows.

    The other sentence is one of the same batch: batches hold sentences of similar lengths, and each batch's sentences
    are put in one random circle. A token takes the value of the other sentence's token at its position, or of the
    last one where the other sentence is shorter. A batch of one sentence has no other.

    Args:
        rows: tokenised sentences, or the words of them.
        tokenizer: pads them.
        budget: tokens of a batch; 0: as extraction has it.
        seed: of the circles.
    """
    budget = budget or token_budget()
    random = np.random.default_rng(seed)
    if rows.words is not None:
        every = slice(0, len(rows))
        work = pack_words(rows.words, every, tokenizer, budget)
    else:
        packed = pack(rows.tokens.lengths, justified_budget(budget, rows.tokens.lengths), tokenizer.longest)
        work = (packing.work(tokenizer, rows.tokens) for packing in packed)
    return [_batch(each, random) for each in work]


def token_batches(
    tokens: TokenBatch, tokenizer: Tokenizer, budget: int = 0, seed: int = 0
) -> tuple[list[Batch], Int[np.ndarray, " row"], Int[np.ndarray, " row"]]:
    """The batches of texts whose rows are tokens that have a next one; with that next token, and the text, of each.

    Args:
        tokens: of the texts.
        tokenizer: pads them.
        budget: tokens of a batch; 0: as extraction has it.
        seed: of the circles in which texts exchange values.
    """
    n_before = np.cumsum([0, *(tokens.lengths - 1)])
    batches = []
    texts = Rows(tokens, np.zeros(len(tokens), np.int32))
    for batch in batches_of(texts, tokenizer, budget, seed):
        mask = np.asarray(batch.tokens.attention_mask)
        n_slots = np.reshape(batch.tokens.positions, (len(mask), -1)).shape[1]
        rows, places = [], []
        for text, place in zip(batch.rows.tolist(), batch.places.tolist(), strict=True):
            row, slot = divmod(place, n_slots)
            own = row * mask.shape[1] + np.flatnonzero(mask[row] == slot + 1)[:-1]
            rows.append(n_before[text] + np.arange(len(own)))
            places.append(own)
        batches.append(batch._replace(rows=np.concatenate(rows), places=np.concatenate(places)))
    following = np.concatenate([np.asarray(ids[1:]) for ids in tokens.ids])
    return batches, following, np.repeat(np.arange(len(tokens)), tokens.lengths - 1)


def _batch(work: Work, random: np.random.Generator) -> Batch:
    mask = np.asarray(work.batch.attention_mask)
    donors, order = np.arange(mask.size), _sentences(mask)
    n_slots = np.reshape(work.batch.positions, (len(mask), -1)).shape[1]
    donor_slots = np.arange(len(mask) * n_slots)
    circle = random.permutation(len(order))
    for own, other in zip(circle, np.roll(circle, 1), strict=True):
        to, source = order[own][2], order[other][2]
        donors[to] = source[np.minimum(np.arange(len(to)), len(source) - 1)]
        (row, slot, _), (other_row, other_slot, _) = order[own], order[other]
        if slot < n_slots and other_slot < n_slots:
            donor_slots[row * n_slots + slot] = other_row * n_slots + other_slot
    places = np.arange(len(donor_slots) if work.words is None else len(work.words.rows))[work.places]
    return Batch(work.batch, work.words, np.asarray(work.rows), places, donors, donor_slots)


def _sentences(mask: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """Row, slot and tokens (counted over all rows) of every sentence."""
    found, length = [], mask.shape[1]
    for row, numbers in enumerate(mask.astype(np.int64)):
        for number in np.unique(numbers[numbers > 0]):
            found.append((row, int(number) - 1, row * length + np.flatnonzero(numbers == number)))
    return found
