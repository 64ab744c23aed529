"""One line of JSON-lines activations to an array, or to a sentence that says what is wrong with it."""

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from jaxtyping import Float

from jaxred.activations.files.json_runs import sentence_token
from jaxred.errors import UserError

LAYOUT = '{"linex_index": 0, "features": [{"token": "[CLS]", "layers": [{"index": 0, "values": [...]}, ...]}, ...]}'
_NOT_FINITE = re.compile(rb"[\[,:]\s*-?(NaN|Infinity)\b")
_LARGEST = float(np.finfo(np.float32).max)


def sentence_parser(
    path: Path, n_layers: int, hidden_size: int, sentences_only: bool
) -> Callable[[bytes, int, int | None], tuple[int, Float[np.ndarray, "token layer neuron"]]]:
    """A function that parses a line of a file of that shape.

    It takes the line, its number (from 1) and how many tokens it must have, None where that is not known, and gives
    how many tokens it has and its vectors: the file's decimals in float64, each within float32's range; of one token,
    the one that stands for the sentence, where `sentences_only`.

    Its errors are UserErrors, naming the line, where it is not JSON, lacks a field, has other layers or another number
    of values, holds a value that is not a finite number, or has no token for the sentence.
    """
    pack = struct.Struct(f"{hidden_size}d").pack

    def parse(line: bytes, number: int, n_tokens: int | None) -> tuple[int, np.ndarray]:
        where = f"{path}, line {number}"
        features = find_features(parse_json(line, where), where)
        n_found = len(features)
        if n_tokens is not None and n_found != n_tokens:
            raise UserError(
                f"{where}: its tokens cannot be counted by the key 'layers', or the file was changed while it was "
                "read: write each token as one object with one list of layers, or run again."
            )
        if sentences_only:
            features = [features[_sentence_token(features, where)]]
        packed = []
        for token, feature in enumerate(features):
            layers = find_layers(feature, where, token)
            try:
                packed += [pack(*layer["values"]) for layer in layers]
            except (struct.error, TypeError, KeyError, OverflowError):
                raise _bad_values(layers, hidden_size, where, token) from None
            if len(layers) != n_layers:
                raise UserError(
                    f"{where}: token {token} has {len(layers)} layers, but the first line has {n_layers}: every token "
                    "must have the same layers; extract the sentence again."
                )
        if b"true" in line or b"false" in line:  # which count as 1 and 0; tokens may be such words
            _refuse_truths(features, where)
        vectors = np.frombuffer(b"".join(packed), np.float64).reshape(len(features), n_layers, hidden_size)
        if not np.all(np.abs(vectors) <= _LARGEST):
            token, layer, neuron = (int(i) for i in np.argwhere(~(np.abs(vectors) <= _LARGEST))[0])
            raise UserError(
                f"{where}: the value of token {token}, layer {layer}, neuron {neuron} is "
                f"{vectors[token, layer, neuron]}, which float32 cannot hold: extract the sentence again."
            )
        return n_found, vectors

    return parse


def _refuse_truths(features: list[Any], where: str) -> None:
    for token, feature in enumerate(features):
        for index, layer in enumerate(feature["layers"]):
            for neuron, value in enumerate(layer["values"]):
                if isinstance(value, bool):
                    raise UserError(
                        f"{where}: the value of token {token}, layer {index}, neuron {neuron} is {value}, but a finite "
                        "number is expected: extract the sentence again."
                    )


def parse_json(line: bytes, where: str) -> Any:
    """The line's content."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if not line.strip():
            fault = "it is empty"
        elif match := _NOT_FINITE.search(line):
            fault = f"it holds {match[1].decode()}, which is not a finite number"
        elif not line.endswith(b"\n"):
            fault = "it is cut short, as by a full disk or a killed extraction"
        else:
            fault = f"it is not JSON ({error.msg})"
        raise UserError(f"{where}: {fault}, but {LAYOUT} is expected: extract the sentence again.") from None


def find_features(content: Any, where: str) -> list[Any]:
    """The list of the line's tokens."""
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise UserError(f"{where}: there is no list 'features', but {LAYOUT} is expected: extract the sentence again.")
    return features


def find_layers(feature: Any, where: str, token: int) -> list[Any]:
    """The list of the token's layers."""
    layers = feature.get("layers") if isinstance(feature, dict) else None
    if not isinstance(layers, list):
        raise UserError(
            f"{where}: token {token} has no list 'layers', but {LAYOUT} is expected: extract the sentence again."
        )
    return layers


def _sentence_token(features: list[Any], where: str) -> int:
    names = [feature.get("token") if isinstance(feature, dict) else None for feature in features]
    token = sentence_token(names)
    if token is None:
        raise UserError(
            f"{where}: it has {len(names)} tokens, of which none stands for the sentence: a sentence needs one token, "
            "or [CLS] first, or <cls> last; extract with --sentence_only."
        )
    return token


def _bad_values(layers: list[Any], hidden_size: int, where: str, token: int) -> UserError:
    """What is wrong with the first layer that could not be read."""
    for index, layer in enumerate(layers):
        values = layer.get("values") if isinstance(layer, dict) else None
        if not isinstance(values, list):
            return UserError(
                f"{where}: layer {index} of token {token} has no list 'values', but {LAYOUT} is expected: extract the "
                "sentence again."
            )
        if len(values) != hidden_size:
            return UserError(
                f"{where}: layer {index} of token {token} has {len(values)} values, but the first line's have "
                f"{hidden_size}: every layer must have the same size; extract the sentence again."
            )
        for neuron, value in enumerate(values):
            if not isinstance(value, int | float):
                return UserError(
                    f"{where}: the value of token {token}, layer {index}, neuron {neuron} is {value!r}, but a finite "
                    "number is expected: extract the sentence again."
                )
    raise AssertionError(f"{where}: readable values")
