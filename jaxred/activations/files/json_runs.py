"""Runs of lines of JSON to the bytes of their numbers; as a program, what it is asked for, run by run.

simdjson reads a list of numbers into memory and makes no Python object of any, so that it is several times as fast as
parsers that do. What it takes is not quite what they take: a run that is in any way unlike what the original writes is
left to `jaxred.activations.files.json_parsing`, which takes it or says what is wrong.

The program is told where runs begin, reads them from the file itself, and puts their vectors where it is told, into
memory that it shares with whoever asks. It ends when its input ends, as it does when whoever started it has ended, by
whatever way. It imports little, to start soon.
"""

import contextlib
import gc
import mmap
import re
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

import simdjson

QUESTION = struct.Struct("<qqqq")  # where the run begins in the file, its bytes; where its vectors go, and their bytes
ANSWER = struct.Struct("<q")  # how many lines have been put there, which each line's tokens follow; or REFUSED
REFUSED = -1

# The tokens of each line; their vectors in float64, a piece of memory for each token's layer.
Run = tuple[list[int], list[memoryview]]

# A list in a list of numbers, which simdjson would flatten: after the last comes a number, or the end of the outer.
_LIST_IN_LIST = re.compile(rb"\]\s*(?:\]|,\s*[-\d])")


class _Unusual(Exception):
    """A line that is left to `jaxred.activations.files.json_parsing`."""


def run_parser(n_layers: int, hidden_size: int, sentences_only: bool) -> Callable[[bytes], Run | None]:
    """A function that parses whole lines of a file of that shape.

    It gives how many tokens each line has and the file's decimals in float64, of one token a line where
    `sentences_only`; or None where `json_parsing` is to look at the lines. Whether float32 can hold the numbers is not
    asked.
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
                n_tokens, found = parse_line(lines[start:end])
                tokens.append(n_tokens)
                vectors += found
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
    """What stands under a key, which must stand once: of several, simdjson takes the first, and others the last."""
    if list(content).count(key) != 1:
        raise _Unusual
    return content[key]


def _only_list(content: Any, key: str) -> simdjson.Array:
    found = _only(content, key)
    if not isinstance(found, simdjson.Array):
        raise _Unusual
    return found


def _sentence_token(features: Any) -> int:
    if len(features) == 1:
        return 0
    token = sentence_token([_only(feature, "token") for feature in features])
    if token is None:
        raise _Unusual
    return token


def _has_list_in_list(text: bytes) -> bool:
    """Whether a list may hold a list of numbers; asked at each closing bracket, which is soon found."""
    end = text.find(b"]")
    while end >= 0:
        if _LIST_IN_LIST.match(text, end):
            return True
        end = text.find(b"]", end + 1)
    return False


def main(path: str, n_layers: str, hidden_size: str, sentences_only: str, shared: str) -> None:
    """Answers until the input ends; `shared` is the file descriptor of the memory for vectors."""
    gc.disable()  # nothing here is garbage that refers to itself
    parse = run_parser(int(n_layers), int(hidden_size), bool(int(sentences_only)))
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    with open(path, "rb", buffering=0) as file, mmap.mmap(int(shared), 0) as memory:
        while len(question := questions.read(QUESTION.size)) == QUESTION.size:
            offset, n_bytes, place, place_bytes = QUESTION.unpack(question)
            file.seek(offset)
            parsed = parse(file.read(n_bytes))
            if parsed is None or sum(vector.nbytes for vector in parsed[1]) != place_bytes:
                answers.write(ANSWER.pack(REFUSED))
            else:
                tokens, vectors = parsed
                for vector in vectors:
                    memory[place : place + vector.nbytes] = vector.cast("B")
                    place += vector.nbytes
                answers.write(ANSWER.pack(len(tokens)) + struct.pack(f"<{len(tokens)}q", *tokens))
            answers.flush()


if __name__ == "__main__":
    with contextlib.suppress(OSError, KeyboardInterrupt):  # no answer, and whoever asked looks for itself
        main(*sys.argv[1:])
