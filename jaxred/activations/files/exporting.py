"""Files of others from activation stores, and a task's examples as the original's parallel files.

Files are written next to their final paths and renamed when they are whole.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxred.activations.files import hdf5, json_lines, numpy_arrays
from jaxred.activations.files.row_selection import UNLABELLED
from jaxred.activations.files.sentences import FORMATS, UNPICKLED, layer_file, present_layers
from jaxred.activations.store import Store
from jaxred.config import StudyConfig
from jaxred.data import load_task
from jaxred.data.examples import WordDataset
from jaxred.data.labels import refuse_odd_labels, shown
from jaxred.data.lines import read_lines
from jaxred.data.parallel import write_parallel
from jaxred.data.parallel_words import write_parallel_words
from jaxred.errors import UserError
from jaxred.io.files import replacing
from jaxred.io.progress import progress_bar
from jaxred.validation import validate

log = logging.getLogger("jaxred")

SUFFIXES = (*FORMATS, *numpy_arrays.SUFFIXES)
SENTENCE_TOKEN = "[CLS]"  # what the original writes where a line is one vector, that of the sentence


class _Sentence(NamedTuple):
    text: str
    tokens: list[str]
    rows: slice


def to_file(
    store: Store,
    path: str | Path,
    text: str | Path | None = None,
    *,
    dtype: str = "float32",
    decimals: int = 6,
    separate_layers: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Writes a store as a file that the original, contextual-repr-analysis, NeuroX or NumPy reads.

    Beside JSON lines and HDF5 stand the labels of their sentences, in `.label` (or `.score`), and the sentences
    themselves, in `.word`, where the text is given: the store may lack some of the text's.

    Args:
        store: a finished store, of sentences or words.
        path: ends in .json, .jsonl, .hdf5, .h5, .npy or .npz, which says what is written.
        text: the sentences that the store's rows are of, one per line; HDF5 needs it, and JSON lines of words.
        dtype: of the numbers in HDF5 and NumPy's files: float32, in which nothing is lost, or float16.
        decimals: of the numbers in JSON lines: 6 as the original writes, 8 as NeuroX.
        separate_layers: write one file per layer, as NeuroX can; `train-layer0.json` ... for `train.json`.
        overwrite: replace files that are there.

    Returns:
        The files written, those of activations first.

    Raises:
        UserError: the text is missing or of other sentences, a file is there already, or the disk is full.

    Example:
        >>> to_file(Store("stores/train"), "train.hdf5", "texts/train.word")
        [PosixPath('train.hdf5'), PosixPath('train.label'), PosixPath('train.word')]
    """
    path, text = Path(path), None if text is None else Path(text)
    suffix = path.suffix.lower()
    _check(path, store, text, dtype, decimals, separate_layers)
    if suffix in numpy_arrays.SUFFIXES:
        _refuse_existing([path], [], overwrite)
        _write_array(store, path, dtype)
        return [path]
    sentences = _sentences(store, text)
    companions = _beside(store, sentences, path, text)
    layers = [layer_file(path, i) for i in present_layers(path)]
    paths = [layer_file(path, i) for i in range(store.n_layers)] if separate_layers else [path]
    # A file of all layers and files of layers would each be taken for the whole.
    _refuse_existing([path, *layers, *paths], [] if text is None else [text], overwrite, companions)
    companions = {file: content for file, content in companions.items() if not _holds(file, content)}
    with replacing([*paths, *companions]) as files:
        writers = [_writer(file, suffix, decimals, dtype) for file in files[: len(paths)]]
        with contextlib.ExitStack() as closing, progress_bar(store.n_rows, f"write {path.name}", "rows") as bar:
            for writer in writers:
                closing.callback(writer.close)
            for sentence, vectors in zip(sentences, _by_sentence(store, sentences), strict=True):
                vectors = _narrow(vectors, dtype, sentence.rows.start) if suffix in (".hdf5", ".h5") else vectors
                for i, writer in enumerate(writers):
                    of_file = vectors[:, i : i + 1] if separate_layers else vectors
                    writer.add(sentence.text, sentence.tokens, of_file)
                bar.update(len(vectors))
        for file, content in zip(files[len(paths) :], companions.values(), strict=True):
            file.write(content)
        for old in {path, *layers} - set(paths):
            old.unlink(missing_ok=True)
    return [*paths, *companions]


