"""The original's activations as JSON lines, one sentence per line.

::

    {"linex_index": 0, "features": [{"token": "[CLS]", "layers": [{"index": 0, "values": [0.1, ...]}, ...]}, ...]}

Only what the original reads is asked for: `features`, their `layers` in the order in which they stand, and `values`;
`token` where a sentence has several. The files are large (100 kB per vector of BERT-base), so they are
read piece by piece, twice: once to count and for the digest, and once to parse, which several processes share where
the file is large.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

import numpy as np
import orjson
from blake3 import blake3
from jaxtyping import Float

from jaxred.activations.files import json_workers
from jaxred.activations.files.json_parsing import LAYOUT, find_features, find_layers, parse_json, sentence_parser
from jaxred.activations.files.survey import Survey
from jaxred.errors import UserError
from jaxred.io.files import MEMORY_SHARE, refuse_special
from jaxred.io.git_lfs import refuse_pointer
from jaxred.io.memory import available_bytes

# Inside a JSON string a quote is escaped, so this matches keys alone.
_TOKEN = re.compile(rb'"layers"\s*:')
_SURVEY_BYTES = 2**22  # that are counted and hashed at once
_PARALLEL_BYTES = 128 * 2**20  # below this, starting processes takes longer than parsing
_CHUNK_BYTES = 2**20  # of lines that are parsed at once


def survey(path: Path) -> Survey:
    """Counts the sentences and their tokens, and takes the shape from the first line; the last line is parsed too.

    Args:
        path: the file.

    Returns:
        What the file holds.

    Raises:
        UserError: the file cannot be read or is empty, its first line is not of the format, or its last line is cut
            short.
    """
    tokens, offsets, rest = [], [0], bytearray()
    digest = blake3()
    longest = MEMORY_SHARE * available_bytes()
    spaces = [bytearray(_SURVEY_BYTES), bytearray(_SURVEY_BYTES)]
    with _open(path) as file, ThreadPoolExecutor(1) as other_core:
        n_bytes = file.readinto(spaces[0])
        while n_bytes:
            piece = memoryview(spaces[0])[:n_bytes]
            hashed = other_core.submit(digest.update, piece)
            n_next = file.readinto(spaces[1])  # meanwhile the other core gets the interpreter, and starts
            start = 0
            while end := spaces[0].find(b"\n", start, n_bytes) + 1:
                if rest:  # a line that began in the piece before
                    rest += piece[:end]
                    tokens.append(_count_tokens(rest, 0, len(rest)))
                    offsets.append(offsets[-1] + len(rest))
                    rest.clear()
                else:
                    tokens.append(_count_tokens(spaces[0], start, end))
                    offsets.append(offsets[-1] + end - start)
                start = end
            rest += piece[start:]
            if len(rest) > longest:
                raise UserError(
                    f"{path}, line {len(tokens) + 1}: more than {len(rest) / 1e9:,.1f} GB without a line's end, which "
                    f"is more than memory has room for, but {LAYOUT} is expected: write one line per sentence."
                )
            hashed.result()
            spaces.reverse()
            n_bytes = n_next
        if rest:
            tokens.append(_count_tokens(rest, 0, len(rest)))
            offsets.append(offsets[-1] + len(rest))
        if not tokens:
            raise UserError(
                f"{path} is empty, but one line per sentence is expected, like {LAYOUT}: write the file again."
            )
        file.seek(0)
        refuse_pointer(path)
        shape = _shape(file.readline(), path)
    if rest:
        parse_json(bytes(rest), f"{path}, line {len(tokens)}")
    return Survey(*shape, tokens, digest.hexdigest(), [], offsets=offsets)


def read(
    path: Path, survey: Survey, first: int = 0, sentences_only: bool = False
) -> Iterator[Float[np.ndarray, "token layer neuron"]]:
    """The vectors of each sentence, line by line: the file's decimals in float64, each within float32's range.

    Args:
        path: the file.
        survey: what `survey` found in it.
        first: the sentence to start at; the lines before it are not parsed.
        sentences_only: give one token per sentence, the one that stands for it: its only one, BERT's [CLS] where that
            comes first, or XLNet's <cls> where that comes last.

    Yields:
        One array per line.

    Raises:
        UserError: naming the line, where it is not JSON, lacks a field, has other layers or another number of values
            than the first line, holds a value that is not a finite number, or has no token for the sentence.
    """
    chunks = _chunks(survey, first)
    n_bytes = survey.offsets[-1] - survey.offsets[min(first, len(survey.tokens))]
    n_workers = json_workers.available() if n_bytes >= _PARALLEL_BYTES else 0
    with contextlib.closing(json_workers.parse(path, survey, chunks, sentences_only, n_workers)) as parsed:
        for chunk, vectors in zip(chunks, parsed, strict=True):
            if vectors is None:  # the careful parser reads the lines and says what is wrong
                yield from _read_lines(path, survey, chunk.start, chunk.stop, sentences_only)
            else:
                yield from vectors
    yield from _read_lines(path, survey, len(survey.tokens), None, sentences_only)


def _count_tokens(text: bytes | bytearray, start: int, end: int) -> int:
    """How often the key of a token's layers stands in a line; a 'y' is found many times as fast as a word."""
    n_tokens, at = 0, text.find(b"y", start, end)
    while at >= 0:
        n_tokens += _TOKEN.match(text, max(at - 3, start), end) is not None
        at = text.find(b"y", at + 1, end)
    return n_tokens


