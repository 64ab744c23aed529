import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxred.data.lines import parse_score, read_lines
from jaxred.errors import UserError

# Everything that str.splitlines or universal newlines would cut at, and what csv would treat as special.
ODD = "\v\f\x1c\x1d\x1e\x85\u2028\u2029\u00a0\r\"'\t,\\\x00\ufeff é漢🙂"
lines = st.lists(st.text(st.sampled_from(ODD + "ab")).filter(lambda line: not line.endswith("\r")), min_size=1)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("lines") / "text.txt"


@given(lines=lines, end=st.sampled_from(["\n", "\r\n"]), bom=st.booleans(), last_end=st.booleans())
def test_lines_survive_every_line_end_and_odd_character(scratch, lines, end, bom, last_end):
    last_end = last_end or not lines[-1] or end == "\r\n"  # an empty last line exists only where it is ended
    bom = bom or lines[0].startswith("\ufeff")  # one mark is dropped
    scratch.write_bytes((b"\xef\xbb\xbf" if bom else b"") + (end.join(lines) + end * last_end).encode())
    assert read_lines(scratch) == lines


def test_line_ends_may_be_mixed_and_inner_empty_lines_count(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one\r\n\ntwo\n\nreturn\r\r\n")
    assert read_lines(path) == ["one", "", "two", "", "return\r"]


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_lines(path)
    return str(caught.value)


def test_what_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "a.txt"
    assert refused(path).startswith(f"{path} does not exist")
    assert refused(tmp_path).startswith(f"{tmp_path} is a folder")
    path.write_bytes(b"")
    assert refused(path).startswith(f"{path} is empty")
    path.write_bytes(b"\xef\xbb\xbf")
    assert refused(path).startswith(f"{path} is empty")
    assert refused(path / "below").startswith(f"{path / 'below'} cannot be read (")


@pytest.mark.parametrize(("before", "line"), [(b"", 1), (b"caf\xc3\xa9\nb\r\n\n", 4), (b"\xef\xbb\xbfa\n", 2)])
def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path, before, line):
    path = tmp_path / "a.txt"
    path.write_bytes(before + b"caf\xe9 au lait\nmore\n")
    assert refused(path).startswith(f"{path}, line {line}: byte 0xe9 is not valid UTF-8")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_scores_round_trip(score):
    assert parse_score(f" {score!r}", Path("a"), 1) == score


@pytest.mark.parametrize("cell", ["", "good", "nan", "-inf", "1e999", "1,5", "1_0", "0x1"])
def test_cells_that_are_no_finite_number_are_refused(cell):
    with pytest.raises(UserError, match=re.escape(f"dev.score, line 12: the score is {cell!r}, but a finite number")):
        parse_score(cell, Path("dev.score"), 12)
