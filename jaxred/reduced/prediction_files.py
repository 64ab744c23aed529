"""A file of texts to a file of predictions."""

import csv
import io
import json
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from jaxred.errors import UserError
from jaxred.io.files import replace_file
from jaxred.io.paths import local
from jaxred.io.progress import progress_bar
from jaxred.reduced.model import ReducedModel
from jaxred.reduced.text_files import STANDARD, TextFile

log = logging.getLogger("jaxred")

SUFFIXES = (".csv", ".tsv", ".jsonl")


def predict_file(
    model: ReducedModel, texts: TextFile, output: str, proba: bool = False, overwrite: bool = False
) -> float | None:
    """Writes the prediction for each text, whole or not at all, in the order of the texts.

    A row is a text with its label (or score); of a task of labelled words it is a word, with the number of its
    sentence. Words of a sentence are separated by white space.

    Args:
        model: the model.
        texts: the texts.
        output: a file, by its suffix .csv, .tsv or .jsonl; `-` is the standard output, of tab-separated columns.
        proba: add a column for the probability of each class, `p_CLASS`.
        overwrite: replace a file.

    Returns:
        The score, where the texts have labels that can be compared.

    Raises:
        UserError: a row has no text, the output is there already or of an unknown kind, or it cannot be written.
    """
    if proba and not model.classes:
        raise UserError("Probabilities are of classes, but the task is regression: leave them out.")
    words = model.facts.rows == "word"
    columns = [*(("sentence", "word") if words else texts.names), "label" if model.classes else "score"]
    columns += [f"p_{name}" for name in model.classes] if proba else []
    if len({*columns}) < len(columns):
        raise UserError(f"Two columns would have one name ({', '.join(columns)}): rename that of the texts.")
    predictions: list[Any] = []

    def rows() -> Iterator[list[Any]]:
        for number, (text, outputs) in enumerate(_together(model, texts), 1):
            found = model.label(outputs)
            if texts.labels is not None:
                predictions.append(found)
            shares = model.probabilities(outputs) if proba else None
            if words:
                for i, word in enumerate(text[0].split()):
                    yield [number, word, found[i], *(_numbers(shares[i]) if shares is not None else [])]
            else:
                yield [*text, found, *(_numbers(shares) if shares is not None else [])]

    _write(output, columns, rows, overwrite)
    if texts.labels is None:
        return None
    labels = [str(label).split() for label in texts.labels] if words else texts.labels
    try:
        return model.score_of(predictions, labels)
    except UserError as error:
        log.warning("There is no score: %s", error)
        return None


def _together(model: ReducedModel, texts: TextFile) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Each text with its outputs; the model reads texts ahead."""
    read: deque[tuple[str, ...]] = deque()

    def given() -> Iterator[Any]:
        for row in texts.rows:
            read.append(row)
            yield row[0].split() if model.facts.rows == "word" else row if len(row) == 2 else row[0]

    with progress_bar(texts.n_rows, "predict", "texts") as bar:
        for outputs in model.outputs(given()):
            yield read.popleft(), outputs
            bar.update()


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _write(output: str, columns: list[str], rows: Callable[[], Iterator[list[Any]]], overwrite: bool) -> None:
    if output == STANDARD:
        _write_delimited(sys.stdout, columns, rows(), "\t")
        return
    path = local(output, "output")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{output} has none of the suffixes that are written ({', '.join(SUFFIXES)}): choose one.")
    if os.path.lexists(path) and (not overwrite or not path.is_file()):
        raise UserError(f"{output} is there already: choose another place, or pass overwrite=True to replace the file.")

    def write(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        if suffix == ".jsonl":
            for row in rows():
                text.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")
        else:
            _write_delimited(text, columns, rows(), "," if suffix == ".csv" else "\t")
        text.flush()
        text.detach()

    replace_file(path, write)


def _write_delimited(file: Any, columns: list[str], rows: Iterator[list[Any]], separator: str) -> None:
    writer = csv.writer(file, delimiter=separator, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
