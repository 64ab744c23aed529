"""Runs a task's text through an encoder and leaves every layer's sentence vectors in activation stores.

Rows are cut into windows; inside a window they are sorted by length and packed into batches of few shapes under a
token budget, so that little padding is computed and few shapes are compiled. While the device works on one window
the next one is tokenised and the last one is written.
"""

import functools
import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxred import tokenization
from jaxred.config import ExtractionConfig, StudyConfig
from jaxred.data import load_task
from jaxred.data.examples import Example
from jaxred.kernels import pooling
from jaxred.models import Encoder, checkpoint, load_encoder
from jaxred.progress import progress_bar
from jaxred.store import Ledger, Store, StoreWriter, is_finished
from jaxred.tokenization import TokenBatch, Tokenizer
from jaxred.workdir import Workdir

log = logging.getLogger("jaxred")

# The padded lengths; longer ones are powers of two.
LENGTHS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512)
ROW_MULTIPLE = 8


@dataclass(frozen=True)
class Batch:
    """Sentences that go through the encoder together, padded to `n_rows` x `length`."""

    rows: np.ndarray
    length: int
    n_rows: int


def extract(config: StudyConfig, workdir: Workdir, overwrite: bool = False) -> dict[str, Store]:
    """The activation stores of a task's splits; what is finished is kept, what was cut short is gone on with.

    Raises:
        UserError: for bad task files, a bad checkpoint, or a workdir whose activations are of another configuration.
    """
    dataset = load_task(config.task)
    folder = checkpoint.resolve(config.encoder.path)
    shared = {
        "encoder": checkpoint.fingerprint(folder),
        "tokenizer": tokenization.fingerprint(folder),
        "transformer_layers": config.encoder.n_layers,
        "compute_dtype": config.encoder.compute_dtype,
        "dtype": config.extraction.dtype,
        "pooling": config.extraction.pooling,
        "max_length": config.extraction.max_length,
    }
    identities = {split: {**shared, "source": _source(examples)} for split, examples in dataset.splits.items()}
    missing = [
        split for split in dataset.splits if not is_finished(workdir.activations(split), identities[split], overwrite)
    ]
    if missing:
        model = load_encoder(folder, config.encoder.n_layers, config.encoder.compute_dtype)
        tokenizer = Tokenizer(folder, model.config)
        tokenizer.encode([], None, config.extraction.max_length)  # refuses a max_length the model does not take
        encode_batch = encode_fn(model, config.extraction.pooling, config.extraction.dtype)
        n_parameters = [model.n_parameters(k) for k in range(model.config.n_layers + 1)]
        for split in missing:
            examples = dataset.splits[split]
            names, labels = _labels(examples, dataset.kind)
            ledger = Ledger(
                identity=identities[split],
                n_rows=len(examples),
                n_layers=model.config.n_layers + 1,
                hidden_size=model.config.hidden_size,
                dtype=config.extraction.dtype,
                window_rows=config.extraction.window_rows,
                label_names=names,
                encoder_parameters=n_parameters,
            )
            index = np.arange(len(examples), dtype=np.int32)
            writer = StoreWriter(workdir.activations(split), ledger, labels, index, overwrite)
            extract_sentences(encode_batch, tokenizer, examples, writer, config.extraction, f"extract {split}")
    for split in (s for s in dataset.splits if s not in missing):
        log.info("%s activations: kept, %d rows", split, len(dataset.splits[split]))
    return {split: Store(workdir.activations(split)) for split in dataset.splits}


