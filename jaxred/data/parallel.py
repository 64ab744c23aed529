"""The original's parallel files: `train.word` and `train.label`, one example per line, `a ||| b` for a pair."""

import math
from collections.abc import Sequence
from pathlib import Path

from jaxred.data.examples import Dataset, Example
from jaxred.data.labels import refuse_odd_labels
from jaxred.data.lines import class_name, parse_score, read_lines
from jaxred.errors import UserError
from jaxred.io.files import replacing

PAIR_SEPARATOR = " ||| "


def load_parallel(data_dir: Path, kind: str) -> Dataset:
    """Reads the splits train, test and, where its files exist, dev of a folder.

    Args:
        data_dir: the folder with `train.word`, `train.label`, `test.word`, `test.label` (and `dev.word`, `dev.label`).
        kind: classification or regression.

    Returns:
        The dataset, with a `dev` split only where the folder has one.

    Raises:
        UserError: as `read_parallel` does, or where some splits hold pairs and others single sentences.
    """
    splits = {split: read_parallel(data_dir / split, kind) for split in ("train", "test")}
    if _file(data_dir / "dev", ".word").exists() or _labels_file(data_dir / "dev", kind).exists():
        splits["dev"] = read_parallel(data_dir / "dev", kind)
    for split, examples in splits.items():
        if (examples[0].pair is None) != (splits["train"][0].pair is None):
            raise UserError(
                f"{_file(data_dir / split, '.word')} and {_file(data_dir / 'train', '.word')} disagree: one holds "
                f"single sentences and the other pairs (a{PAIR_SEPARATOR}b); every split must hold the same."
            )
    return Dataset("parallel", kind, splits)


def read_parallel(stem: Path, kind: str) -> list[Example]:
    """Reads one split: line i of the text file with line i of the label file.

    White space around a label is not part of it; texts are kept as they are.

    Args:
        stem: the path without suffix, as `folder/train`.
        kind: classification (class names in `.label`) or regression (numbers in `.score` if that file exists, else in
            `.label`).

    Returns:
        The examples, in file order.

    Raises:
        UserError: the files cannot be read as text or have different numbers of lines; a text or label is empty; a
            score is not a finite number; a line has more than two parts, or some lines are pairs and others are not.
    """
    texts_path, labels_path = _file(stem, ".word"), _labels_file(stem, kind)
    texts, labels = read_lines(texts_path), read_lines(labels_path)
    if len(texts) != len(labels):
        raise UserError(
            f"{texts_path} has {len(texts)} lines and {labels_path} has {len(labels)}: both must have one line per "
            "example; fix the one that is wrong."
        )
    if kind == "classification":
        first_lines = {label: line for line, label in reversed([*enumerate(labels, start=1)]) if label.strip()}
        refuse_odd_labels(first_lines, labels_path)  # with the white space that is taken off them
    examples = []
    for line, (text_line, label_line) in enumerate(zip(texts, labels, strict=True), start=1):
        text, pair = _parse_texts(text_line, f"{texts_path}, line {line}")
        if examples and (pair is None) != (examples[0].pair is None):
            kind_of_line = "single sentence" if pair is None else "pair"
            raise UserError(
                f"{texts_path}, line {line}: a {kind_of_line}, but the lines before it are not; write every line as "
                f"one sentence, or every line as a pair (a{PAIR_SEPARATOR}b)."
            )
        label = _parse_label(label_line, f"{labels_path}, line {line}")
        parse = parse_score if kind == "regression" else class_name
        examples.append(Example(text, pair, parse(label, labels_path, line)))
    return examples


