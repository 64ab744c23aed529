import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.data.examples import LabelledSentence
from jaxred.data.parallel_words import MOST_DROPPED, read_parallel_words, write_parallel_words
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
        f"{n + 1} of {n + 2} lines of train.word and train.label do not have one label per word (line 2"
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


# Writing

words = st.text(st.characters(exclude_categories=("Z", "C"), codec="utf-8"), min_size=1, max_size=6)
tags = st.text(st.characters(codec="ascii", exclude_categories=("Z", "C")), min_size=1, max_size=6)
sentences_of_words = st.lists(st.lists(st.tuples(words, tags), min_size=1, max_size=5), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(sentences_of_words)
def test_what_is_written_reads_back(tmp_path_factory, pairs):
    stem = tmp_path_factory.mktemp("written") / "train"
    given = [
        LabelledSentence(tuple(w for w, _ in mine), tuple(t for _, t in mine), line)
        for line, mine in enumerate(pairs, start=1)
    ]
    write_parallel_words(given, stem)
    assert read_parallel_words(stem) == (given, [])


def test_a_space_inside_a_word_is_a_tilde(tmp_path):
    write_parallel_words([LabelledSentence(("New York", "is"), ("GEO", "NOW"), 1)], tmp_path / "new" / "train")
    assert (tmp_path / "new" / "train.word").read_text() == "New~York is\n"
    assert (tmp_path / "new" / "train.label").read_text() == "GEO NOW\n"


def test_scores_are_written_in_full(tmp_path):
    write_parallel_words([LabelledSentence(("a",), (0.1 + 0.2,), 1)], tmp_path / "train")
    assert read_parallel_words(tmp_path / "train", "regression").sentences[0].labels == (0.1 + 0.2,)


def test_what_cannot_be_written_is_refused_and_nothing_is_overwritten(tmp_path):
    with pytest.raises(UserError, match="no sentences to write"):
        write_parallel_words([], tmp_path / "train")
    with pytest.raises(UserError, match=r"line 7 .* has an empty word or label"):
        write_parallel_words([LabelledSentence(("a", " "), ("X", "Y"), 7)], tmp_path / "train")
    assert not list(tmp_path.iterdir())
    stem = write(tmp_path, "mine", "X")
    for overwrite in (False, True):
        if overwrite:
            write_parallel_words([LabelledSentence(("a",), ("Y",), 1)], stem, overwrite=True)
        else:
            with pytest.raises(UserError, match=r"train\.word exists and is kept"):
                write_parallel_words([LabelledSentence(("a",), ("Y",), 1)], stem)
        assert (tmp_path / "train.word").read_text() == ("a\n" if overwrite else "mine")
