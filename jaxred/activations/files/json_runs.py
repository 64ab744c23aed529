"""Runs of lines of JSON to the bytes of their numbers, fast.

simdjson reads a list of numbers into memory and makes no Python objects of them, so that it is several times as fast as
parsers that do. It does not accept quite what they accept: a run that differs in any way from what the original writes
is left to `jaxred.activations.files.json_parsing`, which parses it or says what is wrong.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import simdjson

# The tokens of each line; their vectors in float64, one buffer per layer of each token.
Run = tuple[list[int], list[memoryview]]

# A list in a list of numbers, which simdjson would flatten: after the last comes a number, or the end of the outer.
_LIST_IN_LIST = re.compile(rb"\]\s*(?:\]|,\s*[-\d])")


class _Unusual(Exception):
    """A line that is left to `jaxred.activations.files.json_parsing`."""


def run_parser(n_layers: int, hidden_size: int, sentences_only: bool) -> Callable[[bytes], Run | None]:
    """A function that parses whole lines of a file of that shape.

    It returns how many tokens each line has and the file's decimals in float64, of one token per line with
    `sentences_only`; or None if `json_parsing` must look at the lines. It does not check that float32 can hold the
    numbers.
    """
    parse_line = _line_parser(n_layers, hidden_size, sentences_only)

    def parse(text: bytes) -> Run | None:
        if _has_list_in_list(text):
            return None
        tokens, vectors, start = [], [], 0
        lines = memoryview(text)
        try:
            while start < len(text):
                end = text.find(b"\n", start) + 1 or len(text)
                n_tokens, layers = parse_line(lines[start:end])
                tokens.append(n_tokens)
                vectors += layers
                start = end
        except (_Unusual, ValueError, TypeError, KeyError, AttributeError, RuntimeError):  # most are simdjson's
            return None
        return tokens, vectors

    return parse


def sentence_token(names: Sequence[Any]) -> int | None:
    """Which token stands for the sentence: its only one, [CLS] where it comes first, or <cls> where it comes last."""
    if len(names) == 1 or names[:1] == ["[CLS]"]:
        return 0
    return len(names) - 1 if names[-1:] == ["<cls>"] else None


def _line_parser(
    n_layers: int, hidden_size: int, sentences_only: bool
) -> Callable[[memoryview], tuple[int, list[memoryview]]]:
    """A function that gives a line's number of tokens and its vectors, the memory of each layer's float64."""
    parser, n_bytes = simdjson.Parser(), 8 * hidden_size

    def parse(line: memoryview) -> tuple[int, list[memoryview]]:
        if line[:1] != b"{":  # simdjson would skip a byte order mark
            raise _Unusual
        features = _only_list(parser.parse(line), "features")
        n_tokens = len(features)
        vectors = []
        for feature in [features[_sentence_token(features)]] if sentences_only else features:
            layers = _only_list(feature, "layers")
            values = [memoryview(_only_list(layer, "values").as_buffer(of_type="d")) for layer in layers]
            if len(values) != n_layers or any(numbers.nbytes != n_bytes for numbers in values):
                raise _Unusual
            vectors += values
        return n_tokens, vectors

    return parse


def _only(content: Any, key: str) -> Any:
    """The value of a key that occurs once: of several, simdjson takes the first, and other parsers the last."""
    if list(content).count(key) != 1:
        raise _Unusual
    return content[key]


def _only_list(content: Any, key: str) -> simdjson.Array:
    value = _only(content, key)
    if not isinstance(value, simdjson.Array):
        raise _Unusual
    return value


def _sentence_token(features: Any) -> int:
    if len(features) == 1:
        return 0
    token = sentence_token([_only(feature, "token") for feature in features])
    if token is None:
        raise _Unusual
    return token


def _has_list_in_list(text: bytes) -> bool:
    """Whether a list may hold a list of numbers; checked at each closing bracket, which is fast to find."""
    end = text.find(b"]")
    while end >= 0:
        if _LIST_IN_LIST.match(text, end):
            return True
        end = text.find(b"]", end + 1)
    return False
