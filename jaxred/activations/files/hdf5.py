"""HDF5 activations in the layout of contextual-repr-analysis (Liu et al. 2019), which the original and NeuroX read.

Datasets "0" ... "n-1", a sentence each, are (layers, tokens, size) or, of one layer, (tokens, size), in floats;
`sentence_to_index` holds one JSON object from each sentence's text to its dataset.

The object is keyed by text, so that a sentence that stands twice is named once. The original reads the datasets that
are named, in the object's order, and so loses the other ones and shifts every sentence after them. NeuroX (Dalvi et
al. 2023) names the further ones "text (Occurrence 2)" and so on, which the original reads without loss; so does the
`Writer` here. In reading, a sentence that stands once is found by its text. One that stands more often is found by its
occurrence where the file names that; else by its row, if the file has a dataset for every row; else by its text. By
its row is also found what is named otherwise, as NeuroX names sentences by their pieces of words.

HDF5's library takes longer to find a sentence's one vector than to read it. It is therefore asked once, in the survey,
where the numbers lie in the file; what lies in one piece, as it does unless it is compressed, is then read from there.
"""

import contextlib
import errno
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NamedTuple

import h5py
import numpy as np
from h5py import h5l  # pyright: ignore[reportAttributeAccessIssue]
from jaxtyping import Float

from jaxred.activations.files.hdf5_links import link_types, refuse_elsewhere, refuse_link_out
from jaxred.activations.files.hdf5_sink import Sink
from jaxred.activations.files.survey import Survey, stamp_of
from jaxred.errors import UserError
from jaxred.io.files import MEMORY_SHARE, file_digest, parse_json, refuse_special
from jaxred.io.git_lfs import refuse_pointer
from jaxred.io.memory import available_bytes

INDEX = "sentence_to_index"
_LOCKED = (errno.EAGAIN, errno.EWOULDBLOCK)
_TYPES = {
    np.dtype("<f4"): h5py.h5t.IEEE_F32LE,
    np.dtype("<f2"): h5py.h5t.IEEE_F16LE,
    np.dtype("<f8"): h5py.h5t.IEEE_F64LE,
}


def survey(path: Path, texts: Sequence[str]) -> Survey:
    """Finds each sentence's dataset and its number of tokens.

    Args:
        path: the file.
        texts: the sentences, in row order.

    Returns:
        What the file holds for them.

    Raises:
        UserError: the file is not HDF5 or has no (readable) index; a sentence has no dataset; datasets do not have the
            same layers and sizes, or are no numbers.
    """
    with _open(path) as file, path.open("rb") as raw, ThreadPoolExecutor(1) as other_core:
        stamp = stamp_of(raw.fileno())
        digest = other_core.submit(file_digest, path)
        keys = _keys(file, texts, path)
        dtype = _dtype(file, keys[0], path)
        datasets = [_dataset(file, key, path, dtype) for key in keys]
    first = datasets[0]
    for row, dataset in enumerate(datasets):
        if (dataset.n_layers, dataset.size) != (first.n_layers, first.size):
            raise UserError(
                f"{path}: dataset {keys[row]!r} has {dataset.n_layers} layers x {dataset.size} neurons, but "
                f"{keys[0]!r} has {first.n_layers} x {first.size}: all must have the same; extract them with one model."
            )
    _refuse_larger_than_memory(datasets, keys, path)
    counts = Counter(_normal(text) for text in texts)
    n_duplicates = sum(n for n in counts.values() if n > 1)
    tokens, offsets = [dataset.n_tokens for dataset in datasets], [dataset.offset for dataset in datasets]
    return Survey(
        first.n_layers, first.size, tokens, digest.result(), keys, n_duplicates, offsets, dtype=dtype, stamp=stamp
    )


def read(
    path: Path, survey: Survey, first: int = 0, sentences_only: bool = False
) -> Iterator[Float[np.ndarray, "token layer neuron"]]:
    """The vectors of each sentence, in row order, in float32 or, where the file has that, float16.

    Args:
        path: the file.
        survey: what `survey` found in it.
        first: the sentence to start at.
        sentences_only: every sentence must have one token, which stands for it.

    Yields:
        One array per sentence.

    Raises:
        UserError: naming the dataset, where it cannot be read, has changed, holds a value that is not finite, or does
            not have one token where it must.
    """
    compressed = contextlib.nullcontext() if min(survey.offsets, default=0) >= 0 else _open(path)
    with compressed as file, _open_raw(path) as raw:
        _refuse_change(raw, survey, path)
        for row in range(first, len(survey.keys)):
            key = survey.keys[row]
            if sentences_only and survey.tokens[row] != 1:
                raise UserError(
                    f"{path}: dataset {key!r} has {survey.tokens[row]} tokens, of which none is known to stand for "
                    "the sentence: a sentence needs one token; write the sentence vector alone."
                )
            shape = survey.n_layers, survey.tokens[row], survey.hidden_size
            try:
                values = _read_dataset(file, key) if file and survey.offsets[row] < 0 else _read_piece(raw, survey, row)
                vectors = values.reshape(shape)
            except (OSError, KeyError, ValueError, TypeError) as error:
                raise UserError(
                    f"{path}: dataset {key!r} cannot be read ({_reason(error)}): write the file again."
                ) from None
            numbers = values.reshape(-1)
            finite = np.isfinite(np.einsum("n,n->", numbers, numbers))  # in one pass; a sum that is not says nothing
            if not finite and not np.isfinite(vectors).all():
                layer, token, neuron = (int(i) for i in np.argwhere(~np.isfinite(vectors))[0])
                raise UserError(
                    f"{path}: dataset {key!r} holds {vectors[layer, token, neuron]} at token {token}, layer {layer}, "
                    f"neuron {neuron}, but finite numbers are expected: extract the sentence again."
                )
            yield vectors.swapaxes(0, 1)
        _refuse_change(raw, survey, path)


