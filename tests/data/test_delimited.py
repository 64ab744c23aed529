"""CSV and TSV as their formats say, against Python's own csv module."""

import csv
import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.data.delimited import read_delimited
from jaxred.errors import UserError


@pytest.fixture
def read(tmp_path):
    def run(content, name="train.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_delimited(path)

    return run


@pytest.fixture
def refused(read, tmp_path):
    def run(content, name="train.csv"):
        with pytest.raises(UserError) as caught:
            read(content, name)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return run


def test_quotes_separators_and_line_breaks_inside_quotes(read):
    rows = read('text,label\r\n"a, ""fine""\nfilm\r\n",1\r\n\r\nplain "quote" inside,0\r\n')
    assert rows.cells == [["text", "label"], ['a, "fine"\nfilm\r\n', "1"], ['plain "quote" inside', "0"]]
    assert rows.lines == [1, 2, 6]


@pytest.mark.parametrize("name", ["train.csv", "train.tsv"])
def test_a_return_inside_a_line_is_text(read, name):
    separator = "," if name == "train.csv" else "\t"
    rows = read(f'text{separator}label\n"a\rb\n"{separator}1\nc\rd{separator}0\r\n', name)
    assert (rows.cells[1:], rows.lines) == ([["a\rb\n", "1"], ["c\rd", "0"]], [1, 2, 4])


def test_a_byte_order_mark_is_no_part_of_the_header(read):
    assert read(b"\xef\xbb\xbftext,label\na,b\n").cells[0] == ["text", "label"]


def test_semicolons_separate_where_the_first_line_has_no_comma(read):
    rows = read("text;label\nyes, indeed;1\n")
    assert (rows.separator, rows.cells[1]) == (";", ["yes, indeed", "1"])
    assert read('"a;b",label\nx,1\n').separator == ","


@pytest.mark.parametrize(
    ("content", "cells", "quoted"),
    [
        ('a "fine" film\t1\n"hm" he said\t0\n', [['a "fine" film', "1"], ['"hm" he said', "0"]], False),
        ('text\tlabel\n"one\ttab, ""two""\nlines"\t1\n', [["text", "label"], ['one\ttab, "two"\nlines', "1"]], True),
        ('text\tlabel\n"never closed\t1\n', [["text", "label"], ['"never closed', "1"]], False),
        ("a\t1\r\nb\t0\r\n", [["a", "1"], ["b", "0"]], False),
        ('"a"\t1\n5" nails\t0\n', [['"a"', "1"], ['5" nails', "0"]], False),
    ],
)
def test_tsv_is_quoted_only_where_every_quote_is_the_formats(read, content, cells, quoted):
    rows = read(content, "train.tsv")
    assert (rows.cells, rows.quoted) == (cells, quoted)


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ('text,label\n"a\nb",1\n"c,0\nd,1\n', 4, "is never closed"),
        ('text,label\n"a" b,1\n', 2, "text follows the quote"),
        ('text,label\na,1\n"b\nc",1,2\n', 3, "3 cells separated by ',', but the first line has 2"),
        ("text,label\ra,1\r", 1, "lines end with a lone carriage return"),
        (f"text,label\n{'a' * 131_073},1\n", 2, "more than 131,072 characters"),
        ("a\nb\n", 1, "one column alone"),
        (b"text,label\na,1\nb\xe9,0\n", 3, "byte 0xe9 is not valid UTF-8"),
        ("text,label\n".encode("utf-16"), 1, "is not valid UTF-8"),
    ],
)
def test_bad_rows_are_named_by_line(refused, content, line, words):
    message = refused(content)
    assert message.startswith(f"train.csv, line {line}: ")
    assert words in message


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file(refused, content):
    assert refused(content).startswith("train.csv ")


def test_special_files_are_rejected(tmp_path, refused):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UserError, match="is a named pipe"):
        read_delimited(tmp_path / "pipe.csv")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"
    assert "git-lfs pointer" in refused(pointer)


CELL = st.text(
    st.one_of(st.sampled_from('",;\t\n\r ab\ufeff\u2028\x00\x85'), st.characters(codec="utf-8")), max_size=12
)
TABLE = st.integers(2, 4).flatmap(lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1))
# Python 3.11 writes a return without quotes where lines end in a newline, so that one at a row's end is part of "\r\n".
TABLE = TABLE.filter(lambda rows: not any(row[-1].endswith("\r") for row in rows))


@given(rows=TABLE, end=st.sampled_from(["\n", "\r\n"]), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
@settings(deadline=None, max_examples=300)
def test_csv_that_python_writes_is_read_back(tmp_path_factory, rows, end, quoting):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=end, quoting=quoting).writerows(
        [["text", "label", "c", "d"][: len(rows[0])], *rows]
    )
    text = file.getvalue()
    path.write_bytes(text.encode())
    found = read_delimited(path)
    assert found.cells[1:] == rows
    if not any("\r" in cell for row in rows for cell in row):
        assert found.cells == list(csv.reader(io.StringIO(text, newline=""), strict=True))
    lines = text.split("\n")
    for cells, line in zip(found.cells, found.lines, strict=True):
        assert lines[line - 1].removeprefix('"').startswith(cells[0].replace('"', '""').split("\n")[0].rstrip("\r"))


@given(rows=TABLE)
@settings(deadline=None, max_examples=300)
def test_tsv_that_python_writes_quoted_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.tsv"
    file = io.StringIO(newline="")
    csv.writer(file, "excel-tab", lineterminator="\n").writerows([["text", "label", "c", "d"][: len(rows[0])], *rows])
    path.write_bytes(file.getvalue().encode())
    assert read_delimited(path).cells[1:] == rows


PLAIN = st.text(st.sampled_from("\"',; ab\ufeff\u2028\x85é🙂"), max_size=12)


@given(st.lists(st.tuples(PLAIN, PLAIN), min_size=1))
@settings(deadline=None, max_examples=300)
def test_tsv_without_quoting_is_read_back_but_for_cells_that_are_quoted(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "plain.tsv"
    lines = ['say "so"\tlabel', *("\t".join(row) for row in rows)]  # a quote inside a cell: no quoting
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    assert read_delimited(path).cells[1:] == [list(row) for row in rows]


@given(st.binary(max_size=80) | st.text(st.sampled_from('ab",;\t\n\r'), max_size=60).map(str.encode))
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    for name in ("any.csv", "any.tsv"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(content)
        try:
            rows = read_delimited(path)
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            assert len({len(cells) for cells in rows.cells}) == 1
            assert rows.lines == sorted(set(rows.lines))


def test_the_rule_for_tsv_takes_linear_time(read):
    rows = read("text\tlabel\n" + '"a"\t"b"\n' * 100_000 + 'x "y\t1\n', "train.tsv")
    assert (len(rows.cells), rows.quoted) == (100_002, False)
