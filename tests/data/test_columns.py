import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.data.columns import ColumnFormat, read_columns
from jaxred.data.examples import LabelledSentence
from jaxred.data.labeling import LABELING_TASKS
from jaxred.errors import UserError

CONLL2000 = LABELING_TASKS["conll2000_chunk"].columns
PMB = LABELING_TASKS["pmb_ccg"].columns


@pytest.fixture
def read(tmp_path):
    def run(text, layout=CONLL2000, label="2", kind="classification"):
        path = tmp_path / "train.txt"
        path.write_bytes(text.encode())
        return read_columns(path, layout, label, kind)

    return run


@pytest.fixture
def refused(read, tmp_path):
    def run(*args, **fields):
        with pytest.raises(UserError) as caught:
            read(*args, **fields)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return run


TEXT = "Rockwell NNP B-NP\nsaid VBD B-VP\n\n\n# # B-NP\n. . O\n"


@pytest.mark.parametrize(
    ("label", "labels"),
    [
        ("chunk", [("B-NP", "B-VP"), ("B-NP", "O")]),
        ("pos", [("NNP", "VBD"), ("#", ".")]),
        ("3", [("B-NP", "B-VP"), ("B-NP", "O")]),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_conll2000(read, label, labels, ends):
    found = read(TEXT.replace("\n", ends), label=label)
    assert found == [
        LabelledSentence(("Rockwell", "said"), labels[0], 1),
        LabelledSentence(("#", "."), labels[1], 5),
    ]


def test_the_last_sentence_needs_no_empty_line_and_none_is_empty(read):
    assert [len(s.words) for s in read("\n\na A X\n \t\nb B Y\nc C Z")] == [1, 2]


def test_pmb_columns_comments_and_spaces_in_words(read):
    head = "### by\n# newdoc id = p1\n# tok:gold\ttok:gold\tsym:gold\tsem:gold\tcat:gold\tsns:gold\trol:gold\n"
    text = f"{head}New~York\tNew~York\tny\tGPE\tn\tO\t[]\n#\t#\t#\tNIL\t#\tO\t[]\n~\t~\t~\tNIL\t~\tO\t[]\n"
    assert read(text, PMB, "semtag") == [LabelledSentence(("New York", "#", "~"), ("GPE", "NIL", "NIL"), 4)]
    assert read(text, PMB, "ccg")[0].labels == ("n", "#", "~")
    assert read("a\ta\tCON\tn\tO\t[]\n", PMB, "semtag")[0].labels == ("CON",)  # version 3.0.0


def test_a_layout_of_ones_own(read):
    layout = ColumnFormat(word="2", separator="|", comments=("%",))
    text = "% A|comment\n1|two words|0.5\n\n1|x|-2\n"
    assert read(text, layout, "3", "regression") == [
        LabelledSentence(("two words",), (0.5,), 2),
        LabelledSentence(("x",), (-2.0,), 4),
    ]
    assert read(" %|not at the start|1\n", layout, "3")[0].words == ("not at the start",)


def test_only_spaces_and_tabs_are_white_space(read):
    found = read(" a\u00a0b \t NN  O \n", label="3")
    assert found[0].words == ("a\u00a0b",)


def test_a_line_with_other_columns_is_named(refused):
    message = refused("a A X\nb B\n")
    assert message.startswith("train.txt, line 2: 2 columns, but the lines before it have 3: fix that line")
    message = refused("a A X\n\nNew York B X\n")
    assert message.startswith("train.txt, line 3: 4 columns, but the lines before it have 3")


def test_another_number_of_columns_than_the_format_has(refused):
    message = refused("\na A\n")
    found = "train.txt, line 2: 2 columns separated by spaces or tabs"
    assert message == f"{found}, but 3 (word, pos, chunk) are expected: check the file."
    assert "line 1: 2 columns separated by tabs, but 7 (token, " in refused("a\tA\n", PMB, "ccg")


@pytest.mark.parametrize("label", ["0", "4", "upos", "-1", "²", "1.0"])
def test_a_column_that_is_not_there_is_named(refused, label):
    message = refused(TEXT, label=label)
    assert message.startswith(f"train.txt, line 1: there is no column '{label}' among the 3 of this line")
    assert "from 1 to 3 or one of word, pos, chunk as config.task.label_column" in message
    assert "from 1 to 3 as" in refused(TEXT, ColumnFormat(), label)


@pytest.mark.parametrize("separator", ["tab", ",", "\\t"])
def test_another_separator_than_the_file_has_is_told_as_that(refused, separator):
    message = refused("\na A\nb B\n", ColumnFormat(separator=separator))
    assert message.startswith(
        f"train.txt, line 2: there is one column alone when columns are separated by {separator!r}"
    )
    assert "config.task.separator (whitespace, tab, or the text itself)" in message


def test_lines_that_end_in_a_lone_carriage_return_are_told_as_that(refused):
    message = refused("a A\rb B\r")
    assert message == "train.txt, line 1: lines end with a lone carriage return: end them with a newline."


@pytest.mark.parametrize(("text", "what"), [("a\t1\n\t2\n", "word (column 1)"), ("a\t1\nb\t \n", "label (column 2)")])
def test_an_empty_cell_is_named(refused, text, what):
    assert refused(text, ColumnFormat(separator="tab")) == f"train.txt, line 2: the {what} is empty: fill it."


@pytest.mark.parametrize("text", ["\n\n", " \n", "# a\n"])
def test_a_file_without_words(refused, text):
    assert refused(text, ColumnFormat(comments=("#",))) == (
        "train.txt holds no words, but one word per line is expected: check the file."
    )


def test_a_label_that_is_no_number_is_named(refused):
    assert refused("a 1\n\nb x\n", ColumnFormat(), kind="regression").startswith("train.txt, line 3: the score is 'x'")


cells = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\t\n\r"), min_size=1).filter(
    lambda cell: cell == cell.strip() and cell
)


tags = st.text(st.characters(codec="ascii", exclude_categories=["Cc", "Zs"]), min_size=1)


@given(st.lists(st.lists(st.tuples(cells, tags), min_size=1, max_size=4), min_size=1, max_size=4), st.integers(1, 3))
@settings(deadline=None)
def test_what_is_written_is_read_back(tmp_path_factory, sentences, n_empty):
    path = tmp_path_factory.getbasetemp() / "columns.txt"
    text = ("\n" * (n_empty + 1)).join("\n".join("\t".join(line) for line in s) for s in sentences)
    path.write_bytes(f"{text}\n".encode().removeprefix("\ufeff".encode()))
    found = read_columns(path, ColumnFormat(separator="tab"), "2")
    expected = [(tuple(w for w, _ in s), tuple(tag for _, tag in s)) for s in sentences]
    if text.startswith("\ufeff"):
        expected[0] = ((expected[0][0][0][1:].strip(), *expected[0][0][1:]), expected[0][1])
    assert [(s.words, s.labels) for s in found] == expected
    lines = path.read_bytes().decode().split("\n")
    assert all(lines[s.line - 1].startswith(s.words[0]) for s in found)


@given(st.text(st.sampled_from("ab# \t\n\r1-._\u00a0"), max_size=60), st.sampled_from(["whitespace", "tab", "_", "-."]))
@settings(deadline=None)
def test_any_text_is_read_or_refused_with_its_line(tmp_path_factory, text, separator):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_text(text, newline="")
    refused = ""
    try:
        found = read_columns(path, ColumnFormat(separator=separator, comments=("#",)), "2")
    except UserError as error:
        refused = str(error)
    if refused:
        assert re.search(r"any\.txt(, line \d+: | holds no words| is empty)", refused)
    else:
        assert all(len(s.words) == len(s.labels) > 0 and all(s.words) and all(s.labels) for s in found)
