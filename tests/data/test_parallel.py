from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxred.data.examples import Example
from jaxred.data.labels import refuse_odd_labels
from jaxred.data.parallel import load_parallel, read_parallel, write_parallel
from jaxred.errors import UserError


def write(stem: Path, texts: str, labels: str, suffix: str = ".label") -> Path:
    stem.with_name(stem.name + ".word").write_bytes(texts.encode())
    stem.with_name(stem.name + suffix).write_bytes(labels.encode())
    return stem


def refused(stem: Path, kind: str = "classification") -> str:
    with pytest.raises(UserError) as caught:
        read_parallel(stem, kind)
    return str(caught.value)


def test_single_sentences_and_pairs(tmp_path):
    stem = write(tmp_path / "train", "one |||\r\n two two|||\r\n", "good\nnot good \n")
    assert read_parallel(stem, "classification") == [
        Example("one |||", None, "good"),
        Example(" two two|||", None, "not good"),
    ]
    write(stem, "a ||| b\nc d ||| e", "x\ny")
    assert read_parallel(stem, "classification") == [Example("a", "b", "x"), Example("c d", "e", "y")]


def test_scores_come_from_the_score_file_if_there_is_one(tmp_path):
    stem = write(tmp_path / "train", "a\nb\n", "1\n-2.5\n")
    assert [e.label for e in read_parallel(stem, "regression")] == [1.0, -2.5]
    write(stem, "a\nb\n", "3\n4e-1\n", ".score")
    assert [e.label for e in read_parallel(stem, "regression")] == [3.0, 0.4]
    assert [e.label for e in read_parallel(stem, "classification")] == ["1", "-2.5"]


def test_different_numbers_of_lines_are_named(tmp_path):
    stem = write(tmp_path / "train", "a\nb\nc\n", "x\ny\n")
    assert refused(stem).startswith(f"{tmp_path / 'train.word'} has 3 lines and {tmp_path / 'train.label'} has 2")


@pytest.mark.parametrize("empty", ["", "  ", "\u00a0", "a ||| ", " ||| b"])
def test_an_empty_text_is_named(tmp_path, empty):
    stem = write(tmp_path / "train", f"{'p ||| q' if '|||' in empty else 'p'}\n{empty}\nlast", "x\ny\nz\n")
    assert refused(stem).startswith(f"{tmp_path / 'train.word'}, line 2: the text is empty")


def test_an_empty_label_is_named(tmp_path):
    stem = write(tmp_path / "train", "a\nb\nc\n", "x\n \nz\n")
    assert refused(stem).startswith(f"{tmp_path / 'train.label'}, line 2: the label is empty")
    assert refused(write(stem, "a\nb\n", "x\n\n")).startswith(f"{tmp_path / 'train.label'}, line 2: the label is empty")


@pytest.mark.parametrize("score", ["positive", "nan", "inf"])
@pytest.mark.parametrize("suffix", [".label", ".score"])
def test_a_bad_score_is_named(tmp_path, score, suffix):
    stem = write(tmp_path / "train", "a\nb\n", f"1\n{score}\n", suffix)
    assert refused(stem, "regression").startswith(f"{tmp_path / f'train{suffix}'}, line 2: the score is {score!r}")


def test_three_parts_and_mixtures_are_named(tmp_path):
    where = f"{tmp_path / 'train.word'}, line 2: "
    assert refused(write(tmp_path / "train", "a\nb ||| c ||| d\n", "x\ny\n")).startswith(where + "3 parts")
    assert refused(write(tmp_path / "train", "a\nb ||| c\n", "x\ny\n")).startswith(
        where + "a pair, but the lines before"
    )
    assert refused(write(tmp_path / "train", "b ||| c\na\n", "x\ny\n")).startswith(where + "a single sentence, but")


def test_a_missing_file_is_named(tmp_path):
    stem = write(tmp_path / "train", "a\n", "x\n")
    (tmp_path / "train.label").unlink()
    assert refused(stem).startswith(f"{tmp_path / 'train.label'} does not exist")
    (tmp_path / "train.word").unlink()
    assert refused(stem).startswith(f"{tmp_path / 'train.word'} does not exist")


def test_dev_is_read_where_it_exists(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / split, f"{split} sentence\n", "x\n")
    dataset = load_parallel(tmp_path, "classification")
    assert (dataset.name, dataset.kind) == ("parallel", "classification")
    assert dataset.splits == {split: [Example(f"{split} sentence", None, "x")] for split in ("train", "test")}
    write(tmp_path / "dev", "dev sentence\n", "x\n")
    assert load_parallel(tmp_path, "classification").splits["dev"] == [Example("dev sentence", None, "x")]
    (tmp_path / "dev.word").unlink()
    with pytest.raises(UserError, match=r"dev\.word does not exist"):
        load_parallel(tmp_path, "classification")


@pytest.mark.parametrize("split", ["test", "dev"])
def test_splits_that_differ_in_pairs_are_named(tmp_path, split):
    for name in ("train", "test", "dev"):
        write(tmp_path / name, "a ||| b\n" if name != split else "a\n", "x\n")
    with pytest.raises(UserError) as caught:
        load_parallel(tmp_path, "classification")
    assert str(caught.value).startswith(f"{tmp_path / f'{split}.word'} and {tmp_path / 'train.word'} disagree")


