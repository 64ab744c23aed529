"""Text to token ids, and token ids to the padded arrays that an encoder takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from jaxred.errors import UserError
from jaxred.io.git_lfs import refuse_pointer
from jaxred.models import tokenizer_checks, tokenizer_files
from jaxred.models.saved_tokenizer import SavedTokenizer
from jaxred.models.token_layout import FAST, TokenLayout


@runtime_checkable
class ModelConfig(Protocol):
    """What a model's configuration says about the tokens it takes."""

    model_type: ClassVar[str]
    tokens: ClassVar[TokenLayout]

    @property
    def vocab_size(self) -> int: ...

    @property
    def type_vocab_size(self) -> int: ...  # 0 where the model does not look at segments

    @property
    def usable_length(self) -> int: ...


@dataclass(frozen=True)
class TokenBatch:
    """Tokenised sentences or pairs, special tokens included, not padded."""

    ids: list[Int[np.ndarray, " _"]]  # int32, a sentence each
    token_type_ids: list[Int[np.ndarray, " _"]]  # int32, a sentence each
    lengths: Int[np.ndarray, " sentence"]  # tokens of each sentence
    positions: Int[np.ndarray, " sentence"]  # the token that stands for each sentence
    n_truncated: int  # sentences that lost tokens to max_length

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class TokenizedWords:
    """Sentences of words as tokens, and where in them each word is; sentence by sentence, word by word."""

    tokens: TokenBatch
    sentence_index: Int[np.ndarray, " word"]  # the row of `tokens`
    word_index: Int[np.ndarray, " word"]  # its position in its sentence; words that are left out have one too
    start: Int[np.ndarray, " word"]  # its first token
    count: Int[np.ndarray, " word"]  # its tokens, which follow each other
    n_cut: Int[np.ndarray, " sentence"]  # words left out because max_length cut them off, in whole or in part
    n_empty: Int[np.ndarray, " sentence"]  # words left out because they became no token


class PaddedBatch(NamedTuple):
    """The arrays of one forward pass."""

    input_ids: Int[np.ndarray, "batch token"]
    attention_mask: Bool[np.ndarray, "batch token"]  # True at real tokens
    token_type_ids: Int[np.ndarray, "batch token"]
    positions: Int[np.ndarray, " batch"]  # the token that stands for each sentence


