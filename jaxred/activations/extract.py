"""Runs a task's text through an encoder and leaves every layer's vectors in activation stores: a row is a sentence
or, of a labelling task, a word.

Rows are cut into windows; the sentences of a window are packed into batches of few shapes under a token budget, so that
hardly any padding is computed (`jaxred.activations.packing`). The processes of `jax.distributed` share the windows of
each store, and a window that is damaged is extracted again, alone.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxred.activations import identity
from jaxred.activations.in_memory import HiddenStates, MemoryWriter
from jaxred.activations.store import Ledger, Store, StoreWriter, finished_ledger, lost_files, writing
from jaxred.activations.windows import extract_sentences, extract_words
from jaxred.activations.words import left_out, plan_words, word_labels
from jaxred.config import EncoderConfig, ExtractionConfig, StudyConfig
from jaxred.data.checks import unseen_labels, warn_of_unseen
from jaxred.data.examples import Dataset, Example, LabelledSentence, WordDataset
from jaxred.data.labels import encode_labels
from jaxred.errors import UserError
from jaxred.io.locks import LOCK_FILE, lock
from jaxred.io.paths import below
from jaxred.io.processes import n_processes, wait_for_all
from jaxred.models import pretrained, tokenizer_files
from jaxred.models.tokenization import Tokenizer

if TYPE_CHECKING:
    from jaxred.activations.encode import Encode
    from jaxred.models import Encoder

log = logging.getLogger("jaxred")

MOST_LINES = 20  # line numbers that a warning shows; the ledger has all


def extract(
    dataset: Dataset | WordDataset, config: StudyConfig, folder: str | Path, overwrite: bool = False
) -> dict[str, Store]:
    """The activation stores of a task's splits; what is finished is kept, what was cut short is resumed.

    Where another process extracts them, it is waited for.

    Args:
        dataset: the examples, by split.
        config: the encoder, and how text becomes rows.
        folder: where the stores go, one for each split: a folder or a kvstore URL.
        overwrite: replace activations of another configuration.

    Raises:
        UserError: for labels that train does not have without a fallback for them, a bad checkpoint, or a folder whose
            activations are of another configuration.

    Example:
        >>> extract(load_task(config.task), config, Path("runs/sst2/activations"))["train"]
        <Store runs/sst2/activations/train: 6,920 rows x 13 layers x 768 neurons, float32>
    """
    with contextlib.ExitStack() as held:
        return _extract(dataset, config, folder, overwrite, held)


def _extract(
    dataset: Dataset | WordDataset, config: StudyConfig, stores: str | Path, overwrite: bool, held: contextlib.ExitStack
) -> dict[str, Store]:
    of_words = isinstance(dataset, WordDataset)
    _refuse_unseen(dataset, config.task.fallback_label)  # now, and not when probes are to be trained, hours later
    folder = pretrained.resolve(config.encoder.path)
    files = pretrained.weights_digest(folder), tokenizer_files.tokenizer_digest(folder)
    identities = {
        split: identity.ledger_identity(config, of_words, *files, source=source_digest(examples))
        for split, examples in dataset.splits.items()
    }

    places = {split: below(stores, split) for split in dataset.splits}

    def unfinished() -> dict[str, dict[str, str]]:
        """The splits that are not finished or, where they were, what is wrong with their files."""
        found: dict[str, dict[str, str]] = {}
        for split, place in places.items():
            present = finished_ledger(place, identities[split], overwrite)
            lost = {} if present is None else lost_files(str(place), present)
            if present is None or lost:
                found[split] = lost
        return found

    missing = unfinished()
    if isinstance(stores, Path) and (missing or (stores / LOCK_FILE).exists()):  # which a killed process may have left
        held.enter_context(lock(stores, wait=True))
        missing = unfinished()  # another run may have finished them meanwhile
    wait_for_all("come to extraction")
    missing = unfinished() if n_processes() > 1 else missing
    wait_for_all("seen what is missing")
    for split, lost in missing.items():
        for file, fault in lost.items():
            log.warning("%s/%s %s: it is extracted again", places[split], file, fault)
    if missing:
        pooling_name = identity.pooling(config, of_words)
        model, tokenizer, encode_batch = _encoder(folder, config.encoder, config.extraction, pooling_name)
        for split in missing:
            tokenizer.check_text(_texts(dataset, split), f"the {split} split", config.extraction.max_length)
        kept = config.extraction.layers or range(model.config.n_layers + 1)
        n_parameters = [model.n_parameters(layer) for layer in kept]

        def ledger(split: str, n_rows: int, names: list[str], rows: str, notes: dict[str, Any]) -> Ledger:
            return Ledger(
                identity=identities[split],
                n_rows=n_rows,
                n_layers=len(kept),
                hidden_size=model.config.hidden_size,
                dtype=config.extraction.dtype,
                window_rows=config.extraction.window_rows,
                label_names=names,
                encoder_parameters=n_parameters,
                notes=notes,
                rows=rows,
                layers=[*config.extraction.layers],
            )

        for split in missing:
            path, title = places[split], f"extract {split}"
            if isinstance(dataset, WordDataset):
                sentences = dataset.splits[split]
                words = plan_words(tokenizer, sentences, config.extraction.max_length, f"tokenize {split}")
                given_labels = word_labels(words, sentences, split)
                names, labels = encode_labels(given_labels)
                notes = {**dataset.notes[split], **left_out(words, sentences)}
                _report(split, notes)
                if dataset.kind == "classification":
                    warn_of_unseen(split, given_labels, set(_all_labels(dataset, "train")), config.task.fallback_label)
                plan = ledger(split, len(labels), names, "word", notes)
                with writing(path):
                    writer = StoreWriter(path, plan, labels, words.sentence_index, overwrite, words.word_index, True)
                    extract_words(encode_batch, tokenizer, sentences, words, writer, config.extraction, title)
            else:
                examples = dataset.splits[split]
                names, labels = encode_labels([example.label for example in examples])
                plan = ledger(split, len(labels), names, "sentence", {})
                with writing(path):
                    numbers = np.arange(len(labels), dtype=np.int32)
                    writer = StoreWriter(path, plan, labels, numbers, overwrite, any_order=True)
                    extract_sentences(encode_batch, tokenizer, examples, writer, config.extraction, title)
    finished = {split: Store(place) for split, place in places.items()}
    for split in missing:
        notes = finished[split].ledger.notes
        n_rows, share = finished[split].n_rows, notes["tokens"] / max(notes["tokens_computed"], 1)
        log.info("%s activations: %d rows; %.1f%% of the computed tokens are real", split, n_rows, 100 * share)
    for split in (s for s in dataset.splits if s not in missing):
        log.info("%s activations: kept, %d rows", split, finished[split].n_rows)
    return finished


def in_memory(examples: Sequence[Example], encoder: EncoderConfig, extraction: ExtractionConfig) -> HiddenStates:
    """The activations of sentences in memory, one row per sentence.

    Args:
        examples: the sentences; their labels are not looked at.
        encoder: the encoder.
        extraction: how sentences become rows.

    Raises:
        UserError: for a bad checkpoint, or text that its tokenizer does not take.
    """
    model, tokenizer, encode_batch = _encoder(pretrained.resolve(encoder.path), encoder, extraction, extraction.pooling)
    tokenizer.check_text([example.text for example in examples], "the text", extraction.max_length)
    shape = len(examples), len(extraction.layers) or model.config.n_layers + 1, model.config.hidden_size
    writer = MemoryWriter(Ledger({}, *shape, extraction.dtype, extraction.window_rows, []))
    extract_sentences(encode_batch, tokenizer, examples, writer, extraction, "hidden states")
    return HiddenStates(writer.values)


def _encoder(
    folder: Path, encoder: EncoderConfig, extraction: ExtractionConfig, pooling_name: str
) -> tuple["Encoder", Tokenizer, "Encode"]:
    """A pretrained encoder, its tokenizer, and both as one function."""
    from jaxred.activations.encode import encode_fn  # here, because Flax takes half a second to import
    from jaxred.models import load_encoder

    model = load_encoder(folder, encoder.n_layers, encoder.compute_dtype)
    tokenizer = Tokenizer(folder, model.config)
    if pooling_name == "cls" and tokenizer.layout.sentence_position is None:
        raise UserError(
            f"config.extraction.pooling='cls' is not possible with {model.config.title}: it has no token that stands "
            "for the sentence; choose last (the last token, which has seen all others) or mean."
        )
    tokenizer.encode([], None, extraction.max_length)  # rejects a max_length the model does not take
    if extraction.layers and max(extraction.layers) > model.config.n_layers:
        raise UserError(
            f"config.extraction.layers={extraction.layers} is not possible: the encoder has layers 0 to "
            f"{model.config.n_layers}."
        )
    return model, tokenizer, encode_fn(model, pooling_name, extraction.dtype, layers=extraction.layers)


def _texts(dataset: Dataset | WordDataset, split: str) -> list[str] | list[tuple[str, ...]]:
    if isinstance(dataset, WordDataset):
        return [sentence.words for sentence in dataset.splits[split]]
    return [example.text for example in dataset.splits[split]]


def _all_labels(dataset: Dataset | WordDataset, split: str) -> list[str | float]:
    """The labels of a split, also those of words that will have no vector."""
    if isinstance(dataset, WordDataset):
        return [label for sentence in dataset.splits[split] for label in sentence.labels]
    return [example.label for example in dataset.splits[split]]


def _refuse_unseen(dataset: Dataset | WordDataset, fallback: str) -> None:
    if dataset.kind == "classification" and "train" in dataset.splits:
        train_labels = set(_all_labels(dataset, "train"))
        for split in dataset.splits:
            unseen_labels(split, _all_labels(dataset, split), train_labels, fallback)


def _report(split: str, notes: dict[str, Any]) -> None:
    """Warns of every word that is left out against the reader's wish, and says where."""
    reasons = {
        "dropped": ("sentences_dropped", "sentences without a label for every word are left out"),
        "too_long": ("sentences_too_long", "sentences longer than task.max_sent_l are left out"),
        "truncated": ("words_truncated", "words are left out, of sentences longer than extraction.max_length tokens"),
        "without_tokens": ("words_without_tokens", "words are left out, of which the tokenizer makes no token"),
    }
    for name, (count, sentence) in reasons.items():
        if notes[count]:
            lines = notes[f"{name}_lines"]
            shown = ", ".join(map(str, lines[:MOST_LINES])) + (", ..." if len(lines) > MOST_LINES else "")
            log.warning("%s: %d %s (sentences at lines %s)", split, notes[count], sentence, shown)


def source_digest(examples: Sequence[Example] | Sequence[LabelledSentence]) -> str:
    """The digest of a split's examples, which its store's ledger has as the identity's `source`."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps(example).encode() + b"\n")
    return digest.hexdigest()
