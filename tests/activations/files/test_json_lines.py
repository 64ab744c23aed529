import contextlib
import json
import re

import numpy as np
import pytest
from blake3 import blake3
from helpers.made_up_lines import GOOD, LAYERS, SIZE, same, sentence, values, write
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.activations.files import json_lines
from jaxred.errors import UserError


def read(path, **options):
    return list(json_lines.read(path, json_lines.survey(path), **options))


def refused(path, **options):
    with pytest.raises(UserError) as caught:
        read(path, **options)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


def test_a_survey_counts_and_has_the_digest(tmp_path):
    path = write(tmp_path / "a.json", sentence(values(2)), sentence(values(1)), sentence(values(5)))
    found = json_lines.survey(path)
    assert (found.n_layers, found.hidden_size, found.tokens) == (LAYERS, SIZE, [2, 1, 5])
    assert found.digest == blake3(path.read_bytes()).hexdigest()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(1, 700), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_survey_by_pieces_of_any_size_is_the_same(tmp_path_factory, lengths, n_bytes, newline):
    path = tmp_path_factory.mktemp("lines") / "a.json"
    lines = [sentence(values(n, seed)) for seed, n in enumerate(lengths)]
    write(path, *lines, end="\n" if newline else "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "_SURVEY_BYTES", n_bytes)
        found = json_lines.survey(path)
    ends = np.cumsum([len(line) + 1 for line in lines]) - [*[0] * (len(lines) - 1), 0 if newline else 1]
    assert (found.tokens, found.offsets) == (lengths, [0, *ends])
    assert found.digest == blake3(path.read_bytes()).hexdigest()


@given(st.lists(st.sampled_from(['"layers"', '"layers" :', "layers", "y", 'y"', ":", " ", "l", "a"]), max_size=9))
def test_tokens_are_counted_by_their_key(pieces):
    text = "".join(pieces).encode()
    for start in range(min(3, len(text))):
        expected = len(re.findall(rb'"layers"\s*:', text[start : len(text) - start]))
        assert json_lines._count_tokens(text, start, len(text) - start) == expected


@pytest.mark.parametrize("token", ["layers", '"layers":', '\\"layers": [', "é🙂\u2028", "[CLS]", "NaN", ""])
def test_words_that_look_like_the_format_are_no_trouble(tmp_path, token):
    path = write(tmp_path / "a.json", sentence(values(2), [token, token]))
    assert json_lines.survey(path).tokens == [2]
    assert refused(path, sentences_only=True) if token != "[CLS]" else read(path)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.floats(-(2.0**127), 2.0**127, allow_subnormal=True),
    st.booleans(),
    st.integers(0, 4),
)
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read_to_the_last_bit(tmp_path_factory, lengths, value, newline, first):
    sentences = [values(n, seed) for seed, n in enumerate(lengths)]
    sentences[-1][-1, -1, -1] = value
    path = tmp_path_factory.mktemp("lines") / "a.json"
    write(path, *(sentence(vectors) for vectors in sentences), end="\n" if newline else "")
    same(read(path, first=first), sentences[first:])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_line_is_refused_in_a_sentence_or_is_still_of_the_format(tmp_path_factory, data):
    line = bytearray(sentence(values(2)).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.sampled_from(b'0a"[]{}:,-.e \xff'))
    path = tmp_path_factory.mktemp("damaged") / "a.json"
    path.write_bytes(bytes(line) + b"\n")
    found = None
    with contextlib.suppress(UserError):
        found = read(path)
    assert found is None or np.isfinite(found[0]).all()


def test_whole_numbers_are_numbers(tmp_path):
    line = '{"features": [{"layers": [{"values": [1, -2, 3.5]}]}]}'
    np.testing.assert_array_equal(read(write(tmp_path / "a.json", line))[0], [[[1, -2, 3.5]]])


@pytest.mark.parametrize(
    ("tokens", "chosen"), [(["x"], 0), (["[CLS]", "a", "b"], 0), (["a", "b", "<cls>"], 2), (["[CLS]", "<cls>"], 0)]
)
def test_the_token_of_the_sentence(tmp_path, tokens, chosen):
    vectors = values(len(tokens))
    path = write(tmp_path / "a.json", sentence(vectors, tokens))
    np.testing.assert_array_equal(read(path, sentences_only=True)[0], vectors[chosen : chosen + 1])