def write_task(config: StudyConfig, folder: Path, overwrite: bool = False) -> list[Path]:
    """Writes a task's examples as the original's data script does: `train.word` and `train.label`, and so on.

    Args:
        config: its task is read; classes go to `.label`, scores to `.score`; of labelled words, both to `.label`.
        folder: made where missing.
        overwrite: replace files that are there.

    Returns:
        The paths without suffix.

    Raises:
        UserError: for bad task files, or files that are there already.
    """
    validate(config)
    dataset = load_task(config.task)
    if isinstance(dataset, WordDataset):
        for split, sentences in dataset.splits.items():
            write_parallel_words(sentences, folder / split, overwrite=overwrite)
            log.info("%s: %d sentences", folder / split, len(sentences))
    else:
        for split, examples in dataset.splits.items():
            write_parallel(examples, folder / split, overwrite=overwrite)
            log.info("%s: %d examples", folder / split, len(examples))
    return [folder / split for split in dataset.splits]


def _check(path: Path, store: Store, text: Path | None, dtype: str, decimals: int, separate_layers: bool) -> None:
    suffix = path.suffix.lower()
    if suffix in UNPICKLED:
        raise UserError(
            f"{path} would be a pickle, and reading one runs whatever is in it, so none is written: name a file that "
            f"ends in {', '.join(SUFFIXES)}."
        )
    if suffix not in SUFFIXES:
        raise UserError(f"{path} has an unknown format: name a file that ends in {', '.join(SUFFIXES)}.")
    if dtype not in ("float32", "float16"):
        raise UserError(f"`dtype={dtype}` cannot be written to {path}: choose float32 or float16.")
    if dtype != "float32" and FORMATS.get(suffix) is json_lines:
        raise UserError(f"`dtype={dtype}` has no use in JSON lines, which are decimals: leave it out, or `decimals`.")
    if not 1 <= decimals <= 8:
        raise UserError(f"`decimals={decimals}` is not possible: it must be from 1 to 8.")
    if separate_layers and suffix in numpy_arrays.SUFFIXES:
        raise UserError(f"`separate_layers` has no use in {suffix} files: leave it out, or write .json or .hdf5.")
    if text is None and (FORMATS.get(suffix) is hdf5 or (store.has_words and suffix not in numpy_arrays.SUFFIXES)):
        what = "names sentences by their text" if FORMATS.get(suffix) is hdf5 else "names every token"
        raise UserError(
            f"{path}: the format {what}, which the store {store.location} does not hold: pass the file of the "
            "sentences, one per line, as `text`."
        )


def _refuse_existing(
    paths: Sequence[Path], inputs: Sequence[Path], overwrite: bool, companions: dict[Path, bytes] | None = None
) -> None:
    differ = [file for file, content in (companions or {}).items() if file.exists() and not _holds(file, content)]
    for path in (path for path in (*paths, *differ) if path.exists()):
        if any(path.samefile(other) for other in inputs):
            raise UserError(
                f"{path} is the text of the store, which has other sentences, and the text of those that it has would "
                "be written there: choose another `output`."
            )
        if not overwrite:
            raise UserError(
                f"{path} exists and is kept: choose another `output`, or pass overwrite=True to replace it."
            )


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _write_array(store: Store, path: Path, dtype: str) -> None:
    companions = {"labels": store.labels(), "sentence_index": store.sentence_index()}
    companions |= {"word_index": store.word_index()} if store.has_words else {}
    with replacing([path]) as (file,), progress_bar(store.n_rows, f"write {path.name}", "rows") as bar:

        def blocks() -> Iterator[np.ndarray]:
            for rows, block in store.windows():
                yield _narrow(block, dtype, rows.start)
                bar.update(len(block))

        shape = store.n_rows, store.n_layers, store.hidden_size
        numpy_arrays.write(file, path.suffix.lower(), blocks(), shape, dtype, companions)