class Tokenizer:
    """The tokenizer of a Hugging Face folder, laid out for the model next to it.

    Example:
        >>> folder = pretrained.resolve("all-MiniLM-L6-v2")
        >>> tokenizer = Tokenizer(folder, load_encoder(folder).config)
        >>> tokenizer.encode(["a fine film", "dull"], None, max_length=128).lengths
        array([5, 3], dtype=int32)
    """

    def __init__(self, folder: Path, config: ModelConfig, saved: SavedTokenizer | None = None):
        """Reads the folder's tokenizer files; nothing is downloaded, and no code of the folder runs.

        Args:
            folder: a Hugging Face folder.
            config: the configuration of the model that the tokens are for.
            saved: what `saved` gave for this model, in place of the folder's files; the folder is then in messages
                alone, and transformers is not imported.

        Raises:
            UserError: if the files are missing or broken, or name more tokens than the model has.
        """
        self.layout = config.tokens
        self._tokenizer: Any = _read(folder, self.layout) if saved is None else saved
        pad = self._tokenizer.pad_token_id
        if self.layout.sentence_position is None:  # any token: it follows the sentence, whose tokens see nothing after
            pad = pad if pad is not None and pad < config.vocab_size else 0
        elif pad is None:
            raise UserError(f"The tokenizer of {folder} has no padding token: name one in its tokenizer_config.json.")
        self._pad_token_id = pad
        self._folder = folder
        self._config = config
        if saved is None:
            explicit = tokenizer_files.settings(folder).get("do_lower_case") is not None or (folder / FAST).is_file()
            tokenizer_checks.check_tokenizer(self._tokenizer, folder, self.layout.sentence_position, explicit)
        _check_range("token", pad, config.vocab_size, folder)

    @property
    def pad_token_id(self) -> int:
        """The token that padding is made of."""
        return self._pad_token_id

    @property
    def longest(self) -> int:
        """The most tokens that the model takes."""
        return self._config.usable_length

    @property
    def saved(self) -> SavedTokenizer:
        """The same tokenizer as its rules alone, which can be written to a file and read without transformers."""
        return self._tokenizer if isinstance(self._tokenizer, SavedTokenizer) else SavedTokenizer.of(self._tokenizer)

    def check_text(self, texts: Sequence[str] | Sequence[Sequence[str]], what: str, max_length: int) -> None:
        """Rejects sentences, or the words of sentences, of which the tokenizer knows nearly nothing.

        Raises:
            UserError: saying how many tokens are unknown.
        """
        tokenizer_checks.check_text(self._tokenizer, texts, self._folder, what, max_length)

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int) -> TokenBatch:
        """Tokenises sentences, or pairs of sentences.

        Args:
            texts: the sentences.
            pairs: the second sentence of each, or None.
            max_length: the most tokens a row may have, special tokens included; of a pair, the longer is cut first.

        Raises:
            UserError: if the model does not take so many tokens, a second sentence, or one of the tokens, or the token
                that stands for the sentence is not where the model has it.
        """
        self._check_length(max_length)
        if not texts:
            return self._batch([])
        encodings = tokenizer_checks.encode(
            self._tokenizer,
            self._folder,
            list(texts),
            None if pairs is None else list(pairs),
            truncation="longest_first",
            max_length=max_length,
        )
        empty = next((text for text, encoding in zip(texts, encodings, strict=True) if not encoding.ids), None)
        if empty is not None:
            raise UserError(
                f"The text {empty!r} becomes no token with the tokenizer of {self._folder}, which adds none of its "
                "own: leave it out."
            )
        return self._batch(encodings)

    def encode_words(self, sentences: Sequence[Sequence[str]], max_length: int) -> TokenizedWords:
        """Tokenises sentences that are cut into words, each word separately.

        What belongs to a word is what the tokenizer itself says. A word has no vector where it becomes no token (of
        control characters alone, say) or where truncation took one of its tokens: it is left out, and counted.

        Args:
            sentences: the words of each sentence.
            max_length: the most tokens a sentence may have, special tokens included; the words beyond are left out.

        Raises:
            UserError: as `encode`.
        """
        self._check_length(max_length)
        if not sentences:
            encodings = []
        else:
            texts = [list(words) for words in sentences]
            encodings = tokenizer_checks.encode(
                self._tokenizer,
                self._folder,
                texts,
                is_split_into_words=True,
                truncation="longest_first",
                max_length=max_length,
            )
        word_tokens: list[tuple[int, int, int, int]] = []
        n_cut, n_empty = np.zeros(len(sentences), np.int32), np.zeros(len(sentences), np.int32)
        for row, (words, encoding) in enumerate(zip(sentences, encodings, strict=True)):
            cut = {word for rest in encoding.overflowing for word in rest.word_ids if word is not None}
            starts, counts = np.zeros(len(words), int), np.zeros(len(words), int)
            for position, word in enumerate(encoding.word_ids):
                if word is not None and word not in cut:
                    starts[word] = starts[word] if counts[word] else position
                    counts[word] += 1
            kept = np.flatnonzero(counts).tolist()
            word_tokens += [(row, word, int(starts[word]), int(counts[word])) for word in kept]
            n_cut[row], n_empty[row] = len(cut), len(words) - len(kept) - len(cut)
        sentence_index, word_index, start, count = np.array(word_tokens, np.int32).reshape(-1, 4).T
        return TokenizedWords(self._batch(encodings), sentence_index, word_index, start, count, n_cut, n_empty)

    def _check_length(self, max_length: int) -> None:
        if max_length > self.longest:
            raise UserError(
                f"config.extraction.max_length={max_length} is not possible: the model has {self.longest} positions."
            )

    def _batch(self, encodings: Sequence[Any]) -> TokenBatch:
        """What the tokenizer gave, checked against the model."""
        if not encodings:
            empty = np.zeros(0, np.int32)
            return TokenBatch([], [], empty, empty, 0)
        config = self._config
        try:
            ids = [np.array(encoding.ids, np.int32) for encoding in encodings]
        except OverflowError:
            _check_range("token", max(max(e.ids, default=0) for e in encodings), config.vocab_size, self._folder)
            raise
        token_type_ids = [np.array(encoding.type_ids, np.int32) for encoding in encodings]
        lengths = np.array([len(row) for row in ids], np.int32)
        _check_range("token", max(int(row.max(initial=0)) for row in ids), config.vocab_size, self._folder)
        if config.type_vocab_size:
            largest = max(int(row.max(initial=0)) for row in token_type_ids)
            _check_range("token type", largest, config.type_vocab_size, self._folder)
        sentence_position = self.layout.sentence_position
        positions = np.zeros_like(lengths) if sentence_position == "first" else lengths - 1
        if sentence_position is not None:
            self._check_sentence_tokens(
                {int(row[at]) for row, at in zip(ids, positions, strict=True)}, sentence_position
            )
        return TokenBatch(ids, token_type_ids, lengths, positions, sum(bool(e.overflowing) for e in encodings))

    def _check_sentence_tokens(self, tokens: set[int], place: str) -> None:
        expected = self._tokenizer.cls_token_id
        if expected is not None and tokens != {expected}:
            raise UserError(
                tokenizer_checks.sentence_token_message(
                    self._folder, self._tokenizer.cls_token, place, self._config.model_type
                )
            )

    def first_token(self, tokens: TokenBatch, rows: Any, length: int) -> Any:
        """Where the tokens of a row, or of an array of rows, start once it is padded to a length."""
        lengths = tokens.lengths[rows]
        return length - lengths if self.layout.padding_side == "left" else 0 * lengths

    def pad(
        self, tokens: TokenBatch, rows: Sequence[int] | Int[np.ndarray, " row"], length: int, n_rows: int
    ) -> PaddedBatch:
        """Some rows of tokens as rectangular arrays.

        Args:
            tokens: what `encode` gave.
            rows: which sentences, in which order.
            length: tokens per row, at least those of the longest.
            n_rows: rows of the arrays; those beyond `rows` are padding alone.
        """
        input_ids = np.full((n_rows, length), self._pad_token_id, np.int32)
        token_type_ids = np.full((n_rows, length), self.layout.pad_token_type_id, np.int32)
        attention_mask = np.zeros((n_rows, length), bool)
        positions = np.zeros(n_rows, np.int32)
        for i, row in enumerate(rows):
            start = self.first_token(tokens, row, length)
            real = slice(start, start + tokens.lengths[row])
            input_ids[i, real] = tokens.ids[row]
            token_type_ids[i, real] = tokens.token_type_ids[row]
            attention_mask[i, real] = True
            positions[i] = start + tokens.positions[row]
        return PaddedBatch(input_ids, attention_mask, token_type_ids, positions)


def _read(folder: Path, layout: TokenLayout) -> Any:
    """The fast tokenizer of transformers in a folder."""
    for path in tokenizer_files.files(folder):
        refuse_pointer(path)
    if not any((folder / name).is_file() for name in layout.vocabularies):
        raise UserError(tokenizer_files.no_tokenizer(folder, layout.vocabularies))
    from transformers import AutoTokenizer  # here, because importing it takes seconds

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise UserError(
            f"The tokenizer of {folder} cannot be read ({type(error).__name__}: {error}): download its files again."
        ) from error
    if not tokenizer.is_fast:
        raise UserError(f"{folder} has a slow tokenizer only: add the tokenizer.json of the fast one.")
    return tokenizer


def _check_range(kind: str, largest: int, n_known: int, folder: Path) -> None:
    if largest >= n_known:
        raise UserError(
            f"The tokenizer of {folder} gives {kind} {largest}, but the model next to it knows only {n_known} {kind}s: "
            f"use the tokenizer that came with the model."
        )
