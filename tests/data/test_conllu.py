import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.data.conllu import COLUMNS, read_conllu
from jaxred.data.examples import LabelledSentence
from jaxred.errors import UserError

SENTENCE = """# sent_id = 1
# text = I didn't.
1\tI\tI\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2-3\tdidn't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdid\tdo\tAUX\tVBD\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t2:x\t_
4\t.\t.\tPUNCT\t.\t_\t2\tpunct\t_\t_

"""


@pytest.fixture
def refused(tmp_path):
    def run(text, label="upos", kind="classification"):
        path = tmp_path / "x.conllu"
        path.write_text(text)
        with pytest.raises(UserError) as caught:
            read_conllu(path, label, kind)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return run


@pytest.mark.parametrize(
    ("label", "labels"),
    [
        ("upos", ("PRON", "AUX", "PART", "PUNCT")),
        ("xpos", ("PRP", "VBD", "RB", ".")),
        ("deprel", ("nsubj", "root", "advmod", "punct")),
        ("5", ("PRP", "VBD", "RB", ".")),
        ("feats", ("_",) * 4),
    ],
)
def test_ranges_and_empty_nodes_are_no_words(tmp_path, label, labels):
    (tmp_path / "x.conllu").write_text(SENTENCE * 2)
    found = read_conllu(tmp_path / "x.conllu", label)
    assert found == [LabelledSentence(("I", "did", "n't", "."), labels, line) for line in (3, 12)]


def test_an_empty_node_may_come_first_and_words_may_hold_spaces(tmp_path):
    rest = "\tlemma\tX" + "\t_" * 6
    (tmp_path / "x.conllu").write_text(f"0.1\tgo{rest}\n1\t10 000{rest}\n\n0.1\tgo{rest}\n")
    assert read_conllu(tmp_path / "x.conllu") == [LabelledSentence(("10 000",), ("X",), 1)]


def test_numbers_as_labels(tmp_path):
    (tmp_path / "x.conllu").write_text(SENTENCE)
    assert read_conllu(tmp_path / "x.conllu", "head", "regression")[0].labels == (2.0, 0.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1\tI\tI\tPRON", "1\tI\tPRON", r"line 3: 9 columns separated by tabs, but CoNLL-U has 10 \(id, form, "),
        ("1\tI\tI", "1 I I", r"line 3: 8 columns separated by tabs"),
        ("2\tdid", "3\tdid", r"line 5: word 3 does not follow word 1"),
        ("1\tI", "0\tI", r"line 3: the ID is '0', but the number of a word"),
        ("2-3", "3-2", r"line 4: the ID is '3-2'"),
        ("2-3", "3-3", r"line 4: the ID is '3-3'"),
        ("3.1", "3.0", r"line 7: the ID is '3\.0'"),
        ("3.1", "three", r"line 7: the ID is 'three'"),
        ("AUX", "", r"line 5: upos is empty"),
        ("\tdid\t", "\t\t", r"line 5: form is empty"),
    ],
)
def test_malformed_lines_are_named(refused, old, new, message):
    assert re.match(rf"x\.conllu, {message}", refused(SENTENCE.replace(old, new)))


def test_sentences_without_an_empty_line_between_them(refused):
    text = SENTENCE.rstrip("\n") + "\n" + SENTENCE
    assert refused(text).startswith("x.conllu, line 11: word 1 does not follow word 4")


@pytest.mark.parametrize("label", ["tag", "11", "0", "UPOS"])
def test_an_unknown_column_lists_the_known_ones(refused, label):
    message = refused(SENTENCE, label)
    assert f"line 3: there is no column '{label}'" in message
    assert ", ".join(COLUMNS) in message


def test_a_file_without_words(refused):
    assert refused("# nothing\n\n").startswith("x.conllu holds no words")


@given(
    st.lists(
        st.lists(st.sampled_from(["word", "range", "empty", "comment"]), min_size=1, max_size=6), min_size=1, max_size=4
    )
)
@settings(deadline=None)
def test_words_are_those_with_a_plain_number(tmp_path_factory, sentences):
    path = tmp_path_factory.getbasetemp() / "given.conllu"
    rest, lines, expected = "\t_\tX" + "\t_" * 6, [], []
    for kinds in sentences:
        n = 0
        for kind in kinds:
            n += kind == "word"
            name = {"word": n, "range": f"{n + 1}-{n + 2}", "empty": f"{n}.1", "comment": "# 1"}[kind]
            lines.append(f"{name}\tw{n}{rest}")
        lines.append("")
        expected += [tuple(f"w{i}" for i in range(1, n + 1))] if n else []
    path.write_text("\n".join(lines))
    if expected:
        assert [s.words for s in read_conllu(path)] == expected
    else:
        with pytest.raises(UserError, match=r"no words|is empty"):
            read_conllu(path)
