"""What decides activations, listed once.

The settings are known before anything is read: by them the runs of a sweep find the folder that they share. A store's
ledger has the same with the content of the files in place of their names, so that it is known again wherever they lie.
"""

import re
from dataclasses import dataclass
from typing import Any

from jaxred.config import StudyConfig, TaskConfig, recorded_task, to_dict
from jaxred.io.result_files import fingerprint

# Fields of a task that decide which rows there are: of every task, of labelled words, and of tables.
ROWS = ("name", "kind", "data_dir", "limit_instances")
WORDS = ("max_sent_l", "ignore_start_token", "label_column", "word_column", "separator", "comment")
TABLE = (
    "text_column", "text_pair_column", "train_split", "dev_split", "test_split", "test_fraction", "split_seed",
)  # fmt: skip
NOT_ROWS = ("metric", "dev_fraction", "fallback_label")  # of a task's fields, those that decide nothing here

# Of an encoder and its extraction, what is no part of a ledger's identity: the path, in whose place is the digest of
# the files; the pooling of the other kind of rows; and how the work is cut and where it goes, which changes no number.
NOT_IN_LEDGER = ("path", "pooling", "word_pooling", "token_budget", "window_rows", "store")
LEDGER_NAMES = {"n_layers": "transformer_layers"}

MODEL = ("encoder", "tokenizer", "transformer_layers", "pooling")  # of a ledger's identity: whose vectors they are


@dataclass(frozen=True)
class Settings:
    """All fields of a configuration that decide its activations, whatever is then done with them; by their names."""

    rows: dict[str, Any]
    words: dict[str, Any]
    table: dict[str, Any]  # empty for other tasks
    sample_seed: int | None  # None where all rows are used
    encoder: dict[str, Any]
    extraction: dict[str, Any]


def deciding_settings(config: StudyConfig) -> Settings:
    """What decides the activations of a configuration."""
    task = recorded_task(config)
    left_out = ("store",) if config.extraction.layers else ("store", "layers")  # as before there was a choice of them
    return Settings(
        rows=_fields(task, ROWS),
        words=_fields(task, WORDS),
        table=_fields(task, TABLE if task.name == "table" else ()),
        sample_seed=task.split_seed if task.limit_instances >= 0 else None,
        encoder=to_dict(config.encoder),
        extraction={name: value for name, value in to_dict(config.extraction).items() if name not in left_out},
    )


def folder_name(config: StudyConfig) -> str:
    """The name of the folder in which the runs of a sweep share activations: the task, and a digest of the settings."""
    decides = deciding_settings(config)
    digest = fingerprint(
        [
            *decides.rows.values(),
            list(decides.words.values()),
            *decides.table.values(),
            decides.sample_seed,
            decides.encoder,
            decides.extraction,
        ]
    )
    readable = re.sub(r"[^\w.+-]+", "_", decides.rows["name"], flags=re.ASCII)[:40]
    return f"{readable}-{digest[:12]}"


def pooling(config: StudyConfig, words: bool) -> str:
    """How a row's vector is made: of a word's sub-words, or of a sentence's tokens."""
    return config.extraction.word_pooling if words else config.extraction.pooling


def ledger_identity(config: StudyConfig, words: bool, encoder: str, tokenizer: str, source: str) -> dict[str, Any]:
    """What the ledger of a split says that its activations are of.

    Args:
        config: its encoder, and how text becomes rows.
        words: whether a row is a word.
        encoder: the digest of the encoder's files.
        tokenizer: the digest of its tokenizer's.
        source: the digest of the split's examples.
    """
    decides = deciding_settings(config)
    values = {
        LEDGER_NAMES.get(name, name): value
        for name, value in {**decides.encoder, **decides.extraction}.items()
        if name not in NOT_IN_LEDGER
    }
    return {
        "encoder": encoder,
        "tokenizer": tokenizer,
        **values,
        "pooling": pooling(config, words),
        "source": source,
    }


def _fields(task: TaskConfig, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(task, name) for name in names}