def _chunks(survey: Survey, first: int) -> list[range]:
    """Runs of lines of about as many bytes, which are given to processes."""
    chunks, start = [], first
    for line in range(first, len(survey.tokens)):
        if survey.offsets[line + 1] - survey.offsets[start] >= _CHUNK_BYTES or line + 1 == len(survey.tokens):
            chunks.append(range(start, line + 1))
            start = line + 1
    return chunks


def _read_lines(
    path: Path, survey: Survey, start: int, stop: int | None, sentences_only: bool
) -> Iterator[Float[np.ndarray, "token layer neuron"]]:
    """The sentences of some lines; to the end of the file, which must be where it was, where `stop` is None."""
    parse = sentence_parser(path, survey.n_layers, survey.hidden_size, sentences_only)
    number = start
    with _open(path) as file:
        file.seek(survey.offsets[min(start, len(survey.tokens))])
        for number, line in enumerate(file, start=start + 1):
            if stop is not None and number > stop:
                return
            yield parse(line, number, survey.tokens[number - 1] if number <= len(survey.tokens) else -1)[1]
    if number < len(survey.tokens):
        raise UserError(f"{path} was changed while it was read: it had {len(survey.tokens)} lines; run again.")


class Writer:
    """Writes lines as the original and NeuroX do, byte by byte: what `json.dumps` makes of rounded numbers."""

    def __init__(self, file: BinaryIO, decimals: int = 6):
        """Takes an open file.

        Args:
            file: written to.
            decimals: that numbers are rounded to: 6 in the original, 8 in NeuroX.
        """
        self._file = file
        self._scale = 10.0**decimals
        self._n_lines = 0

    def add(self, sentence: str, tokens: Sequence[str], vectors: Float[np.ndarray, "token layer neuron"]) -> None:
        """Writes the line of the next sentence; its text has no place in this format.

        Args:
            sentence: its text.
            tokens: a name for each vector.
            vectors: of float32, whose rounding in float64 is that of Python's `round`.
        """
        del sentence
        # The product with a power of ten is exact: 24 bits of a float32 times the 19 of 5**8 fit a float64.
        rounded = np.rint(vectors.astype(np.float64) * self._scale) / self._scale
        features = [
            b'{"token": %s, "layers": [%s]}' % (json.dumps(token).encode(), _layers_text(values))
            for token, values in zip(tokens, rounded, strict=True)
        ]
        self._file.write(b'{"linex_index": %d, "features": [%s]}\n' % (self._n_lines, b", ".join(features)))
        self._n_lines += 1

    def close(self) -> None:
        """Nothing is left to be written."""


def _layers_text(values: Float[np.ndarray, "layer neuron"]) -> bytes:
    """The layers of a token, with each number as Python writes it."""
    texts = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")
    size = np.abs(values)
    # orjson writes 0.00001 and 1e16 where Python writes 1e-05 and 1e+16
    layers, neurons = np.nonzero(((size < 1e-4) & (size > 0)) | (size >= 1e16))
    for layer in sorted(set(layers.tolist())):
        numbers = texts[layer].split(b",")
        for neuron in neurons[layers == layer].tolist():
            numbers[neuron] = repr(float(values[layer, neuron])).encode()
        texts[layer] = b",".join(numbers)
    return b", ".join(
        b'{"index": %d, "values": [%s]}' % (index, text.replace(b",", b", ")) for index, text in enumerate(texts)
    )


def _open(path: Path) -> BufferedReader:
    refuse_special(path, "a file of activations")
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: a file of activations is expected there; check the path.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it a readable file.") from None


def _shape(line: bytes, path: Path) -> tuple[int, int]:
    """How many layers the first token has, and how many values its first layer."""
    where = f"{path}, line 1"
    features = find_features(parse_json(line, where), where)
    layers = find_layers(features[0], where, 0) if features else []
    first = layers[0].get("values") if layers and isinstance(layers[0], dict) else None
    if not isinstance(first, list) or not first:
        raise UserError(
            f"{where}: it has no token with a layer of values, by which the file's shape is known, but {LAYOUT} is "
            "expected: extract the sentence again."
        )
    return len(layers), len(first)