def test_a_sentence_without_a_token_of_its_own_is_refused(tmp_path):
    path = write(tmp_path / "a.json", sentence(values(1)), sentence(values(3)))
    assert ", line 2: it has 3 tokens, of which none stands for the sentence" in refused(path, sentences_only=True)
    write(path, sentence(values(1)), sentence([]))
    assert ", line 2: it has 0 tokens, of which none" in refused(path, sentences_only=True)
    assert read(path)[1].shape == (0, LAYERS, SIZE)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{bad", "it is not JSON"),
        ("", "it is empty"),
        ("[]", "there is no list 'features'"),
        ('{"features": 3}', "there is no list 'features'"),
        ('{"features": [{"token": "a"}]}', "its tokens cannot be counted by the key 'layers'"),
        ('{"features": [{"layers": 4}]}', "token 0 has no list 'layers'"),
        ('{"features": [{"layers": [{"index": 0}, {"index": 1}]}]}', "layer 0 of token 0 has no list 'values'"),
        ('{"features": [{"layers": [[1, 2, 3]]}]}', "layer 0 of token 0 has no list 'values'"),
        ('{"features": [{"layers": [{"values": [1, 2, 3]}]}]}', "token 0 has 1 layers, but the first line has 2"),
        (
            '{"features": [{"layers": [{"values": [1, 2, 3]}, {"values": [1, 2]}]}]}',
            "layer 1 of token 0 has 2 values, but the first line's have 3",
        ),
        (
            '{"features": [{"layers": [{"values": [1, "2", 3]}, {"values": [1, 2, 3]}]}]}',
            "the value of token 0, layer 0, neuron 1 is '2', but a finite number is expected",
        ),
        (
            '{"features": [{"layers": [{"values": [1, 2, 3]}, {"values": [1, null, 3]}]}]}',
            "the value of token 0, layer 1, neuron 1 is None",
        ),
        (
            '{"features": [{"layers": [{"values": [1, 2, 3]}, {"values": [1, NaN, 3]}]}]}',
            "it holds NaN, which is not a finite number",
        ),
        (
            '{"features": [{"layers": [{"values": [1, 2, 3]}, {"values": [1, -Infinity, 3]}]}]}',
            "it holds Infinity, which is not a finite number",
        ),
        (
            '{"features": [{"layers": [{"values": [1, 2, 3]}, {"values": [1, 2, -1e39]}]}]}',
            "the value of token 0, layer 1, neuron 2 is -1e+39, which float32 cannot hold",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, found):
    path = write(tmp_path / "a.json", GOOD, line, GOOD)
    assert refused(path).startswith(f", line 2: {found}")


@pytest.mark.parametrize("cut", [1, 5, 40, len(GOOD) - 1])
def test_a_last_line_that_is_cut_short_is_named(tmp_path, cut):
    path = write(tmp_path / "a.json", GOOD, GOOD[:cut], end="")
    with pytest.raises(UserError, match=r"line 2: it is cut short, as by a full disk or a killed extraction"):
        json_lines.survey(path)


@pytest.mark.parametrize(
    "line", ['{"features": []}', '{"features": [{"layers": []}]}', '{"features": [{"layers": [{"values": []}]}]}']
)
def test_a_first_line_without_a_shape_is_refused(tmp_path, line):
    path = write(tmp_path / "a.json", line, GOOD)
    assert refused(path).startswith(", line 1: it has no token with a layer of values")


def test_a_file_that_is_missing_empty_or_a_folder_is_named(tmp_path):
    assert " does not exist" in refused(tmp_path / "none.json")
    assert " is a folder, but a file of activations is expected" in refused(tmp_path)
    (tmp_path / "a.json").touch()
    assert " is empty, but one line per sentence is expected" in refused(tmp_path / "a.json")


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path):
    path = write(tmp_path / "a.json", GOOD, GOOD)
    found = json_lines.survey(path)
    write(path, GOOD)
    with pytest.raises(UserError, match="was changed while it was read: it had 2 lines"):
        list(json_lines.read(path, found))
    write(path, GOOD, GOOD, GOOD)
    with pytest.raises(UserError, match="line 3: its tokens cannot be counted"):
        list(json_lines.read(path, found))


def test_truth_values_are_no_numbers(tmp_path):
    good = sentence(values(1))
    number = json.loads(good)["features"][0]["layers"][1]["values"][2]
    write(tmp_path / "a.json", good, good.replace(repr(number), "true"))
    assert "line 2: the value of token 0, layer 1, neuron 2 is True" in refused(tmp_path / "a.json")


def test_whole_numbers_beyond_any_float_are_named(tmp_path):
    good = sentence(values(1))
    number = json.loads(good)["features"][0]["layers"][1]["values"][2]
    for digits in (40, 400):
        write(tmp_path / "a.json", good, good.replace(repr(number), "9" * digits))
        assert "line 2" in refused(tmp_path / "a.json")


def test_a_git_lfs_pointer_is_named(tmp_path):
    write(tmp_path / "a.json", "version https://git-lfs.github.com/spec/v1", "oid sha256:0", "size 7")
    assert "is a git-lfs pointer" in refused(tmp_path / "a.json")
