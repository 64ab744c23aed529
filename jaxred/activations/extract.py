"""Runs a task's text through an encoder and leaves every layer's vectors in activation stores: a row is a sentence
or, of a labelling task, a word.

Rows are cut into windows; the sentences of a window are packed into batches of few shapes under a token budget, so that
hardly any padding is computed (`jaxred.activations.packing`). While the device works on one window, the next one is
tokenised, programs for new shapes are compiled, and the last one is written.

Words are planned first: all sentences are tokenised before a store is made, so that it knows its rows and what was
left out. A sentence that a window's end cuts is encoded with both windows, so that a window depends on nothing but
the text, and a run that was killed resumes to the same bytes.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jaxred.activations import identity
from jaxred.activations.fetching import fetched, token_budget
from jaxred.activations.in_memory import HiddenStates, MemoryWriter
from jaxred.activations.packing import Packing, justified_budget, pack, pack_words
from jaxred.activations.store import Ledger, Store, StoreWriter, is_finished, writing
from jaxred.config import EncoderConfig, ExtractionConfig, StudyConfig
from jaxred.data.checks import unseen_labels, warn_of_unseen
from jaxred.data.examples import Dataset, Example, LabelledSentence, WordDataset
from jaxred.data.labels import encode_labels
from jaxred.errors import UserError
from jaxred.io.locks import LOCK_FILE, lock
from jaxred.io.progress import progress_bar
from jaxred.models import pretrained, tokenizer_files
from jaxred.models.tokenization import TokenBatch, TokenizedWords, Tokenizer

if TYPE_CHECKING:
    from jaxred.activations.encode import Encode
    from jaxred.models import Encoder

log = logging.getLogger("jaxred")

MOST_LINES = 20  # line numbers that a warning shows; the ledger has all


def extract(
    dataset: Dataset | WordDataset, config: StudyConfig, folder: Path, overwrite: bool = False
) -> dict[str, Store]:
    """The activation stores of a task's splits; what is finished is kept, what was cut short is resumed.

    Where another process extracts them, it is waited for.

    Args:
        dataset: the examples, by split.
        config: the encoder, and how text becomes rows.
        folder: where the stores go, one for each split.
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
    dataset: Dataset | WordDataset, config: StudyConfig, stores: Path, overwrite: bool, held: contextlib.ExitStack
) -> dict[str, Store]:
    words = isinstance(dataset, WordDataset)
    _refuse_unseen(dataset, config.task.fallback_label)  # now, and not when probes are to be trained, hours later
    folder = pretrained.resolve(config.encoder.path)
    files = pretrained.weights_digest(folder), tokenizer_files.tokenizer_digest(folder)
    identities = {
        split: identity.ledger_identity(config, words, *files, source=_source(examples))
        for split, examples in dataset.splits.items()
    }

    def unfinished() -> list[str]:
        places = {split: stores / split for split in dataset.splits}
        return [split for split, path in places.items() if not is_finished(path, identities[split], overwrite)]

    missing = unfinished()
    if missing or (stores / LOCK_FILE).exists():  # which a killed process may have left
        held.enter_context(lock(stores, wait=True))
        missing = unfinished()  # another process may have finished them meanwhile
    if missing:
        pooling_name = identity.pooling(config, words)
        model, tokenizer, encode_batch = _encoder(folder, config.encoder, config.extraction, pooling_name)
        for split in missing:
            tokenizer.check_text(_texts(dataset, split), f"the {split} split", config.extraction.max_length)
        n_parameters = [model.n_parameters(k) for k in range(model.config.n_layers + 1)]

        def ledger(split: str, n_rows: int, names: list[str], rows: str, notes: dict[str, Any]) -> Ledger:
            return Ledger(
                identity=identities[split],
                n_rows=n_rows,
                n_layers=model.config.n_layers + 1,
                hidden_size=model.config.hidden_size,
                dtype=config.extraction.dtype,
                window_rows=config.extraction.window_rows,
                label_names=names,
                encoder_parameters=n_parameters,
                notes=notes,
                rows=rows,
            )

        for split in missing:
            path, title = stores / split, f"extract {split}"
            if isinstance(dataset, WordDataset):
                sentences = dataset.splits[split]
                tokenized = tokenizer.encode_words([s.words for s in sentences], config.extraction.max_length)
                of_words = word_labels(tokenized, sentences, split)
                names, labels = encode_labels(of_words)
                notes = {**dataset.notes[split], **_left_out(tokenized, sentences)}
                _report(split, notes)
                if dataset.kind == "classification":
                    warn_of_unseen(split, of_words, set(_all_labels(dataset, "train")), config.task.fallback_label)
                plan = ledger(split, len(labels), names, "word", notes)
                with writing(path):
                    writer = StoreWriter(path, plan, labels, tokenized.sentence_index, overwrite, tokenized.word_index)
                    extract_words(encode_batch, tokenizer, tokenized, writer, config.extraction, title)
            else:
                examples = dataset.splits[split]
                names, labels = encode_labels([example.label for example in examples])
                plan = ledger(split, len(labels), names, "sentence", {})
                with writing(path):
                    writer = StoreWriter(path, plan, labels, np.arange(len(labels), dtype=np.int32), overwrite)
                    extract_sentences(encode_batch, tokenizer, examples, writer, config.extraction, title)
    finished = {split: Store(stores / split) for split in dataset.splits}
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
    shape = len(examples), model.config.n_layers + 1, model.config.hidden_size
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
    return model, tokenizer, encode_fn(model, pooling_name, extraction.dtype)