def write_parallel(examples: Sequence[Example], stem: Path, *, overwrite: bool = False) -> None:
    """Writes one split as parallel files that `read_parallel` reads back unchanged.

    Class names go to `.label`, scores to `.score`. Both are written in full under temporary names and then renamed.

    Args:
        examples: at least one; all single sentences or all pairs, all class names or all scores.
        stem: the path without suffix, as `folder/train`; the folder is made where missing.
        overwrite: replace files that exist.

    Raises:
        UserError: a file exists, or an example cannot be written so that it reads back unchanged: a text or class name
            that is empty or holds a line break, a text that holds ' ||| ', a score that is not finite.
    """
    if not examples:
        raise UserError(f"There are no examples to write to {stem}: give at least one.")
    scored = not isinstance(examples[0].label, str)
    texts_path, labels_path = _file(stem, ".word"), _file(stem, ".score" if scored else ".label")
    other_path = _file(stem, ".label" if scored else ".score")
    if other_path.exists():
        raise UserError(f"{other_path} exists and would not fit {texts_path}: remove it, or choose another name.")
    for path in (texts_path, labels_path):
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists and is kept: remove it, choose another name, or pass overwrite=True.")

    lines = [_format(example, f"Example {i} for {stem}") for i, example in enumerate(examples)]
    for i, example in enumerate(examples):
        if isinstance(example.label, str) == scored or (example.pair is None) != (examples[0].pair is None):
            raise UserError(
                f"Example {i} for {stem} is not like the first one: give only single sentences or only pairs, and only "
                "class names or only scores."
            )
    refuse_odd_labels((example.label for example in examples), f"The examples for {stem}")
    with replacing([texts_path, labels_path]) as files:
        for file, file_lines in zip(files, zip(*lines, strict=True), strict=True):
            file.write("".join(f"{line}\n" for line in file_lines).encode())


def _file(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)


def _labels_file(stem: Path, kind: str) -> Path:
    scores = _file(stem, ".score")
    return scores if kind == "regression" and scores.exists() else _file(stem, ".label")


def _parse_texts(line: str, where: str) -> tuple[str, str | None]:
    parts = line.split(PAIR_SEPARATOR)
    if len(parts) > 2:
        raise UserError(
            f"{where}: {len(parts)} parts separated by {PAIR_SEPARATOR!r}, but one sentence or a pair is expected: "
            "fix that line."
        )
    if not all(part.strip() for part in parts):
        raise UserError(
            f"{where}: the text is empty, but a sentence is expected: fill it, or remove the line and its label."
        )
    return parts[0], parts[1] if len(parts) == 2 else None


def _parse_label(line: str, where: str) -> str:
    label = line.strip()
    if not label:
        raise UserError(f"{where}: the label is empty, but one is expected: fill it, or remove the line and its text.")
    return label


def _format(example: Example, where: str) -> tuple[str, str]:
    """The text line and the label line of an example; rejects what would not read back unchanged."""
    text = example.text if example.pair is None else f"{example.text}{PAIR_SEPARATOR}{example.pair}"
    label = example.label if isinstance(example.label, str) else repr(float(example.label))
    for line in (text, label):
        if "\n" in line or "\r" in line:
            raise UserError(
                f"{where}: {line[:80]!r} holds a line break, which a file of lines cannot hold: replace it."
            )
        if line.startswith("\ufeff"):
            raise UserError(f"{where}: {line[:80]!r} starts with a byte-order mark, which would be lost: remove it.")
        try:
            line.encode("utf-8")
        except UnicodeEncodeError:
            raise UserError(
                f"{where}: {line[:80]!r} holds half a surrogate pair, which is not UTF-8: fix it."
            ) from None
    if _parse_texts(text, where) != (example.text, example.pair):
        raise UserError(f"{where}: a text holds the separator of pairs, {PAIR_SEPARATOR!r}, or part of it: replace it.")
    if isinstance(example.label, str):
        if _parse_label(label, where) != label:
            raise UserError(
                f"{where}: the class name {label!r} has white space around it, which would be lost: remove it."
            )
    elif not math.isfinite(float(example.label)):
        raise UserError(f"{where}: the score is {label}, but a finite number is expected: fix or remove it.")
    return text, label
