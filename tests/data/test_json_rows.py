import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.data.json_rows import read_json_rows
from jaxred.errors import UserError


def refused(path, content):
    path.write_bytes(content.encode())
    with pytest.raises(UserError) as caught:
        read_json_rows(path)
    return str(caught.value)


def test_lines_and_arrays(tmp_path):
    path = tmp_path / "train.json"
    path.write_text('\ufeff{"text": "a"}\r\n\n{"text": "b\\n"}\n', encoding="utf-8")
    assert read_json_rows(path) == ([{"text": "a"}, {"text": "b\n"}], [1, 3], "line")
    path.write_text('\n[{"text": "a"},\n\n {"text": "b"}]\n')
    assert read_json_rows(path) == ([{"text": "a"}, {"text": "b"}], [1, 2], "row")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "a"}\n{"text": NaN}\n', "line 2: it is not JSON"),
        ('{"text": "a"}\n[1]\n', "line 2: an array stands there, but an object"),
        ('[{"text": "a"}, 3]', "row 2: a number stands there"),
        ('[{"text": "a"}, null]', "row 2: null stands there"),
        ('{\n"text": "a"\n}\n', "line 1: it is not JSON"),
        ('{"text": "\\ud800"}\n', "line 1: it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "has no row"),
    ],
)
def test_bad_rows_are_named(tmp_path, content, words):
    path = tmp_path / "train.jsonl"
    message = refused(path, content)
    assert message.startswith(str(path))
    assert words in message


VALUE = st.text(st.characters(codec="utf-8")) | st.integers(-(2**53), 2**53) | st.booleans() | st.none()


@given(st.lists(st.dictionaries(st.text(st.characters(codec="utf-8")), VALUE), min_size=1), st.booleans())
@settings(deadline=None)
def test_what_python_writes_is_read_back(tmp_path_factory, rows, ascii_only):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    assert read_json_rows(path) == (rows, list(range(1, len(rows) + 1)), "line")
    path.write_bytes(json.dumps(rows, ensure_ascii=ascii_only).encode())
    assert read_json_rows(path).objects == rows
