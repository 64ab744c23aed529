"""Files of texts to files of predictions: in order, whole or not at all, bad rows by their line."""

import csv
import io
import json
import sys

import numpy as np
import pytest
from helpers import small_models
from helpers.small_models import TEXTS, random_model

from jaxred.errors import UserError
from jaxred.reduced.prediction_files import predict_file
from jaxred.reduced.text_files import open_texts


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small_models.write_encoder(tmp_path_factory.mktemp("source") / "encoder", "bert")


@pytest.fixture(scope="module")
def model(source):
    return random_model(source, 1, pooling="mean", window_rows=16)


@pytest.fixture(scope="module")
def labels(model):
    return model.predict(TEXTS)


def write_input(folder, suffix, texts=TEXTS, labels=None, names=("text", "label")):
    path = folder / f"in{suffix}"
    rows = [{names[0]: text, **({names[1]: labels[i]} if labels else {})} for i, text in enumerate(texts)]
    if suffix == ".txt":
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == ".parquet":
        import pandas as pd

        pd.DataFrame(rows).to_parquet(path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def read_output(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="," if path.suffix == ".csv" else "\t"))


@pytest.mark.parametrize("given", [".csv", ".tsv", ".jsonl", ".parquet", ".txt"])
@pytest.mark.parametrize("made", [".csv", ".tsv", ".jsonl"])
def test_every_row_in_its_order(given, made, model, labels, tmp_path):
    output = tmp_path / f"out{made}"
    assert predict_file(model, open_texts(write_input(tmp_path, given)), str(output)) is None
    rows = read_output(output)
    assert [row["text"] for row in rows] == TEXTS
    assert [row["label"] for row in rows] == labels
    assert set(rows[0]) == {"text", "label"}


def test_probabilities_and_the_score(model, labels, tmp_path):
    wrong = ["odd" if label != "odd" else "bad" for label in labels[:6]]
    path = write_input(tmp_path, ".csv", labels=[*wrong, *labels[6:]], names=("review", "sentiment"))
    score = predict_file(model, open_texts(path), str(tmp_path / "out.csv"), proba=True)
    assert score == pytest.approx(1 - 6 / len(TEXTS))
    rows = read_output(tmp_path / "out.csv")
    found = [[float(row[f"p_{name}"]) for name in model.classes] for row in rows]
    np.testing.assert_allclose(found, model.predict_proba(TEXTS), atol=1e-6)
    assert list(rows[0]) == ["review", "label", "p_bad", "p_good", "p_odd"]


def test_labels_of_other_classes_give_no_score(model, tmp_path, caplog):
    path = write_input(tmp_path, ".csv", labels=["new"] * len(TEXTS))
    assert predict_file(model, open_texts(path), str(tmp_path / "out.csv")) is None
    assert "There is no score: 60 label(s) are none of the 3 classes" in caplog.text


def test_columns_by_name_and_by_number(model, tmp_path):
    path = tmp_path / "in.tsv"
    path.write_text("id\tbody\tother\n1\ta film\tb\n")
    assert list(open_texts(str(path), "body").rows) == [("a film",)]
    assert list(open_texts(str(path), "body", "other").rows) == [("a film", "b")]
    assert len(list(open_texts(str(path), "2").rows)) == 2  # columns by number: no header
    with pytest.raises(UserError, match=r"no column that is called 'text'.*: name them as `text_column`\."):
        open_texts(str(path))
    with pytest.raises(UserError, match=r"there is no column 'x'.* as `text_column`"):
        open_texts(str(path), "x")


def test_words_have_a_row_each(source, tmp_path):
    model = random_model(source, 1, rows="word", pooling="first")
    path = write_input(tmp_path, ".txt", ["a fine film", "dull"])
    predict_file(model, open_texts(path), str(tmp_path / "out.tsv"), proba=True)
    rows = read_output(tmp_path / "out.tsv")
    assert [(row["sentence"], row["word"]) for row in rows] == [("1", "a"), ("1", "fine"), ("1", "film"), ("2", "dull")]
    assert [row["label"] for row in rows] == [
        label for labels in model.predict([["a", "fine", "film"], ["dull"]]) for label in labels
    ]
    assert sum(float(rows[0][f"p_{name}"]) for name in model.classes) == pytest.approx(1)


def test_regression_writes_scores(source, tmp_path):
    model = random_model(source, 1, classes=(), pooling="mean")
    values = model.predict(TEXTS)
    path = write_input(tmp_path, ".jsonl", labels=values, names=("text", "score"))
    assert predict_file(model, open_texts(path), str(tmp_path / "out.jsonl")) == pytest.approx(1)
    np.testing.assert_allclose([row["score"] for row in read_output(tmp_path / "out.jsonl")], values)
    with pytest.raises(UserError, match="Probabilities are of classes"):
        predict_file(model, open_texts(path), str(tmp_path / "p.csv"), proba=True)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.txt", b"a\n\nb\n", "in.txt, line 2 is empty"),
        ("in.txt", b"a\n\xff\n", "in.txt, line 2: byte 0xff is not valid UTF-8"),
        ("in.csv", b"text\na\n  \n", "in.csv, line 3: the text .* is empty"),
        ("in.jsonl", b'{"text": "a"}\n{"text": 3}\n', "in.jsonl, line 2: the text .* is 3, but a text is expected"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(name, content, words, model, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        predict_file(model, open_texts(str(tmp_path / name)), str(tmp_path / "out.csv"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_cannot_be_read_or_written_is_named(model, tmp_path):
    with pytest.raises(UserError, match=r"in.doc has none of the suffixes"):
        open_texts(str(tmp_path / "in.doc"))
    with pytest.raises(UserError, match="does not exist"):
        open_texts(str(tmp_path / "none.txt"))
    path = write_input(tmp_path, ".txt", TEXTS[:2])
    with pytest.raises(UserError, match=r"out.doc has none of the suffixes that are written"):
        predict_file(model, open_texts(path), str(tmp_path / "out.doc"))
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        predict_file(model, open_texts(path), str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text() == "mine"
    predict_file(model, open_texts(path), str(tmp_path / "out.csv"), overwrite=True)
    assert len(read_output(tmp_path / "out.csv")) == 2


def test_the_standard_streams(model, labels, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("".join(f"{t}\r\n" for t in TEXTS[:3]).encode())))
    predict_file(model, open_texts("-"), "-")
    lines = [f"{text}\t{label}" for text, label in zip(TEXTS[:3], labels[:3], strict=True)]
    assert capsys.readouterr().out.splitlines() == ["text\tlabel", *lines]