def extract_sentences(
    encode_batch: Callable[..., jax.Array],
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    writer: StoreWriter,
    config: ExtractionConfig,
    title: str,
) -> None:
    """Writes the unfinished windows of a store: one row a sentence, its vector at every layer, by `encode_fn`."""
    budget = config.token_budget or (2048 if jax.default_backend() == "cpu" else 65536)
    first = writer.ledger.windows_finished

    def tokenize(window: int) -> TokenBatch:
        mine = examples[writer.ledger.window(window)]
        pairs = None if mine[0].pair is None else [example.pair or "" for example in mine]
        return tokenizer.encode([example.text for example in mine], pairs, config.max_length)

    done = writer.ledger.window(first).start if first else 0
    with ThreadPoolExecutor(1) as background, progress_bar(len(examples), title, "sentences", done) as bar:
        upcoming = background.submit(tokenize, first) if first < writer.ledger.n_windows else None
        for window in range(first, writer.ledger.n_windows):
            assert upcoming is not None
            tokens = upcoming.result()
            if window + 1 < writer.ledger.n_windows:
                upcoming = background.submit(tokenize, window + 1)
            shape = (len(tokens), writer.ledger.n_layers, writer.ledger.hidden_size)
            block = np.empty(shape, jnp.dtype(config.dtype))
            for rows, vectors in _run(
                plan_batches(tokens.lengths, budget, tokenizer.longest), tokens, tokenizer, encode_batch
            ):
                block[rows] = vectors
                bar.update(len(rows))
            notes = {"sentences_truncated": tokens.n_truncated, "tokens": int(tokens.lengths.sum())}
            writer.write(window, block, notes)
        writer.flush()


def encode_fn(model: Encoder, pooling_name: str, dtype: str) -> Callable[..., jax.Array]:
    """A compiled function from a padded batch to its sentence vectors, [row, layer, neuron] in the stored dtype."""
    graph, state = nnx.split(model)

    @jax.jit
    def encode(state: Any, batch: tokenization.PaddedBatch) -> jax.Array:
        input_ids, attention_mask, token_type_ids, positions = (jnp.asarray(array) for array in batch)
        pool = (
            functools.partial(pooling.cls, positions=positions)
            if pooling_name == "cls"
            else functools.partial(pooling.mean, attention_mask=attention_mask)
        )
        vectors = nnx.merge(graph, state)(input_ids, attention_mask, token_type_ids, pool)
        return vectors.swapaxes(0, 1).astype(dtype)

    return functools.partial(encode, state)


def plan_batches(lengths: np.ndarray, token_budget: int, longest: int = sys.maxsize) -> list[Batch]:
    """Packs sentences, longest first, into batches of at most `token_budget` padded tokens and few different shapes.

    Every sentence is in exactly one batch, no batch is shorter than its sentences, and the shape depends on the
    length alone. Only the last batch may have rows to spare.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        length = min(padded_length(int(lengths[order[start]])), longest)
        n_rows = max(token_budget // length, 1)
        n_rows -= n_rows % ROW_MULTIPLE if n_rows > ROW_MULTIPLE else 0
        batches.append(Batch(order[start : start + n_rows], length, n_rows))
        start += n_rows
    return batches


def padded_length(length: int) -> int:
    """The length that a sentence of so many tokens is padded to."""
    return next((padded for padded in LENGTHS if padded >= length), 1 << (length - 1).bit_length())


def _run(
    batches: Sequence[Batch], tokens: TokenBatch, tokenizer: Tokenizer, encode_batch: Callable[..., jax.Array]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each batch's rows and vectors; the device is given the next batch before the last one is fetched."""
    waiting: tuple[np.ndarray, jax.Array] | None = None
    for batch in batches:
        vectors = encode_batch(tokenizer.pad(tokens, batch.rows.tolist(), batch.length, batch.n_rows))
        if waiting is not None:
            yield waiting[0], np.asarray(waiting[1])[: len(waiting[0])]
        waiting = batch.rows, vectors
    if waiting is not None:
        yield waiting[0], np.asarray(waiting[1])[: len(waiting[0])]


def _labels(examples: Sequence[Example], kind: str) -> tuple[list[str], np.ndarray]:
    if kind == "regression":
        return [], np.array([example.label for example in examples], np.float64)
    names = sorted({str(example.label) for example in examples})
    ids = {name: i for i, name in enumerate(names)}
    return names, np.array([ids[str(example.label)] for example in examples], np.int32)


def _source(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps(example).encode() + b"\n")
    return digest.hexdigest()
