"""HDF5 activations in the layout of contextual-repr-analysis (Liu et al. 2019), which the original reads.

Datasets "0" ... "n-1", a sentence each, are (layers, tokens, size) or, of one layer, (tokens, size), in float32;
`sentence_to_index` holds one JSON object from each sentence's text to its dataset.

The object is keyed by text, so that a sentence that stands twice is named once. The original reads the datasets that
are named, in the object's order, and so loses the other ones and shifts every sentence after them. Here a sentence
that stands once is found by its text, and one that stands more often by its row, if the file has a dataset for every
row, or else by its text.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float

from jaxred.errors import UserError
from jaxred.formats.survey import Survey

INDEX = "sentence_to_index"


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
    with _open(path) as file:
        keys = _keys(file, texts, path)
        shapes = [_shape(file, key, path) for key in keys]
    first = shapes[0]
    for row, (n_layers, _, size) in enumerate(shapes):
        if (n_layers, size) != (first[0], first[2]):
            raise UserError(
                f"{path}: dataset {keys[row]!r} has {n_layers} layers x {size} neurons, but {keys[0]!r} has "
                f"{first[0]} x {first[2]}: all must have the same; extract them with one model."
            )
    counts = Counter(_normal(text) for text in texts)
    n_duplicates = sum(n for n in counts.values() if n > 1)
    return Survey(first[0], first[2], [n for _, n, _ in shapes], _sha256(path), keys, n_duplicates)


def read(
    path: Path, survey: Survey, first: int = 0, sentences_only: bool = False
) -> Iterator[Float[np.ndarray, "token layer neuron"]]:
    """The vectors of each sentence, in row order, in float32.

    Args:
        path: the file.
        survey: what `survey` found in it.
        first: the sentence to start at.
        sentences_only: every sentence must have one token, which stands for it.

    Yields:
        One array a sentence.

    Raises:
        UserError: naming the dataset, where it cannot be read, has changed, holds a value that is not finite, or does
            not have one token where it must.
    """
    with _open(path) as file:
        for row in range(first, len(survey.keys)):
            key = survey.keys[row]
            if sentences_only and survey.tokens[row] != 1:
                raise UserError(
                    f"{path}: dataset {key!r} has {survey.tokens[row]} tokens, of which none is known to stand for "
                    "the sentence: a sentence needs one token; write the sentence vector alone."
                )
            try:
                with np.errstate(over="ignore"):
                    vectors = np.asarray(file[key], np.float32)
            except (OSError, KeyError) as error:
                raise UserError(
                    f"{path}: dataset {key!r} cannot be read ({_reason(error)}): write the file again."
                ) from None
            if vectors.ndim == 2:
                vectors = vectors[None]
            if vectors.shape != (survey.n_layers, survey.tokens[row], survey.hidden_size):
                raise UserError(f"{path} was changed while it was read (dataset {key!r}): run again.")
            if not np.isfinite(vectors).all():
                layer, token, neuron = (int(i) for i in np.argwhere(~np.isfinite(vectors))[0])
                raise UserError(
                    f"{path}: dataset {key!r} holds {vectors[layer, token, neuron]} at token {token}, layer {layer}, "
                    f"neuron {neuron}, but finite numbers are expected: extract the sentence again."
                )
            yield vectors.swapaxes(0, 1)


def _open(path: Path) -> h5py.File:
    if not path.exists():
        raise UserError(f"{path} does not exist: a file of activations is expected there; check the path.")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UserError(
            f"{path} cannot be read as HDF5 ({_reason(error)}): it may be cut short; write the file again."
        ) from None


def _keys(file: h5py.File, texts: Sequence[str], path: Path) -> list[str]:
    """The dataset of every row."""
    index = _index(file, path)
    n_datasets = len(file) - 1
    counts = Counter(_normal(text) for text in texts)
    keys = []
    for row, text in enumerate(texts):
        named = index.get(_normal(text))
        by_row = str(row) if n_datasets == len(texts) else None
        key = (named or by_row) if counts[_normal(text)] == 1 else (by_row or named)
        if key is None or key not in file:
            raise UserError(
                f"{path} has {n_datasets} sentences and no dataset for sentence {row + 1} of {len(texts)}, "
                f"{_short(text)!r}: the activations and the text must be of the same sentences; check both paths."
            )
        keys.append(key)
    return keys


def _index(file: h5py.File, path: Path) -> dict[str, str]:
    layout = f"a dataset {INDEX!r} with one JSON object from each sentence to its dataset, as contextual-repr-analysis"
    try:
        value = file[INDEX][()]  # type: ignore[index]
    except KeyError:
        raise UserError(
            f"{path} has no dataset {INDEX!r}, by which sentences are found, but {layout} writes it, is expected: "
            "extract the activations with that."
        ) from None
    try:
        content = json.loads(np.ravel(np.asarray(value, object))[0])
        if not isinstance(content, dict) or not content:
            raise ValueError(f"a {type(content).__name__} of {len(content)}")
        return {_normal(text): str(key) for text, key in content.items()}
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"{path}: {INDEX!r} cannot be read ({error}), but {layout} writes it, is expected: extract the "
            "activations with that."
        ) from None


def _shape(file: h5py.File, key: str, path: Path) -> tuple[int, int, int]:
    dataset = file[key]
    shape = dataset.shape if isinstance(dataset, h5py.Dataset) and dataset.dtype.kind == "f" else ()
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) != 3 or not shape[0] or not shape[2]:
        found = f"{dataset.shape} of {dataset.dtype}" if isinstance(dataset, h5py.Dataset) else "a group"
        raise UserError(
            f"{path}: dataset {key!r} is {found}, but (layers, tokens, neurons) or (tokens, neurons) of floats is "
            "expected: extract the sentence again."
        )
    return shape


def _normal(text: str) -> str:
    """A sentence as its words joined by one space, as contextual-repr-analysis writes it."""
    return " ".join(text.split())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _reason(error: Exception) -> str:
    return str(error).split("\n")[0].strip("'\"")
