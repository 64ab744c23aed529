"""A tokenizer as the `tokenizers` library holds it: one file of rules, and the few facts that transformers adds.

transformers takes a second or more to import, and reads a tokenizer in tens of steps; this takes the rules that came
out of them, and gives the same tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer as Backend

from jaxred.errors import UserError


@dataclass(frozen=True)
class SpecialTokens:
    """What a tokenizer's file does not say."""

    pad_token_id: int | None
    cls_token: str | None
    cls_token_id: int | None
    unk_token: str | None
    unk_token_id: int | None
    truncation_side: str  # left or right

    @classmethod
    def of(cls, tokenizer: Any) -> "SpecialTokens":
        """Those of a tokenizer of transformers."""
        return cls(
            tokenizer.pad_token_id,
            tokenizer.cls_token,
            tokenizer.cls_token_id,
            tokenizer.unk_token,
            tokenizer.unk_token_id,
            tokenizer.truncation_side,
        )


class Encodings(NamedTuple):
    """What a call of a tokenizer gives."""

    encodings: Sequence[Any]


class SavedTokenizer:
    """Takes the place of a fast tokenizer of transformers where sentences, pairs and words are encoded."""

    def __init__(self, backend: Backend, special: SpecialTokens):
        """Takes the rules.

        Args:
            backend: the rules; no other object may use it, as its truncation is set.
            special: the special tokens.
        """
        self.backend_tokenizer, self.special = backend, special
        self.pad_token_id, self.cls_token, self.cls_token_id = (
            special.pad_token_id,
            special.cls_token,
            special.cls_token_id,
        )
        self.unk_token, self.unk_token_id = special.unk_token, special.unk_token_id
        backend.no_padding()
        backend.no_truncation()

    @classmethod
    def of(cls, tokenizer: Any) -> "SavedTokenizer":
        """The rules of a fast tokenizer of transformers, copied."""
        return cls(Backend.from_str(tokenizer.backend_tokenizer.to_str()), SpecialTokens.of(tokenizer))

    @classmethod
    def read(cls, file: Path, special: SpecialTokens) -> "SavedTokenizer":
        """The rules of a `tokenizer.json`.

        Raises:
            UserError: if it is none.
        """
        try:
            return cls(Backend.from_file(str(file)), special)
        except Exception as error:  # the tokenizers library raises bare exceptions
            raise UserError(f"{file} is not a tokenizer ({str(error).splitlines()[0]}): write it again.") from error

    def to_json(self) -> str:
        """The content of a `tokenizer.json`."""
        self.backend_tokenizer.no_truncation()
        return self.backend_tokenizer.to_str()

    def __call__(
        self,
        texts: Sequence[Any],
        pairs: Sequence[str] | None = None,
        *,
        is_split_into_words: bool = False,
        truncation: bool | str = True,
        max_length: int,
    ) -> Encodings:
        """Encodes sentences, pairs, or sentences of words; what is cut off is in `overflowing` of each encoding."""
        del truncation  # always of the longer one first, which for a sentence alone is all there is
        self.backend_tokenizer.enable_truncation(
            max_length, strategy="longest_first", direction=self.special.truncation_side
        )
        rows = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        return Encodings(self.backend_tokenizer.encode_batch(rows, is_pretokenized=is_split_into_words))
