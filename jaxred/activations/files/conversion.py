"""Stores from files that others wrote, files of others from stores, and a task's examples as parallel files.

Files are JSON lines, HDF5 or NumPy's. Both ways are streams: memory does not grow with the file.
"""

import functools
import glob
import logging
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxred.activations.files import numpy_arrays
from jaxred.activations.files.exporting import SUFFIXES, to_file, write_task
from jaxred.activations.files.numpy_arrays import ArrayFile
from jaxred.activations.files.row_selection import UNLABELLED, Rows, parse_label, plan_rows, report_rows
from jaxred.activations.files.sentences import UNPICKLED, refuse_pickles
from jaxred.activations.files.store_filling import StoreShape, fill_store
from jaxred.activations.store import Store, finished_ledger, read_ledger, reading, writing
from jaxred.config import DTYPES, StudyConfig
from jaxred.data.labels import refuse_odd_labels, split_labels
from jaxred.data.lines import read_lines
from jaxred.errors import UserError
from jaxred.io.files import file_digest
from jaxred.io.locks import lock
from jaxred.io.paths import local

log = logging.getLogger("jaxred")

_WINDOW_ROWS = 512  # small, so that a window is written while the next is parsed, into memory that is used again


@dataclass(frozen=True)
class Options:
    """What `convert` is asked for; a None is not given."""

    input: str | None = None
    output: str | None = None
    text: str | None = None
    labels: str | None = None
    rows: str | None = None
    kind: str | None = None
    dtype: str | None = None
    decimals: int | None = None
    separate_layers: bool | None = None


def convert(options: Options, config: StudyConfig | None = None, overwrite: bool = False) -> str:
    """Does what the options ask for: a file to a store, a store to a file, or a task's examples to parallel files.

    Args:
        options: where from, where to, and how.
        config: its task's examples are written, where there is no input.
        overwrite: replace what is there.

    Returns:
        A sentence that says what was written.

    Raises:
        UserError: for options that do not fit together, bad files, or outputs that are there already.
    """
    options = _found(options)
    if not options.output:
        raise UserError("`output` is missing: pass the file, or the folder, that is to be written.")
    if options.input is None:
        if config is None:
            raise UserError("`input` is missing: pass a file of activations or a store, or `config` with a task.")
        _refuse_others(options, "a task's examples are written", "output")
        with lock(Path(options.output), leftovers=["*.word", "*.label", "*.score"]):
            stems = write_task(config, Path(options.output), overwrite)
        return f"Examples: {', '.join(f'{stem}.word' for stem in stems)}, and their labels"
    if config is not None:
        raise UserError("`config` names a task whose examples are written, and `input` activations: pass one of them.")
    if read_ledger(options.input) is None:
        return _file_to_store(options, overwrite)
    _refuse_others(options, "a store becomes a file", "input", "output", "text", "dtype", "decimals", "separate_layers")
    store, output = Store(options.input), Path(options.output)
    stem = output.name.removesuffix(output.suffix)
    leftovers = [f"{glob.escape(stem)}{end}" for end in (".*", "-layer*")]
    with reading([store]), lock(output.parent, name=stem, leftovers=leftovers):
        paths = to_file(
            store,
            options.output,
            options.text,
            dtype=options.dtype or "float32",
            decimals=6 if options.decimals is None else options.decimals,
            separate_layers=bool(options.separate_layers),
            overwrite=overwrite,
        )
    return f"Activations: {', '.join(map(str, paths))}"


def _found(options: Options) -> Options:
    """The options with their paths found; a store's may be a URL, a file's not."""
    paths = {}
    for name in ("input", "output", "text", "labels"):
        path = getattr(options, name)
        if not path:
            continue
        may_be_store = options.input and name in ("input", "output") and Path(path).suffix.lower() not in SUFFIXES
        if not (may_be_store and "://" in path):
            paths[name] = str(local(path, name))
    return replace(options, **paths)


def _file_to_store(options: Options, overwrite: bool) -> str:
    assert options.input is not None
    assert options.output is not None
    _refuse_others(options, "a file becomes a store", "input", "output", "text", "labels", "rows", "kind", "dtype")
    if Path(options.output).suffix.lower() in (*SUFFIXES, *UNPICKLED):
        raise UserError(
            f"`input={options.input}` is no activation store, but `output={options.output}` is a file: a file is "
            "written from a store; write a store first, into a folder."
        )
    if Path(options.output).is_file():
        raise UserError(f"`output={options.output}` is a file, but a store is a folder: choose another `output`.")
    store = to_store(
        options.input,
        options.output,
        options.text,
        options.labels,
        rows=options.rows,
        kind=options.kind or "classification",
        dtype=options.dtype or "float32",
        overwrite=overwrite,
    )
    return f"Store: {store.location} ({store.n_rows} {store.ledger.rows}s, {store.n_layers} x {store.hidden_size})"


def _refuse_others(options: Options, what: str, *allowed: str) -> None:
    useless = [f.name for f in fields(options) if getattr(options, f.name) is not None and f.name not in allowed]
    if useless:
        useful = ", ".join(f"`{name}`" for name in allowed)
        raise UserError(f"`{useless[0]}` has no use here, where {what}: leave it out; of use are {useful}.")


