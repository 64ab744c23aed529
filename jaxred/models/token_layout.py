"""How an architecture wants its rows of tokens."""

from dataclasses import dataclass
from typing import Literal

FAST = "tokenizer.json"


@dataclass(frozen=True)
class TokenLayout:
    """Where padding goes, which token stands for the sentence, and what makes a tokenizer."""

    padding_side: Literal["left", "right"] = "right"
    pad_token_type_id: int = 0
    sentence_position: Literal["first", "last"] | None = "first"  # of the real tokens; None: no token is made for it
    vocabularies: tuple[str, ...] = (FAST,)  # the files of which one makes the tokenizer


CAUSAL = TokenLayout(sentence_position=None)
"""A token sees those before it alone: padding comes after them, and no token stands for the sentence."""
