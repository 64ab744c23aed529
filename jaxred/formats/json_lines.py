"""The original's activations as JSON lines, a sentence a line.

::

    {"linex_index": 0, "features": [{"token": "[CLS]", "layers": [{"index": 0, "values": [0.1, ...]}, ...]}, ...]}

Only what the original reads is asked for: `features`, their `layers` in the order in which they stand, and `values`;
`token` where a sentence has several. The files are large (100 kB a vector of BERT-base), so they are
read line by line, twice: once to count and to fingerprint, which takes an eighth of the time, and once to parse.
"""

import hashlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from jaxtyping import Float

from jaxred.errors import UserError
from jaxred.formats.survey import Survey

# Inside a JSON string a quote is escaped, so this matches keys alone.
_TOKEN = re.compile(rb'"layers"\s*:')
_NOT_FINITE = re.compile(rb"[\[,:]\s*-?(NaN|Infinity)\b")
_LARGEST = float(np.finfo(np.float32).max)
_LAYOUT = '{"linex_index": 0, "features": [{"token": "[CLS]", "layers": [{"index": 0, "values": [...]}, ...]}, ...]}'


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
    digest, tokens = hashlib.sha256(), []
    shape, line = None, b""
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                shape = _shape(line, path)
            digest.update(line)
            tokens.append(len(_TOKEN.findall(line)))
    if shape is None:
        raise UserError(f"{path} is empty, but a line a sentence is expected, like {_LAYOUT}: write the file again.")
    if not line.endswith(b"\n"):
        _parse(line, f"{path}, line {len(tokens)}")
    return Survey(*shape, tokens, digest.hexdigest(), [])


def read(
    path: Path, survey: Survey, first: int = 0, sentences_only: bool = False
) -> Iterator[Float[np.ndarray, "token layer neuron"]]:
    """The vectors of each sentence, line by line: the file's decimals in float64, each within float32's range.

    Args:
        path: the file.
        survey: what `survey` found in it.
        first: the sentence to start at; the lines before it are not parsed.
        sentences_only: give one token a sentence, the one that stands for it: its only one, BERT's [CLS] where that
            comes first, or XLNet's <cls> where that comes last.

    Yields:
        One array a line.

    Raises:
        UserError: naming the line, where it is not JSON, lacks a field, has other layers or another number of values
            than the first line, holds a value that is not a finite number, or has no token for the sentence.
    """
    pack, number = struct.Struct(f"{survey.hidden_size}d").pack, 0
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if number <= first:
                continue
            where = f"{path}, line {number}"
            features = _features(_parse(line, where), where)
            if number > len(survey.tokens) or len(features) != survey.tokens[number - 1]:
                raise UserError(
                    f"{where}: its tokens cannot be counted by the key 'layers', or the file was changed while it was "
                    "read: write each token as one object with one list of layers, or run again."
                )
            if sentences_only:
                features = [features[_sentence_token(features, where)]]
            packed = []
            for token, feature in enumerate(features):
                layers = _layers(feature, where, token)
                try:
                    packed += [pack(*layer["values"]) for layer in layers]
                except (struct.error, TypeError, KeyError, OverflowError):
                    raise _bad_values(layers, survey, where, token) from None
                if len(layers) != survey.n_layers:
                    raise UserError(
                        f"{where}: token {token} has {len(layers)} layers, but the first line has {survey.n_layers}: "
                        "every token must have the same layers; extract the sentence again."
                    )
            vectors = np.frombuffer(b"".join(packed), np.float64)
            vectors = vectors.reshape(len(features), survey.n_layers, survey.hidden_size)
            if not np.all(np.abs(vectors) <= _LARGEST):
                token, layer, neuron = (int(i) for i in np.argwhere(~(np.abs(vectors) <= _LARGEST))[0])
                raise UserError(
                    f"{where}: the value of token {token}, layer {layer}, neuron {neuron} is "
                    f"{vectors[token, layer, neuron]}, which float32 cannot hold: extract the sentence again."
                )
            yield vectors
    if number < len(survey.tokens):
        raise UserError(f"{path} was changed while it was read: it had {len(survey.tokens)} lines; run again.")


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: a file of activations is expected there; check the path.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it a readable file.") from None


def _parse(line: bytes, where: str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if not line.strip():
            found = "it is empty"
        elif match := _NOT_FINITE.search(line):
            found = f"it holds {match[1].decode()}, which is not a finite number"
        elif not line.endswith(b"\n"):
            found = "it is cut short, as by a full disk or a killed extraction"
        else:
            found = f"it is not JSON ({error.msg})"
        raise UserError(f"{where}: {found}, but {_LAYOUT} is expected: extract the sentence again.") from None


def _features(content: Any, where: str) -> list[Any]:
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise UserError(f"{where}: there is no list 'features', but {_LAYOUT} is expected: extract the sentence again.")
    return features


def _layers(feature: Any, where: str, token: int) -> list[Any]:
    layers = feature.get("layers") if isinstance(feature, dict) else None
    if not isinstance(layers, list):
        raise UserError(
            f"{where}: token {token} has no list 'layers', but {_LAYOUT} is expected: extract the sentence again."
        )
    return layers


def _shape(line: bytes, path: Path) -> tuple[int, int]:
    """How many layers the first token has, and how many values its first layer."""
    where = f"{path}, line 1"
    features = _features(_parse(line, where), where)
    layers = _layers(features[0], where, 0) if features else []
    first = layers[0].get("values") if layers and isinstance(layers[0], dict) else None
    if not isinstance(first, list) or not first:
        raise UserError(
            f"{where}: it has no token with a layer of values, by which the file's shape is known, but {_LAYOUT} is "
            "expected: extract the sentence again."
        )
    return len(layers), len(first)


def _sentence_token(features: list[Any], where: str) -> int:
    names = [feature.get("token") if isinstance(feature, dict) else None for feature in features]
    if len(names) == 1 or names[:1] == ["[CLS]"]:
        return 0
    if names[-1:] == ["<cls>"]:
        return len(names) - 1
    raise UserError(
        f"{where}: it has {len(names)} tokens, of which none stands for the sentence: a sentence needs one token, or "
        "[CLS] first, or <cls> last; extract with --sentence_only."
    )


def _bad_values(layers: list[Any], survey: Survey, where: str, token: int) -> UserError:
    """What is wrong with the first layer that could not be read."""
    for index, layer in enumerate(layers):
        values = layer.get("values") if isinstance(layer, dict) else None
        if not isinstance(values, list):
            return UserError(
                f"{where}: layer {index} of token {token} has no list 'values', but {_LAYOUT} is expected: extract the "
                "sentence again."
            )
        if len(values) != survey.hidden_size:
            return UserError(
                f"{where}: layer {index} of token {token} has {len(values)} values, but the first line's have "
                f"{survey.hidden_size}: every layer must have the same size; extract the sentence again."
            )
        for neuron, value in enumerate(values):
            if not isinstance(value, int | float):
                return UserError(
                    f"{where}: the value of token {token}, layer {index}, neuron {neuron} is {value!r}, but a finite "
                    "number is expected: extract the sentence again."
                )
    raise AssertionError(f"{where}: readable values")
