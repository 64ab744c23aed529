"""The windows of a store, one after the other: tokenised, packed, encoded, written.

While the device works on one window, the next one is tokenised and packed, programs for new shapes are compiled, and
the last one is written. A window depends on nothing but the text of its rows, so that any process can write it at any
time, and a run that was killed resumes to the same bytes.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxred.activations.fetching import fetched, token_budget
from jaxred.activations.in_memory import MemoryWriter
from jaxred.activations.packing import Work, justified_budget, pack, pack_words
from jaxred.activations.store import StoreWriter
from jaxred.activations.words import WordRows
from jaxred.config import ExtractionConfig
from jaxred.data.examples import Example, LabelledSentence
from jaxred.io.processes import n_processes
from jaxred.io.progress import progress_bar
from jaxred.models.tokenization import Tokenizer

if TYPE_CHECKING:
    from jaxred.activations.encode import Encode


class _Window(NamedTuple):
    """What is to be computed of a window."""

    batches: list[Work]
    notes: dict[str, Any]


def extract_sentences(
    encode: "Encode",
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    writer: StoreWriter | MemoryWriter,
    config: ExtractionConfig,
    title: str,
) -> None:
    """Writes the windows that a store lacks: one row per sentence, its vector at every layer, by `encode_fn`."""
    budget = token_budget(config.token_budget)

    def prepare(rows: slice) -> _Window:
        some = examples[rows]
        pairs = None if some[0].pair is None else [example.pair or "" for example in some]
        tokens = tokenizer.encode([example.text for example in some], pairs, config.max_length)
        packed = pack(tokens.lengths, justified_budget(budget, tokens.lengths), tokenizer.longest)
        notes = {"sentences_truncated": tokens.n_truncated, "tokens": int(tokens.lengths.sum())}
        return _Window([packing.work(tokenizer, tokens) for packing in packed], notes)

    _write_windows(encode, prepare, writer, config.dtype, title, "sentences")


def extract_words(
    encode: "Encode",
    tokenizer: Tokenizer,
    sentences: Sequence[LabelledSentence],
    words: WordRows,
    writer: StoreWriter,
    config: ExtractionConfig,
    title: str,
) -> None:
    """Writes the windows that a store lacks: one row per word, its vector at every layer, by `encode_fn`.

    A sentence that a window's end cuts is encoded with both windows.
    """
    budget = token_budget(config.token_budget)

    def prepare(rows: slice) -> _Window:
        tokenized, own = words.tokenized(rows, sentences, tokenizer, config.max_length)
        return _Window([*pack_words(tokenized, own, tokenizer, budget)], {})

    _write_windows(encode, prepare, writer, config.dtype, title, "words")


def _write_windows(
    encode: "Encode",
    prepare: Callable[[slice], _Window],
    writer: StoreWriter | MemoryWriter,
    dtype: str,
    title: str,
    unit: str,
) -> None:
    ledger, windows = writer.ledger, writer.windows

    def prepared(window: int) -> _Window:
        planned = prepare(ledger.window(window))
        for work in planned.batches:
            encode.compile_ahead(work.batch, work.words)
        return planned

    rows_of = {window: ledger.window(window) for window in windows}
    n_left = sum(rows.stop - rows.start for rows in rows_of.values())
    done = ledger.n_rows - n_left if n_processes() == 1 else 0  # of several, each shows its own share
    with ThreadPoolExecutor(1) as background, progress_bar(done + n_left, title, unit, done) as bar:
        upcoming = [background.submit(prepared, window) for window in windows[:1]]
        for position, (window, rows) in enumerate(rows_of.items()):
            batches, notes = upcoming.pop().result()
            upcoming = [background.submit(prepared, window) for window in windows[position + 1 : position + 2]]
            block = np.empty((rows.stop - rows.start, ledger.n_layers, ledger.hidden_size), jnp.dtype(dtype))
            finished = writer.restore(window, block)
            bar.update(int(finished.sum()))
            work = (each for each in batches if not finished[each.rows].all())
            for filled, vectors in fetched(encode, work, dtype):
                block[filled] = vectors
                writer.keep(window, block, filled)
                bar.update(int(np.count_nonzero(~finished[filled])))
            n_computed = sum(each.batch.input_ids.size for each in batches)
            writer.write(window, block, {**notes, "tokens_computed": n_computed})
        writer.finish()