def extract_sentences(
    encode_batch: "Encode",
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    writer: StoreWriter | MemoryWriter,
    config: ExtractionConfig,
    title: str,
) -> None:
    """Writes the unfinished windows of a store: one row per sentence, its vector at every layer, by `encode_fn`."""
    budget = token_budget(config.token_budget)
    first = writer.ledger.windows_finished

    def tokenize(window: int) -> tuple[TokenBatch, list[Packing]]:
        rows_of_window = examples[writer.ledger.window(window)]
        pairs = None if rows_of_window[0].pair is None else [example.pair or "" for example in rows_of_window]
        tokens = tokenizer.encode([example.text for example in rows_of_window], pairs, config.max_length)
        batches = pack(tokens.lengths, justified_budget(budget, tokens.lengths), tokenizer.longest)
        for batch in {batch.shape: batch for batch in batches}.values():
            encode_batch.compile_ahead(batch.tokens(tokenizer, tokens))
        return tokens, batches

    done = writer.ledger.window(first).start if first else 0
    with ThreadPoolExecutor(1) as background, progress_bar(len(examples), title, "sentences", done) as bar:
        upcoming = background.submit(tokenize, first) if first < writer.ledger.n_windows else None
        for window in range(first, writer.ledger.n_windows):
            assert upcoming is not None
            tokens, batches = upcoming.result()
            if window + 1 < writer.ledger.n_windows:
                upcoming = background.submit(tokenize, window + 1)
            shape = (len(tokens), writer.ledger.n_layers, writer.ledger.hidden_size)
            block = np.empty(shape, jnp.dtype(config.dtype))
            finished = writer.restore(window, block)
            bar.update(int(finished.sum()))
            work = (batch.work(tokenizer, tokens) for batch in batches if not finished[batch.sentences].all())
            for rows, vectors in fetched(encode_batch, work, config.dtype):
                block[rows] = vectors
                writer.keep(window, block, rows)
                bar.update(int(np.count_nonzero(~finished[rows])))
            notes = {"sentences_truncated": tokens.n_truncated, "tokens": int(tokens.lengths.sum())}
            writer.write(window, block, {**notes, "tokens_computed": sum(batch.n_tokens for batch in batches)})
        writer.flush()


def extract_words(
    encode_batch: "Encode",
    tokenizer: Tokenizer,
    words: TokenizedWords,
    writer: StoreWriter,
    config: ExtractionConfig,
    title: str,
) -> None:
    """Writes the unfinished windows of a store: one row per word, its vector at every layer, by `encode_fn`."""
    ledger = writer.ledger
    budget = token_budget(config.token_budget)
    done = ledger.window(ledger.windows_finished).start if ledger.windows_finished else 0
    with progress_bar(ledger.n_rows, title, "words", done) as bar:
        for window in range(ledger.windows_finished, ledger.n_windows):
            window_rows = ledger.window(window)
            block = np.empty(
                (window_rows.stop - window_rows.start, ledger.n_layers, ledger.hidden_size), jnp.dtype(config.dtype)
            )
            finished = writer.restore(window, block)
            bar.update(int(finished.sum()))
            batches = [*pack_words(words, window_rows, tokenizer, budget)]
            for planned in batches:
                encode_batch.compile_ahead(planned.batch, planned.words)
            work = (planned for planned in batches if not finished[planned.rows].all())
            for rows, vectors in fetched(encode_batch, work, config.dtype):
                block[rows] = vectors
                writer.keep(window, block, rows)
                bar.update(int(np.count_nonzero(~finished[rows])))
            writer.write(window, block, {"tokens_computed": sum(planned.batch.input_ids.size for planned in batches)})
        writer.flush()


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


def word_labels(words: TokenizedWords, sentences: Sequence[LabelledSentence], split: str) -> list[str | float]:
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


def _left_out(words: TokenizedWords, sentences: Sequence[LabelledSentence]) -> dict[str, Any]:
    """How many words have no vector and where they are, for the ledger's notes."""
    return {
        "tokens": int(words.tokens.lengths.sum()),
        "sentences_truncated": int(np.count_nonzero(words.n_cut)),
        "truncated_lines": [sentences[row].line for row in np.flatnonzero(words.n_cut).tolist()],
        "words_truncated": int(words.n_cut.sum()),
        "words_without_tokens": int(words.n_empty.sum()),
        "without_tokens_lines": [sentences[row].line for row in np.flatnonzero(words.n_empty).tolist()],
    }


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


def _source(examples: Sequence[Example] | Sequence[LabelledSentence]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps(example).encode() + b"\n")
    return digest.hexdigest()
