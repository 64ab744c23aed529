"""Tables of every format give the same examples; columns, headers and labels are found or asked for."""

import csv
import json
import math
import re
import runpy
import textwrap
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.saved_dataset import save_dataset, save_split
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.config import TaskConfig
from jaxred.data import load_task
from jaxred.data.examples import Example
from jaxred.data.table import hold_out, load_table
from jaxred.data.table_files import SUFFIXES
from jaxred.data.table_values import class_of, score_of
from jaxred.errors import UserError
from jaxred.validation import validate

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "saved")


def write(folder, split, columns, suffix="csv"):
    """One split of a dictionary of columns, in any format."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{split}.{suffix}"
    rows = list(zip(*columns.values(), strict=True))
    if suffix in ("csv", "tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, "excel" if suffix == "csv" else "excel-tab").writerows([columns, *rows])
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    elif suffix == "json":
        path.write_text(json.dumps([dict(zip(columns, row, strict=True)) for row in rows]))
    elif suffix == "parquet":
        pq.write_table(pa.table(columns), path)
    else:
        save_split(folder / split, pa.table(columns), {})


def load(path, kind="classification", **fields):
    return load_table(TaskConfig(name="table", kind=kind, data_dir=str(path), **fields), path)


def refused(path, kind="classification", **fields):
    with pytest.raises(UserError) as caught:
        load(path, kind, **fields)
    return str(caught.value).replace(f"{path}/", "")


TEXT = st.text(st.one_of(st.sampled_from('",;\t\n ab\ufeff\u2028\x85'), st.characters(codec="utf-8")), min_size=1)
TEXTS = st.lists(TEXT.filter(str.strip), min_size=1, max_size=6)


@given(texts=TEXTS, pairs=st.booleans(), scored=st.booleans(), data=st.data())
@settings(deadline=None, max_examples=60)
def test_every_format_gives_the_same_examples(tmp_path_factory, texts, pairs, scored, data):
    columns = {"id": list(range(len(texts))), "text": texts}
    if pairs:
        columns["text_pair"] = texts[::-1]
    label = st.floats(-1e6, 1e6) if scored else st.integers(-3, 300)
    columns["label"] = data.draw(st.lists(label, min_size=len(texts), max_size=len(texts)))
    labels = columns["label"] if scored else list(map(str, columns["label"]))
    expected = [Example(*row) for row in zip(texts, columns.get("text_pair", [None] * len(texts)), labels, strict=True)]
    for suffix in FORMATS:
        folder = tmp_path_factory.getbasetemp() / f"same_{suffix}"
        for split in ("train", "test"):
            write(folder, split, columns, suffix)
        if suffix == "saved":
            (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
        dataset = load(folder, "regression" if scored else "classification")
        assert dataset.splits == {"train": expected, "test": expected}
        assert dataset.name == "table"


REVIEWS = {"text": [f"text {i}" for i in range(12)], "label": ["good", "bad", "fair"] * 4}


@pytest.mark.parametrize("suffix", FORMATS[:-1])
def test_a_task_of_ones_own(tmp_path, suffix, caplog):
    for split in ("train", "test", "dev"):
        write(tmp_path, split, REVIEWS, suffix)
    with caplog.at_level("INFO", "jaxred"):
        dataset = load_task(TaskConfig(name="table", data_dir=str(tmp_path)))
    assert set(dataset.splits) == {"train", "test", "dev"}
    assert f"train.{suffix}: 12 rows; text from column 'text', label from 'label'; " in caplog.text


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("review", "stars"), None),
        (("sentence", "target"), ("a", None, "x")),
        (("Text", "Label"), ("a", None, "x")),
        (("text", "sentence", "label", "labels"), ("a", None, "c")),
        (("sentence1", "sentence2", "score"), ("a", "b", "c")),
        (("premise", "hypothesis", "label"), ("a", "b", "c")),
        (("question", "sentence", "label"), ("a", "b", "c")),
        (("sentence", "review", "label"), None),
        (("sentence1", "sentence2", "review", "label"), None),
        (("sentence", "target", "class"), None),
        (("text", "content", "label_text"), None),
        (("text", "text", "label"), None),
    ],
)
def test_usual_names_are_taken_where_no_other_column_could_be_meant(tmp_path, names, expected):
    cells = ["a", "b", "c", "d"][: len(names)] if len(names) > 2 else ["a", "x"]
    (tmp_path / "train.csv").write_text("\n".join(",".join(row) for row in [names, *[cells] * 3]))
    (tmp_path / "test.csv").write_text((tmp_path / "train.csv").read_text())
    if expected is None:
        assert "config.task." in refused(tmp_path)
    else:
        assert load(tmp_path).splits["train"][0] == Example(*expected)


def test_columns_by_name_and_by_number(tmp_path):
    columns = {"id": ["i", "j"], "title": ["t", "u"], "body": ["b", "c"], "stars": [1, 2]}
    for suffix in ("csv", "parquet", "jsonl"):
        write(tmp_path / suffix, "train", columns, suffix)
        write(tmp_path / suffix, "test", columns, suffix)
        by_name = load(tmp_path / suffix, text_column="title", text_pair_column="body", label_column="stars")
        assert by_name.splits["train"] == [Example("t", "b", "1"), Example("u", "c", "2")]
        by_number = load(tmp_path / suffix, text_column="2", text_pair_column="3", label_column="4")
        assert by_number.splits == by_name.splits
        message = refused(tmp_path / suffix, text_column="text", label_column="stars")
        assert message.startswith(f"train.{suffix}: there is no column 'text'; its columns are 'id', 'title', 'body'")
        assert "no column '5'" in refused(tmp_path / suffix, text_column="5", label_column="stars")
        assert "would be used twice" in refused(tmp_path / suffix, text_column="body", label_column="3")


def test_a_file_without_header_is_detected(tmp_path, caplog):
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text('1,a fine film\n0,dull\n1,fine\n0,"dull, too"\n')
    message = refused(tmp_path)
    assert message.startswith("train.csv has no header: its first line holds '1', 'a fine film'; add a first line")
    assert "as config.task.text_column and config.task.label_column" in message
    with caplog.at_level("INFO", "jaxred"):
        dataset = load(tmp_path, text_column="2", label_column="1")
    assert dataset.splits["train"][0] == Example("a fine film", None, "1")
    assert len(dataset.splits["train"]) == 4
    assert "train.csv: 4 rows; text from column 2, label from 1; no header" in caplog.text
    assert len(load(tmp_path, "regression", text_column="2", label_column="1").splits["train"]) == 4


def test_a_header_is_no_example_where_columns_are_numbers(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("stars,review\n1,a fine film\n0,dull\n")
    for kind in ("classification", "regression"):
        splits = load(tmp_path, kind, text_column="2", label_column="1").splits
        assert [example.text for example in splits["train"]] == ["a fine film", "dull"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("row", "words"), [("text", "the text (column 'text') is empty"), ("label", "the label is empty")]
)
def test_empty_cells_are_named(tmp_path, suffix, row, words):
    write(
        tmp_path, "train", {name: [*cells[:5], None if name == row else "x"] for name, cells in REVIEWS.items()}, suffix
    )
    where = {"csv": "line 7", "jsonl": "line 6", "parquet": "row 6"}[suffix]
    assert refused(tmp_path).startswith(f"train.{suffix}, {where}: {words}")


def test_a_line_break_in_quotes_does_not_shift_the_lines(tmp_path):
    (tmp_path / "train.csv").write_text('text,label\n"two\nlines",a\nx,\n')
    assert refused(tmp_path).startswith("train.csv, line 4: the label is empty")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("1", "1"), (1, "1"), (1.0, "1"), ("1.0", "1"), (" 1 ", "1"), (Decimal("1.00"), "1"), (-0.0, "0"),
        ("-0.0", "0"), (0.5, "0.5"), ("0.5", "0.5"), (Decimal("0.50"), "0.5"), (True, "True"), ("True", "True"),
        ("01", "01"),
        ("01.0", "01.0"), ("1.", "1."), ("1.0.0", "1.0.0"), ("None", "None"), (2**63, str(2**63)), ("-3.00", "-3"),
    ],
)  # fmt: skip
def test_a_class_is_the_same_in_every_format(label, name):
    assert class_of(label, "here") == name


@pytest.mark.parametrize("label", [None, "", "  ", "nan", "NaN", math.nan, math.inf, [1], {"a": 1}, "x" * 1001])
def test_what_is_no_class(label):
    with pytest.raises(UserError, match=r"^here: the label "):
        class_of(label, "here")


@pytest.mark.parametrize(("label", "score"), [(1, 1.0), ("-2.5e1", -25.0), (" 3 ", 3.0), (Decimal("0.1"), 0.1)])
def test_a_score_is_a_number(label, score):
    assert score_of(label, "here") == score


@pytest.mark.parametrize("label", [None, "", "good", "1_0", True, math.nan, "inf", [1], 10**400])
def test_what_is_no_score(label):
    with pytest.raises(UserError, match=r"^here: the score is "):
        score_of(label, "here")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_texts_that_are_numbers_are_named(tmp_path, suffix):
    write(tmp_path, "train", {"text": [1, 2], "label": ["a", "b"]}, suffix)
    assert "(column 'text') is 1, but a text is expected" in refused(tmp_path)


def test_many_numbers_are_scores(tmp_path, caplog):
    texts = [f"text {i}" for i in range(120)]
    write(tmp_path, "test", REVIEWS)
    write(tmp_path, "train", {"text": texts, "label": [i / 8 for i in range(120)]})
    message = refused(tmp_path)
    assert "the labels are 120 different numbers" in message
    assert "config.task.kind=regression config.task.metric=pearson_and_spearman" in message
    write(tmp_path, "train", {"text": texts, "label": [i % 60 for i in range(120)]})
    load(tmp_path)
    assert "60 different numbers, and each is taken as a class: if they are scores, pass config.task" in caplog.text
    caplog.clear()
    write(tmp_path, "train", {"text": texts, "label": [i % 5 for i in range(120)]})
    load(tmp_path)
    assert not caplog.text


def test_labels_that_look_alike_are_named_by_line(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\na,caf\u00e9\nb,cafe\u0301\n")
    assert refused(tmp_path).startswith("train.csv, line ")


def test_names_of_classes_of_datasets(tmp_path, caplog):
    train = pa.table({"text": REVIEWS["text"], "label": [0, 1, 1] * 4})
    hidden = pa.table({"text": ["x", "y"], "label": [-1, -1]})
    names = {"label": ["bad", "good"]}
    save_dataset(tmp_path, {"train": train, "validation": train, "test": hidden}, names, n_files=2)
    message = refused(tmp_path)
    assert "has no labels, as all of them are -1: name a split that has some as config.task.test_split" in message
    with caplog.at_level("INFO", "jaxred"):
        splits = load(tmp_path, test_split="validation").splits
    assert [example.label for example in splits["test"][:3]] == ["bad", "good", "good"]
    assert len(splits["test"]) == 12
    assert "label from 'label' (classes: bad, good)" in caplog.text
    assert "holds classes (bad, good), but config.task.kind is 'regression'" in refused(tmp_path, "regression")
    save_split(tmp_path / "test", pa.table({"text": ["x", "y"], "label": [1, 2]}), names)
    assert "row 2: the label is 2, but the number of one of the 2 classes" in refused(tmp_path)


def test_splits_that_differ_in_pairs(tmp_path):
    write(tmp_path, "train", {"text": ["a"], "label": ["x"]})
    write(tmp_path, "test", {"text": ["a"], "text_pair": ["b"], "label": ["x"]})
    assert "test and train disagree" in refused(tmp_path)


def test_a_test_file_without_labels(tmp_path):
    write(tmp_path, "train", REVIEWS)
    write(tmp_path, "test", {"id": [1, 2], "text": ["a", "b"]})
    message = refused(tmp_path)
    assert message.startswith("test.csv has no column that is called 'label'; its columns are 'id', 'text'")
    assert "name another as config.task.test_split" in message


def test_a_header_alone(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n")
    assert "has no examples" in refused(tmp_path)


# One file alone


def test_test_is_held_out_of_a_single_file(tmp_path, caplog):
    columns = {"text": [f"text {i}" for i in range(100)], "label": ["a", "b", "b", "b"] * 25}
    write(tmp_path, "reviews", columns)
    write(tmp_path, "train", columns)
    path = tmp_path / "reviews.csv"
    with caplog.at_level("INFO", "jaxred"):
        splits = load(path).splits
    assert Counter(example.label for example in splits["test"]) == {"a": 5, "b": 15}
    assert sorted(splits["train"] + splits["test"]) == sorted(load(path, test_fraction=0.5).splits["train"] + load(
        path, test_fraction=0.5).splits["test"])  # fmt: skip
    assert (
        "80 rows are train, and 20 are held out as test (task.test_fraction=0.2, task.split_seed=7361)" in caplog.text
    )
    assert load(path).splits == splits == load(tmp_path).splits
    assert load(path, split_seed=1).splits != splits


LABELS = st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abc")), min_size=1, max_size=40)


@given(rows=LABELS, share=st.floats(0.01, 0.99), scored=st.booleans())
def test_what_is_held_out(rows, share, scored):
    examples = [Example(str(text), None, float(ord(label)) if scored else label) for text, label in rows]
    try:
        train, test = hold_out(examples, share, 3)
    except UserError as error:
        assert str(error).startswith("config.task.test_fraction=")  # noqa: PT017
        return
    assert sorted(train + test) == sorted(examples)
    assert [e for e in examples if e in train] == train
    assert train
    assert test
    assert not {example.text for example in train} & {example.text for example in test}


def test_a_class_of_one_text_stays_in_train():
    examples = [Example(f"{i}", None, "ab"[i % 2]) for i in range(20)] + [Example("only", None, "c")] * 2
    for seed in range(5):
        assert {example.label for example in hold_out(examples, 0.3, seed)[1]} == {"a", "b"}


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_share_that_leaves_nothing(share):
    examples = [Example(f"{i}", None, "ab"[i % 2]) for i in range(20)]
    with pytest.raises(UserError, match=r"test_fraction=0\.\d+ of 20 different texts"):
        hold_out(examples, share, 3)


@pytest.mark.shared
@pytest.mark.parametrize(("task", "kind"), [("SST-2", "classification"), ("STS-B", "regression")])
def test_glue_files_are_tables(real_data, task, kind):
    glue = load_task(TaskConfig(task, kind, str(real_data / "glue")))
    table = load_task(TaskConfig("table", kind, str(real_data / "glue" / task), test_split="dev"))
    assert table.splits == glue.splits


def test_the_page_shows_what_is_read(tmp_path, caplog):
    page = (Path(__file__).parents[2] / "docs" / "your-data.md").read_text()
    example = re.search(r"\n((?:    .+\n)*?    text,label\n(?:    .+\n)+)", page)[1]
    rows = textwrap.dedent(example).split("\n", 1)[1]
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text(rows)
    with caplog.at_level("INFO", "jaxred"):
        splits = load(tmp_path).splits
    assert splits["train"] == [Example('A fine, "quiet" film.', None, "good"), Example("Dull.", None, "bad")]
    line = re.search(r"    (train\.csv: .*)", page)[1]
    assert line.replace("1,200", "2") in caplog.text
    assert all(f"`{suffix}`" in page for suffix in SUFFIXES)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_configuration_is_possible(kind):
    namespace = runpy.run_path(str(Path(__file__).parents[2] / "configs" / "table.py"))
    config = namespace["get_config"](kind)
    validate(config)
    assert (config.task.name, config.task.kind) == ("table", kind)