# Writing

text = st.text(st.sampled_from("ab |\v\f\x85\u2028\u00a0\"'\té🙂\ufeff"), min_size=1, max_size=12)
label = st.text(st.sampled_from("ab \u2028é"), min_size=1, max_size=4)
score = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("parallel")


def _odd(labels):
    try:
        refuse_odd_labels(labels, "here")
    except UserError:
        return True
    return False


@given(data=st.data(), pairs=st.booleans(), scored=st.booleans())
def test_what_is_written_reads_back_unchanged_or_is_refused(scratch, data, pairs, scored):
    example = st.builds(Example, text, text if pairs else st.none(), score if scored else label)
    examples = data.draw(st.lists(example, min_size=1, max_size=5))
    for path in scratch.iterdir():
        path.unlink()
    try:
        write_parallel(examples, scratch / "train")
    except UserError:
        texts = [t for e in examples for t in (e.text, e.pair) if t is not None]
        labels = [e.label for e in examples if isinstance(e.label, str)]
        faults = [
            any(not t.strip() or "|||" in t or t.startswith("\ufeff") for t in texts),
            any(lab != lab.strip() for lab in labels),
            _odd(labels),
            pairs and any(t.startswith("||") or t.endswith("||") for t in texts),
        ]
        assert any(faults), "refused without a reason"
        assert not list(scratch.iterdir())
    else:
        kind = "regression" if scored else "classification"
        assert read_parallel(scratch / "train", kind) == examples
        assert {path.name for path in scratch.iterdir()} == {"train.word", "train.score" if scored else "train.label"}


def test_the_format_is_the_originals(tmp_path):
    write_parallel([Example("a b", "c", "x"), Example("d", "e", "y")], tmp_path / "new" / "dev")
    assert (tmp_path / "new" / "dev.word").read_bytes() == b"a b ||| c\nd ||| e\n"
    assert (tmp_path / "new" / "dev.label").read_bytes() == b"x\ny\n"


@pytest.mark.parametrize(
    ("example", "problem"),
    [
        (Example("two\nlines", None, "x"), "holds a line break"),
        (Example("return\r", None, "x"), "holds a line break"),
        (Example("a", "two\nlines", "x"), "holds a line break"),
        (Example("a", None, "x\ny"), "holds a line break"),
        (Example("a ||| b", None, "x"), "holds the separator of pairs"),
        (Example("a |||", "b", "x"), "holds the separator of pairs"),
        (Example("a ||| b", "c", "x"), "3 parts"),
        (Example(" ", None, "x"), "the text is empty"),
        (Example("a", "", "x"), "the text is empty"),
        (Example("a", None, ""), "the label is empty"),
        (Example("a", None, "x "), "white space around it"),
        (Example("\ufeffa", None, "x"), "byte-order mark"),
        (Example("\ud800", None, "x"), "half a surrogate pair"),
        (Example("a", None, float("nan")), "the score is nan"),
        (Example("a", None, float("-inf")), "the score is -inf"),
    ],
)
def test_what_would_not_read_back_is_refused(tmp_path, example, problem):
    first = Example("first", None if example.pair is None else "b", "x" if isinstance(example.label, str) else 1.0)
    with pytest.raises(UserError) as caught:
        write_parallel([first, example], tmp_path / "train")
    assert str(caught.value).startswith(f"Example 1 for {tmp_path / 'train'}: ")
    assert problem in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("odd", [Example("b", "pair", "x"), Example("b", None, 1.0)])
def test_mixtures_are_not_written(tmp_path, odd):
    for examples in ([Example("a", None, "x"), odd], [odd, Example("a", None, "x")]):
        with pytest.raises(UserError, match=r"Example 1 for .* is not like the first one"):
            write_parallel(examples, tmp_path / "train")
    with pytest.raises(UserError, match="no examples"):
        write_parallel([], tmp_path / "train")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".word", ".label"])
def test_existing_files_are_kept_unless_told(tmp_path, suffix):
    path = tmp_path / f"train{suffix}"
    path.write_text("kept\n")
    with pytest.raises(UserError) as caught:
        write_parallel([Example("a", None, "x")], tmp_path / "train")
    assert str(caught.value).startswith(f"{path} exists and is kept")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["kept\n"]
    write_parallel([Example("a", None, "x")], tmp_path / "train", overwrite=True)
    assert read_parallel(tmp_path / "train", "classification") == [Example("a", None, "x")]


def test_labels_of_another_kind_beside_it_are_never_left_to_mislead(tmp_path):
    write_parallel([Example("a", None, 1.0)], tmp_path / "train")
    with pytest.raises(UserError, match=r"train\.score exists and would not fit"):
        write_parallel([Example("a", None, "x")], tmp_path / "train", overwrite=True)


def test_a_failed_write_leaves_the_old_files(tmp_path, monkeypatch):
    write_parallel([Example("old", None, "x")], tmp_path / "train")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("jaxred.io.files.os.replace", fail)
    with pytest.raises(UserError, match="disk full"):
        write_parallel([Example("new", None, "y")], tmp_path / "train", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["train.label", "train.word"]
    assert read_parallel(tmp_path / "train", "classification") == [Example("old", None, "x")]
