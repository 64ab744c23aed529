"""Texts of any number to outputs in their order, in the memory of two windows of them.

While the device works on one window, a thread takes and tokenises the next; batches are planned as extraction plans
them, so that vectors are those that the head was trained on.
"""

import itertools
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxred.activations.fetching import fetched, token_budget
from jaxred.activations.packing import Work, justified_budget, pack, pack_words
from jaxred.errors import UserError
from jaxred.models.tokenization import TokenBatch, TokenizedWords, Tokenizer
from jaxred.reduced.parts import Facts, Head

if TYPE_CHECKING:
    from jaxred.activations.encode import Encode

log = logging.getLogger("jaxred")

_LEAST_BUDGET = 256  # padded tokens: one sentence should not wait for the work of many


class _Window(NamedTuple):
    rows: list[Any]
    tokens: TokenBatch | TokenizedWords


class Windows:
    """Texts to the outputs of a head, by a compiled encoder."""

    def __init__(self, encode: "Encode", tokenizer: Tokenizer, head: Head, facts: Facts):
        """Takes the parts.

        Args:
            encode: `jaxred.activations.encode.encode_fn` of the head's neurons.
            tokenizer: of the encoder.
            head: the head.
            facts: how texts become rows.
        """
        self._encode, self._tokenizer, self._head, self._facts = encode, tokenizer, head, facts

    def outputs(self, texts: Iterable[Any]) -> Iterator[np.ndarray]:
        """For each text its outputs, [output]; for a sentence of words [word, output], NaN for a word without a vector.

        Raises:
            UserError: a text is none, naming its row, counted from 1.
        """
        rows, n_cut, n_texts = iter(texts), 0, 0
        with ThreadPoolExecutor(1) as background:
            upcoming = background.submit(self._next, rows, 0)
            while (window := upcoming.result()) is not None:
                n_texts += len(window.rows)
                n_cut += _n_cut(window.tokens)
                upcoming = background.submit(self._next, rows, n_texts)
                tokens = window.tokens
                if isinstance(tokens, TokenizedWords):
                    yield from self._of_words(tokens, window.rows)
                else:
                    yield from self._of_sentences(tokens)
        if n_cut:
            log.warning(
                "%d of %d texts have more than %d tokens: what is beyond is not looked at",
                n_cut,
                n_texts,
                self._facts.max_length,
            )

    def _next(self, texts: Iterator[Any], n_before: int) -> _Window | None:
        """The next window, tokenised."""
        rows = list(itertools.islice(texts, self._facts.window_rows))
        if not rows:
            return None
        if self._facts.rows == "word":
            sentences = [_words(row, n_before + i) for i, row in enumerate(rows, 1)]
            return _Window(rows, self._tokenizer.encode_words(sentences, self._facts.max_length))
        parts = [_sentences(row, n_before + i, self._facts.pairs) for i, row in enumerate(rows, 1)]
        if len({len(each) for each in parts}) > 1:
            raise UserError(f"Of {len(rows)} texts some are pairs and some are single: pass one kind alone.")
        firsts, pairs = [each[0] for each in parts], [each[1] for each in parts if len(each) == 2]
        return _Window(rows, self._tokenizer.encode(firsts, pairs or None, self._facts.max_length))

    def _of_sentences(self, tokens: TokenBatch) -> np.ndarray:
        tokenizer = self._tokenizer
        budget = justified_budget(token_budget(), tokens.lengths, _LEAST_BUDGET)
        batches = pack(tokens.lengths, budget, tokenizer.longest)
        work = (batch.work(tokenizer, tokens) for batch in batches)
        return self._collected(work, len(tokens))

    def _of_words(self, words: TokenizedWords, sentences: list[Any]) -> Iterator[np.ndarray]:
        n_words = len(words.word_index)
        work = pack_words(words, slice(0, n_words), self._tokenizer, token_budget(), _LEAST_BUDGET)
        outputs = self._collected(work, n_words)
        starts = np.searchsorted(words.sentence_index, np.arange(len(sentences) + 1))
        for row, sentence in enumerate(sentences):
            own_words = slice(starts[row], starts[row + 1])
            of_sentence = np.full((len(sentence), outputs.shape[1]), np.nan)
            of_sentence[words.word_index[own_words]] = outputs[own_words]
            yield of_sentence

    def _collected(self, work: Iterable[Work], n_rows: int) -> np.ndarray:
        outputs = np.empty((n_rows, len(self._head.bias)))
        for rows, activations in fetched(self._encode, work, self._facts.dtype):
            outputs[rows] = self._head.outputs(activations)
        return outputs


def _n_cut(tokens: TokenBatch | TokenizedWords) -> int:
    return int(np.count_nonzero(tokens.n_cut)) if isinstance(tokens, TokenizedWords) else tokens.n_truncated


def _sentences(row: Any, number: int, pairs: bool | None) -> tuple[str, ...]:
    """The one or two sentences of a row."""
    parts: tuple[Any, ...] = (
        (row,) if isinstance(row, str) else tuple(row) if isinstance(row, tuple | list) else (None,)
    )
    expected = (1, 2) if pairs is None else (1 + pairs,)
    if len(parts) not in expected or not all(isinstance(part, str) and part.strip() for part in parts):
        what = "two texts are" if pairs else "a text is"
        raise UserError(f"texts, row {number}, is {str(row)[:60]!r}, but {what} expected: leave it out.")
    return parts


def _words(row: Any, number: int) -> list[str]:
    if isinstance(row, str) or not isinstance(row, tuple | list) or not all(isinstance(word, str) for word in row):
        raise UserError(
            f"texts, row {number}, is {str(row)[:60]!r}, but a list of words is expected: pass the words of a sentence."
        )
    return list(row)