def to_store(
    path: str | Path,
    location: str | Path,
    text: str | Path | None = None,
    labels: str | Path | None = None,
    *,
    rows: str | None = None,
    kind: str = "classification",
    dtype: str = "float32",
    overwrite: bool = False,
) -> Store:
    """Makes a store of a file of activations; resumes one that was cut short.

    Args:
        path: JSON lines, HDF5, `.npy` or `.npz`; or NeuroX's name of files of layers (see `sentences.py`).
        location: a folder, or a kvstore URL.
        text: the sentences, one per line; needed for HDF5, and for an `.npy` of words.
        labels: one label per line for sentences, one per word for words; without it all rows are of the class
            'unlabelled', but for an `.npz`, which holds its own.
        rows: 'sentence' (the default) or 'word'; an `.npz` says so itself.
        kind: 'classification' or 'regression', which says how labels are read.
        dtype: of the stored numbers: float32, bfloat16 or float16.
        overwrite: replace a store of other files or settings.

    Raises:
        UserError: for bad files, files that do not fit together, or a place that holds something else.

    Example:
        >>> to_store("train.json", "stores/train", "train.word", "train.label", rows="word")
        <Store stores/train: 20,000 rows x 13 layers x 768 neurons, float32>
    """
    path = Path(path)
    text, labels = (None if file is None else Path(file) for file in (text, labels))
    for name, value, allowed in (
        ("rows", rows or "sentence", ("sentence", "word")),
        ("kind", kind, ("classification", "regression")),
        ("dtype", dtype, DTYPES),
    ):
        if value not in allowed:
            raise UserError(f"`{name}={value}` is not known: choose one of {', '.join(allowed)}.")
    refuse_pickles(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{path} is neither a store nor of a known format: name a finished store, or a file that ends in "
            f"{', '.join(SUFFIXES)}."
        )
    if kind == "regression" and labels is None and path.suffix.lower() != ".npz":
        raise UserError("`kind=regression` is of labels, but there are none: pass the file of scores as `labels`.")
    if path.suffix.lower() in numpy_arrays.SUFFIXES:
        array = numpy_arrays.open_array(path)
        planned = _array_rows(array, text, labels, rows, kind)
        source, form = array, path.suffix.lower().removeprefix(".")
        vectors = array.read
    else:
        file, planned = plan_rows(path, text, labels, rows == "word", kind)
        source, form = file.survey, file.format
        vectors = functools.partial(planned.vectors, file)
    report_rows(str(path), planned)
    if labels is None and planned.labels[0] == UNLABELLED:
        log.warning("%s: there are no labels, so that all rows are of the class %r", path, UNLABELLED)
    identity = {
        "imported": form,
        "activations": source.digest,
        "source": text and file_digest(text),
        "labels": labels and file_digest(labels),
        "rows": "word" if planned.of_words else "sentence",
        "kind": kind,
        "dtype": dtype,
    }
    with writing(location):
        if finished_ledger(location, identity, overwrite):
            log.info("%s: kept, %d rows", location, len(planned.labels))
        else:
            shape = StoreShape(source.n_layers, source.hidden_size, dtype, _WINDOW_ROWS)
            fill_store(location, planned, shape, identity, vectors, path.name, overwrite)
        return Store(location)


def _array_rows(array: ArrayFile, text: Path | None, labels: Path | None, rows: str | None, kind: str) -> Rows:
    """The rows of a NumPy file, which says itself, or by the text, which words and sentences they are of."""
    of_words = array.word_index is not None if rows is None else rows == "word"
    sentence_index, word_index = array.sentence_index, array.word_index
    lines = None if text is None else read_lines(text)
    if of_words and (sentence_index is None or word_index is None):
        if lines is None:
            raise UserError(
                f"{array.path} does not say which words its rows are: pass the file of the sentences, one per line, as "
                "`text`, or save sentence_index and word_index in an .npz."
            )
        sizes = [len(line.split()) for line in lines]
        sentence_index = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        word_index = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
    elif sentence_index is None:
        sentence_index = np.arange(array.n_rows if lines is None else len(lines), dtype=np.int32)
    if len(sentence_index) != array.n_rows:
        what = "words" if of_words else "lines"
        raise UserError(
            f"{array.path} has {array.n_rows} rows, but {text} has {len(sentence_index)} {what}: both must be of the "
            "same; check the paths."
        )
    places = np.zeros(array.n_rows, np.int32) if word_index is None or not of_words else word_index
    parsed = _array_labels(array, labels, kind, sentence_index, of_words)
    notes = {"sentences": len(np.unique(sentence_index))}
    return Rows(of_words, sentence_index, places, np.arange(array.n_rows, dtype=np.int32), parsed, notes)


def _array_labels(
    array: ArrayFile, labels: Path | None, kind: str, sentence_index: Int[np.ndarray, " row"], words: bool
) -> list[Any]:
    if labels is None and array.labels is None:
        return [UNLABELLED] * array.n_rows
    if labels is None:
        assert array.labels is not None
        if (array.labels.dtype.kind == "f") != (kind == "regression"):
            content = "scores" if array.labels.dtype.kind == "f" else "classes"
            right = "regression" if content == "scores" else "classification"
            raise UserError(f"{array.path} has labels that are {content}, but `kind` is {kind}: pass `kind={right}`.")
        return array.labels.tolist()
    lines = read_lines(labels)
    if kind == "classification" and not words:
        refuse_odd_labels(filter(str.strip, lines), labels)
    cells = [
        (i, cell)
        for i, line in enumerate(lines)
        for cell in (split_labels(line, f"{labels}, line {i + 1}") if words else [line.strip()])
    ]
    if len(cells) != array.n_rows or (words and [i for i, _ in cells] != sentence_index.tolist()):
        raise UserError(
            f"{array.path} has {array.n_rows} rows, but {labels} has {len(cells)} labels on {len(lines)} lines: there "
            "must be one per row, those of a sentence on one line; check the paths."
        )
    for i, cell in cells:
        if not cell:
            raise UserError(f"{labels}, line {i + 1}: the label is empty, but one is expected: fill it.")
    return [parse_label(cell, labels, i, kind) for i, cell in cells]