def _writer(file: BinaryIO, suffix: str, decimals: int, dtype: str) -> Any:
    return json_lines.Writer(file, decimals) if FORMATS[suffix] is json_lines else hdf5.Writer(file, dtype)


def _narrow(block: Float[np.ndarray, "row ..."], dtype: str, first: int) -> np.ndarray:
    """The numbers in the type that is written."""
    with np.errstate(over="ignore"):
        narrow = block.astype(dtype, copy=False)
    if dtype == "float16" and not np.isfinite(narrow).all():
        row, layer, neuron = (int(i) for i in np.argwhere(~np.isfinite(narrow))[0])
        raise UserError(
            f"The value of row {first + row}, layer {layer}, neuron {neuron} is {block[row, layer, neuron]}, which "
            "float16 cannot hold: leave out `dtype=float16`."
        )
    return narrow


def _sentences(store: Store, text: Path | None) -> list[_Sentence]:
    """The sentences that the store's rows are of, in order."""
    lines = None if text is None else read_lines(text)
    index = store.sentence_index()
    if lines is not None and len(index) and index.max() >= len(lines):
        raise UserError(
            f"{text} has {len(lines)} lines, but the store {store.location} has rows of sentence {index.max() + 1}: "
            "pass the text that the store was made from."
        )
    starts = np.flatnonzero(np.diff(index, prepend=-1)) if store.has_words else np.arange(len(index))
    ends = np.append(starts[1:], len(index))
    word_index = store.word_index() if store.has_words else None
    sentences = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        line = "" if lines is None else lines[index[start]]
        tokens = [SENTENCE_TOKEN]
        if word_index is not None:
            words = line.split()
            if word_index[start:end].max() >= len(words):
                raise UserError(
                    f"{text}, line {index[start] + 1}: there are {len(words)} words, but the store {store.location} "
                    f"has a row of word {word_index[start:end].max() + 1}: pass the text that the store was made from."
                )
            tokens = [words[i] for i in word_index[start:end]]
            line = " ".join(tokens)
        sentences.append(_Sentence(line, tokens, slice(start, end)))
    return sentences


def _by_sentence(store: Store, sentences: Sequence[_Sentence]) -> Iterator[Float[np.ndarray, "token layer neuron"]]:
    """The activations of each sentence, whose words may lie in several of the store's blocks."""
    position, pieces, missing = 0, [], 0
    for rows, block in store.windows():
        start = rows.start
        while start < rows.stop:
            if not pieces:
                missing = sentences[position].rows.stop - start
            taken = min(missing, rows.stop - start)
            pieces.append(block[start - rows.start : start - rows.start + taken])
            missing -= taken
            start += taken
            if not missing:
                yield pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
                position, pieces = position + 1, []


def _beside(store: Store, sentences: Sequence[_Sentence], path: Path, text: Path | None) -> dict[Path, bytes]:
    """The parallel files of the sentences that the store has."""
    files = {}
    labels = store.labels()
    spaced = sorted({name for name in store.ledger.label_names if name != "".join(name.split())})
    if store.has_words and spaced:
        raise UserError(
            f"The store {store.location} has the class {spaced[0]!r}, whose white space would split it in a file of "
            "one label per word: write an .npz."
        )
    refuse_odd_labels(store.ledger.label_names, f"The store {store.location}")
    for name in store.ledger.label_names:
        if name != name.strip() or name.startswith("\ufeff"):
            raise UserError(
                f"The store {store.location} has the class {shown(name)}, whose white space or byte-order mark a file "
                "of labels would lose: write an .npz."
            )
    if store.ledger.label_names != [UNLABELLED]:
        cells = labels.tolist() if store.ledger.label_names else [repr(score) for score in labels.tolist()]
        lines = [" ".join(cells[sentence.rows]) for sentence in sentences]
        files[path.with_suffix(".label" if store.ledger.label_names else ".score")] = _text_file(lines)
    if text is not None:
        files[path.with_suffix(".word")] = _text_file([sentence.text for sentence in sentences])
    return files


def _text_file(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
