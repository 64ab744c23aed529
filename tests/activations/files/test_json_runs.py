"""The fast parser takes what the careful one takes, to the last bit, or leaves it to that one."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.made_up_lines import GOOD, LAYERS, SIZE, sentence, values
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.activations.files import json_runs
from jaxred.activations.files.json_parsing import sentence_parser
from jaxred.errors import UserError


def run(text, sentences_only=False):
    return joined(json_runs.run_parser(LAYERS, SIZE, sentences_only)(text))


def joined(parsed):
    """The vectors of a run in one piece."""
    return parsed and (parsed[0], b"".join(parsed[1]))


def careful(text, sentences_only=False):
    """What the careful parser makes of the lines; None where it refuses one."""
    parse = sentence_parser(Path("a.json"), LAYERS, SIZE, sentences_only)
    try:
        parsed = [parse(line, number, None) for number, line in enumerate(text.splitlines(keepends=True), start=1)]
    except UserError:
        return None
    return [n for n, _ in parsed], b"".join(vectors.tobytes() for _, vectors in parsed)


def agree(parsed, text, sentences_only=False):
    """Whether a run is what the careful parser makes of it; whether float32 can hold its numbers is asked later."""
    too_large = parsed is not None and np.abs(np.frombuffer(parsed[1])).max(initial=0) > np.finfo(np.float32).max
    return parsed is None or careful(text, sentences_only) == (None if too_large else parsed)


def content(vectors):
    return json.loads(sentence(vectors))


def text_of(*contents):
    return b"".join(json.dumps(content).encode() + b"\n" for content in contents)


NUMBERS = st.one_of(
    st.floats(-(2.0**127), 2.0**127).map(repr),
    st.integers(-(2**63), 2**64 - 1).map(str),
    st.decimals(-1000, 1000, places=20).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,2})?", fullmatch=True),
)


@given(st.lists(NUMBERS, min_size=LAYERS * SIZE, max_size=LAYERS * SIZE))
@settings(max_examples=200, deadline=None)
def test_numbers_are_those_of_python_to_the_last_bit(numbers):
    layers = [f'{{"values": [{", ".join(numbers[i : i + SIZE])}]}}' for i in range(0, len(numbers), SIZE)]
    text = f'{{"features": [{{"layers": [{", ".join(layers)}]}}]}}'.encode()
    parsed = run(text)
    expected = np.array([float(number) + 0.0 for number in numbers])  # of -0, an integer, 0 is left
    if parsed is not None:
        found = np.frombuffer(parsed[1])
        same = found.view(np.int64) == expected.view(np.int64)
        assert np.all(same | ((found == 0) & (expected == 0)))
        assert agree(parsed, text)
    else:
        assert any(abs(float(number)) >= 2**64 for number in numbers)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_damaged_line_is_left_to_the_careful_parser_or_is_the_same_to_both(data):
    names = data.draw(st.sampled_from([["[CLS]", "a"], ["a", "<cls>"], ["a", "b"], ['"], [', "\\"]]))
    text = bytearray(sentence(values(2), names).encode() + b"\n" + GOOD.encode() + b"\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        if data.draw(st.booleans()):
            text[at : at + 1] = data.draw(st.sampled_from([b"[", b"]", b"[1]", b"{", b"}", b",", b"", b"\n", b"null"]))
        else:
            text[at] = data.draw(st.sampled_from(b'0a"[]{}:,-.e \\\xff\xef'))
    only = data.draw(st.booleans())
    parsed = run(bytes(text), only)
    assert agree(parsed, bytes(text), only)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_parts_of_another_kind_are_left_to_the_careful_parser_or_are_the_same_to_both(data):
    """Whatever stands at a place of the format in place of what belongs there."""
    line = content(values(2))
    other = data.draw(
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.floats(0, 1), st.text(max_size=3)),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["values", "x"]), inner),
            max_leaves=4,
        )
    )
    layers = line["features"][data.draw(st.integers(0, 1))]["layers"]
    places = [
        (line, "features"), (line["features"], 1), (line["features"][0], "layers"), (line["features"][0], "token"),
        (layers, 1), (layers[1], "values"), (layers[1]["values"], data.draw(st.integers(0, SIZE - 1))),
    ]  # fmt: skip
    place, key = data.draw(st.sampled_from(places))
    place[key] = other
    only = data.draw(st.booleans())
    parsed = run(text_of(line), only)
    assert agree(parsed, text_of(line), only)


@pytest.mark.parametrize("only", [False, True])
def test_lines_of_several_tokens(only):
    vectors = [values(n, n) for n in (2, 1, 3)]
    lines = [sentence(each, ["[CLS]", "a", "b"][: len(each)]) for each in vectors]
    found = run("\n".join(lines).encode(), only)
    expected = [each[:1] if only else each for each in vectors]
    assert found == ([2, 1, 3], np.concatenate(expected).tobytes())


@pytest.mark.parametrize(
    "line",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),  # simdjson skips a byte order mark
        GOOD.replace("[{", "[[1], {", 1).encode(),
        GOOD.encode()[:-2],
        b"",
        b"\n",
        b"{}",
        b"[]",
    ],
)
def test_bad_lines_are_refused(line):
    good = GOOD.encode() + b"\n"
    assert run(good + line + b"\n" + good) is None
    assert run(good) is not None


@pytest.mark.parametrize("lists", ["[[1], 2, 3]", "[1, [2], 3]", "[1, 2, [3]]", "[[1,2,3]]", "[[] , 1, 2, 3]"])
def test_lists_of_numbers_in_the_list_of_numbers_are_seen(lists):
    line = '{"features": [{"layers": [{"values": LISTS}, {"values": [1, 2, 3]}]}]}'.replace("LISTS", lists)
    assert careful(line.encode()) is None
    for text in (line, line.replace(" ", ""), line.replace(" ", "\t").replace("]", "] ")):
        assert run(text.encode()) is None


@pytest.mark.parametrize("key", ["features", "layers", "values", "token", "v\\u0061lues"])
def test_a_key_that_stands_twice_is_left_to_the_careful_parser(key):
    """Parsers of JSON take the last; simdjson takes the first, which is as good here."""
    line = sentence(values(2), ["[CLS]", "a"])
    layers = [{"values": [1, 2, 3]}] * LAYERS
    first = {"features": [{"token": "[CLS]", "layers": layers}] * 2, "layers": layers, "token": "[CLS]"}
    name = key.replace("\\u0061", "a")
    twice = line.replace(f'"{name}":', f'"{key}": {json.dumps(first.get(key, [1, 2, 3]))}, "{name}":', 1)
    assert run(twice.encode(), True) is None
    assert careful(twice.encode(), True) == run(line.encode(), True)


def test_after_a_refused_run_others_are_parsed():
    parse = json_runs.run_parser(LAYERS, SIZE, False)
    good = GOOD.encode() + b"\n"
    for bad in (b"{\n", GOOD.encode().replace(b"values", b"value"), GOOD.encode().replace(b"[", b"[null, ", 3)):
        assert parse(good + bad) is None
        assert joined(parse(good)) == careful(good)