class Writer:
    """Writes a file, sentence by sentence."""

    def __init__(self, file: BinaryIO, dtype: str = "float32"):
        """Takes an open file.

        Args:
            file: empty, open for reading and writing; it is left open.
            dtype: of the numbers: float32 or float16.
        """
        self._sink = Sink(file)
        self._file = h5py.File(self._sink, "w")
        self._dtype = np.dtype(dtype)
        self._type = h5py.h5t.py_create(self._dtype)
        self._properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        self._properties.set_obj_track_times(False)  # so that the same sentences make the same file
        self._names, self._index = _Names(), {}

    def add(self, sentence: str, tokens: Sequence[str], vectors: Float[np.ndarray, "token layer neuron"]) -> None:
        """Writes the next sentence under its text; `tokens` have no place in this format.

        Raises:
            OSError: if the disk is full.
        """
        del tokens
        key = str(len(self._index))
        with np.errstate(over="ignore"):  # what a float16 cannot hold is refused by the caller
            values = np.ascontiguousarray(vectors.swapaxes(0, 1), self._dtype)
        # h5py's own objects would take longer than writing a sentence's one vector
        space = h5py.h5s.create_simple(values.shape)
        dataset = h5py.h5d.create(self._file.id, key.encode(), self._type, space, self._properties)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
        self._sink.raise_failure()
        self._index[self._names.of(_normal(sentence))] = key

    def close(self) -> None:
        """Writes the index.

        Raises:
            OSError: if the disk is full.
        """
        failed = self._sink.failed
        if not failed:
            index = self._file.create_dataset(INDEX, (1,), dtype=h5py.string_dtype())
            index[0] = json.dumps(self._index)
        self._file.close()
        if not failed:
            self._sink.raise_failure()


class _Names:
    """Names sentences as NeuroX does: repeated ones get a number."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._counts: Counter[str] = Counter()

    def of(self, sentence: str) -> str:
        """The next sentence's name; its words are joined by one space."""
        name = sentence
        while name in self._used:
            self._counts[sentence] += 1
            name = f"{sentence} (Occurrence {self._counts[sentence] + 1})"
        self._used.add(name)
        return name


