"""A made-up vocabulary of word pieces, and the configuration of a BERT that takes them."""

import json
from pathlib import Path

from jaxred.models.bert import BertConfig

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "a",
    "movie",
    "was",
    "bad",
    "good",
    "and",
    "##ly",
    "##s",
    ".",
    ",",
]
CONFIG = BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=32)


def write(folder: Path) -> Path:
    """A Hugging Face folder with them, without weights."""
    (folder / "config.json").write_text(json.dumps(CONFIG.to_dict()))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    return folder
