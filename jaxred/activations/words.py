"""Which words of labelled sentences have a vector: known before a store is made, for its rows, from one pass over the
text that keeps no tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxred.data.examples import LabelledSentence
from jaxred.errors import UserError
from jaxred.io.progress import progress_bar
from jaxred.models.tokenization import TokenizedWords, Tokenizer

SENTENCES = 8192  # that are tokenised at once


@dataclass(frozen=True)
class WordRows:
    """The words that have a vector, sentence by sentence, word by word."""

    sentence_index: Int[np.ndarray, " word"]
    word_index: Int[np.ndarray, " word"]  # its position in its sentence; words that are left out have one too
    n_cut: Int[np.ndarray, " sentence"]  # words left out because max_length cut them off
    n_empty: Int[np.ndarray, " sentence"]  # words left out because they became no token
    n_tokens: int

    def __len__(self) -> int:
        return len(self.word_index)

    def tokenized(
        self, rows: slice, sentences: Sequence[LabelledSentence], tokenizer: Tokenizer, max_length: int
    ) -> tuple[TokenizedWords, slice]:
        """The sentences that some rows are of, tokenised again, and where the rows are among the words of these."""
        first, last = int(self.sentence_index[rows.start]), int(self.sentence_index[rows.stop - 1])
        words = tokenizer.encode_words([sentence.words for sentence in sentences[first : last + 1]], max_length)
        before = rows.start - int(np.searchsorted(self.sentence_index, first))
        return words, slice(before, before + rows.stop - rows.start)


def plan_words(
    tokenizer: Tokenizer, sentences: Sequence[LabelledSentence], max_length: int, title: str = ""
) -> WordRows:
    """Which words of the sentences have a vector.

    Args:
        tokenizer: makes tokens of the words.
        sentences: all of a split's.
        max_length: the most tokens of a sentence.
        title: of the progress bar.
    """
    parts: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int32),) * 4]
    n_tokens = 0
    with progress_bar(len(sentences), title, "sentences") as bar:
        for start in range(0, len(sentences), SENTENCES):
            some = sentences[start : start + SENTENCES]
            words = tokenizer.encode_words([sentence.words for sentence in some], max_length)
            parts.append((words.sentence_index + np.int32(start), words.word_index, words.n_cut, words.n_empty))
            n_tokens += int(words.tokens.lengths.sum())
            bar.update(len(some))
    sentence_index, word_index, n_cut, n_empty = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return WordRows(sentence_index, word_index, n_cut, n_empty, n_tokens)


def word_labels(
    words: WordRows | TokenizedWords, sentences: Sequence[LabelledSentence], split: str
) -> list[str | float]:
    """The labels of the words that have a vector.

    Raises:
        UserError: none has.
    """
    if not len(words.word_index):
        raise UserError(
            f"No word of the {split} split has a vector: of {len(sentences)} sentences all words are longer than "
            "config.extraction.max_length allows, or become no token. Allow more tokens, or check the text."
        )
    places = zip(words.sentence_index.tolist(), words.word_index.tolist(), strict=True)
    return [sentences[sentence].labels[word] for sentence, word in places]


def left_out(words: WordRows, sentences: Sequence[LabelledSentence]) -> dict[str, Any]:
    """How many words have no vector and where they are, for the ledger's notes."""
    return {
        "tokens": words.n_tokens,
        "sentences_truncated": int(np.count_nonzero(words.n_cut)),
        "truncated_lines": [sentences[row].line for row in np.flatnonzero(words.n_cut).tolist()],
        "words_truncated": int(words.n_cut.sum()),
        "words_without_tokens": int(words.n_empty.sum()),
        "without_tokens_lines": [sentences[row].line for row in np.flatnonzero(words.n_empty).tolist()],
    }