def _open(path: Path) -> h5py.File:
    if not path.exists():
        raise UserError(f"{path} does not exist: a file of activations is expected there; check the path.")
    refuse_special(path, "a file of activations")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> UserError:
    """Why HDF5's library does not open a file, with the fix that fits."""
    refuse_pointer(path)
    reason = _reason(error)
    if error.errno in _LOCKED or "unable to lock file" in reason:
        return UserError(
            f"{path} is open for writing in another process ({reason}): close it there, or wait for that process to "
            "end. On a file system without locks, set HDF5_USE_FILE_LOCKING=FALSE."
        )
    if "already open for" in reason:
        return UserError(
            f"{path} is open for writing elsewhere, or whoever wrote it was killed before closing it ({reason}): "
            "close it there, or write the file again."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return UserError(f"{path} cannot be read ({os.strerror(error.errno)}): make it a readable file.")
    return UserError(f"{path} cannot be read as HDF5 ({reason}): it may be cut short; write the file again.")


def _open_raw(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read any more ({error.strerror}): run again.") from None


def _keys(file: h5py.File, texts: Sequence[str], path: Path) -> list[str]:
    """The dataset of every row."""
    present = link_types(file)
    index = _index(file, present, path)
    n_datasets = len(present) - 1
    names = _Names()
    sentences = [_normal(text) for text in texts]
    counts = Counter(sentences)
    keys = []
    for row, text in enumerate(sentences):
        name = names.of(text)
        stands_once = counts[text] == 1 or f"{text} (Occurrence 2)" in index
        named = index.get(name if stands_once else text)
        by_row = str(row) if n_datasets == len(texts) else None
        key = (named or by_row) if stands_once else (by_row or named)
        if key is None or key not in present:
            raise UserError(
                f"{path} has {n_datasets} sentences and no dataset for sentence {row + 1} of {len(texts)}, "
                f"{_short(text)!r}: the activations and the text must be of the same sentences; check both paths."
            )
        if present[key] != h5l.TYPE_HARD:
            refuse_link_out(file, key, path)
        keys.append(key)
    return keys


def _index(file: h5py.File, present: dict[str, int], path: Path) -> dict[str, str]:
    layout = f"a dataset {INDEX!r} with one JSON object from each sentence to its dataset, as contextual-repr-analysis"
    if present.get(INDEX, h5l.TYPE_HARD) != h5l.TYPE_HARD:
        refuse_link_out(file, INDEX, path)
    try:
        dataset: h5py.Dataset = file[INDEX]  # type: ignore[assignment]
        refuse_elsewhere(dataset.id, INDEX, path)
        value = dataset[()]
    except (KeyError, AttributeError):  # none, or a group
        raise UserError(
            f"{path} has no dataset {INDEX!r}, by which sentences are found, but {layout} writes it, is expected: "
            "extract the activations with that."
        ) from None
    try:
        content = parse_json(np.ravel(np.asarray(value, object))[0])
        if not isinstance(content, dict) or not content:
            raise ValueError(f"a {type(content).__name__} of {len(content)}")
        return {_normal(text): str(key) for text, key in content.items()}
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"{path}: {INDEX!r} cannot be read ({error}), but {layout} writes it, is expected: extract the "
            "activations with that."
        ) from None


class _Dataset(NamedTuple):
    n_layers: int
    n_tokens: int
    size: int
    offset: int  # where its numbers begin in the file; -1 where they are not in one piece, or of another type


def _dtype(file: h5py.File, key: str, path: Path) -> np.dtype | None:
    """The type of a dataset's numbers, where it is one that NumPy has too."""
    stored = _find(file, key, path).get_type()
    return next((dtype for dtype, known in _TYPES.items() if stored == known), None)


def _dataset(file: h5py.File, key: str, path: Path, dtype: np.dtype | None) -> _Dataset:
    dataset = _find(file, key, path)
    stored, shape = dataset.get_type(), dataset.shape
    as_told = dtype is not None and stored == _TYPES[dtype]
    floats = as_told or isinstance(stored, h5py.h5t.TypeFloatID)
    full = (1, *shape) if len(shape) == 2 else shape
    if not floats or len(full) != 3 or not full[0] or not full[2]:
        raise _no_activations(path, key, f"{shape} of {dataset.dtype}")
    offset = dataset.get_offset() if as_told else None
    if offset is None:  # what has an offset is in this file
        refuse_elsewhere(dataset, key, path)
    n_layers, n_tokens, size = full
    return _Dataset(n_layers, n_tokens, size, -1 if offset is None else offset)


def _refuse_larger_than_memory(datasets: Sequence[_Dataset], keys: Sequence[str], path: Path) -> None:
    """Rejects a sentence that memory has no room for: a compressed dataset of any shape may take no space in a file."""
    free = available_bytes()
    for row, dataset in enumerate(datasets):
        n_bytes = dataset.n_layers * dataset.n_tokens * dataset.size * np.dtype(np.float32).itemsize
        if n_bytes > MEMORY_SHARE * free:
            shape = dataset.n_layers, dataset.n_tokens, dataset.size
            raise UserError(
                f"{path}: dataset {keys[row]!r} is {shape}, {n_bytes / 1e9:,.1f} GB, but of the {free / 1e9:,.1f} GB "
                f"of free memory a sentence may take {MEMORY_SHARE:.0%}: write the sentence again."
            )


def _find(file: h5py.File, key: str, path: Path) -> h5py.h5d.DatasetID:
    try:
        return h5py.h5d.open(file.id, key.encode())
    except (OSError, KeyError, ValueError, TypeError):
        raise _no_activations(path, key, "a group") from None


def _no_activations(path: Path, key: str, found: str) -> UserError:
    return UserError(
        f"{path}: dataset {key!r} is {found}, but (layers, tokens, neurons) or (tokens, neurons) of floats is "
        "expected: extract the sentence again."
    )


def _read_piece(raw: BufferedReader, survey: Survey, row: int) -> Float[np.ndarray, " value"]:
    """The numbers of a sentence from where they lie in the file."""
    values = np.empty(survey.n_layers * survey.tokens[row] * survey.hidden_size, survey.dtype)
    raw.seek(survey.offsets[row])
    if raw.readinto(values.view(np.uint8)) < values.nbytes:  # type: ignore[attr-defined]
        raise OSError("the file is cut short")
    if values.itemsize <= 4:
        return values
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _read_dataset(file: h5py.File, key: str) -> Float[np.ndarray, "..."]:
    """The numbers of a sentence by HDF5's library, which undoes compression."""
    dataset = h5py.h5d.open(file.id, key.encode())
    values = np.empty(dataset.shape, np.float32)
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values


def _refuse_change(raw: BufferedReader, survey: Survey, path: Path) -> None:
    if stamp_of(raw.fileno()) != survey.stamp:
        raise UserError(f"{path} was changed while it was read: run again.")


def _normal(text: str) -> str:
    """A sentence as its words joined by one space, as contextual-repr-analysis writes it."""
    return " ".join(text.split())


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _reason(error: Exception) -> str:
    return str(error).split("\n")[0].strip("'\"")
