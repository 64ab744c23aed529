import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.data.examples import LabelledSentence
from jaxred.data.parallel_words import MOST_DROPPED, read_parallel_words
from jaxred.errors import UserError


def write(folder, words, labels):
    (folder / "train.word").write_text(words)
    (folder / "train.label").write_text(labels)
    return folder / "train"


def refused(stem, kind="classification"):
    with pytest.raises(UserError) as caught:
        read_parallel_words(stem, kind)
    return str(caught.value).replace(f"{stem.parent}/", "")


def test_a_label_a_word(tmp_path):
    found = read_parallel_words(write(tmp_path, "a  b\tc\n\nd\n", "X Y X\n \nZ"))
    assert found == ([LabelledSentence(("a", "b", "c"), ("X", "Y", "X"), 1), LabelledSentence(("d",), ("Z",), 3)], [])


def test_numbers_as_labels(tmp_path):
    assert read_parallel_words(write(tmp_path, "a b", "1 -0.5"), "regression").sentences[0].labels == (1.0, -0.5)
    assert refused(write(tmp_path, "a\nb", "1\nx"), "regression").startswith("train.label, line 2: the score is 'x'")


def test_lines_that_disagree_are_left_out_and_listed(tmp_path):
    found = read_parallel_words(write(tmp_path, "a b\nc\nd e\nf\n\n", "X\nY\nX Y Z\nW\nV\n"))
    assert [s.words for s in found.sentences] == [("c",), ("f",)]
    assert found.dropped == [1, 3, 5]


def test_more_lines_that_disagree_than_the_original_drops(tmp_path):
    n = MOST_DROPPED
    stem = write(tmp_path, "ok\n" + "a b\n" * n, "X\n" + "X\n" * n)
    assert read_parallel_words(stem).dropped == list(range(2, n + 2))
    message = refused(write(tmp_path, "ok\n" + "a b\n" * (n + 1), "X\n" + "X\n" * (n + 1)))
    assert message.startswith(
        f"{n + 1} of {n + 2} lines of train.word and train.label do not have a label a word (line 2"
    )
    assert "2 words and 1 labels" in message
    assert refused(write(tmp_path, "a b\n", "X\n")).startswith("1 of 1 lines")


def test_different_numbers_of_lines(tmp_path):
    assert refused(write(tmp_path, "a\nb\n", "X\n")).startswith("train.word has 2 lines and train.label has 1")


def test_files_without_words(tmp_path):
    assert refused(write(tmp_path, "\n\n", "\n\n")).startswith("train.word holds no words")


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=4)
sentences = st.lists(st.lists(st.tuples(words, words), min_size=1, max_size=4), min_size=1, max_size=5)


@given(sentences)
@settings(deadline=None)
def test_what_is_written_is_read_back(tmp_path_factory, given_sentences):
    stem = tmp_path_factory.getbasetemp() / "given"
    for suffix, column in ((".word", 0), (".label", 1)):
        lines = [" ".join(cells[column] for cells in sentence) for sentence in given_sentences]
        stem.with_suffix(suffix).write_bytes("\n".join(lines).removeprefix("\ufeff").encode())
    if any(cell.strip("\ufeff") == "" for s in given_sentences for pair in s for cell in pair):
        return
    found = read_parallel_words(stem)
    assert not found.dropped
    assert [len(s.words) for s in found.sentences] == [len(s) for s in given_sentences]
    assert [s.labels[-1] for s in found.sentences][1:] == [s[-1][1] for s in given_sentences][1:]
    assert [s.line for s in found.sentences] == list(range(1, len(given_sentences) + 1))
