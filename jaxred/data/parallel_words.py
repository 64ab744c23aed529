"""The original's parallel files of words: `train.word`, one sentence per line, `train.label`, one label per word."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxred.data.examples import LabelledSentence
from jaxred.data.labels import refuse_odd_labels, split_labels
from jaxred.data.lines import class_name, parse_score, read_lines
from jaxred.errors import UserError
from jaxred.io.files import replacing

MOST_DROPPED = 99  # sentences of a split whose numbers of words and labels may disagree, as in the original


class ParallelWords(NamedTuple):
    """The sentences of a split, and the lines of those that are left out."""

    sentences: list[LabelledSentence]
    dropped: list[int]


def read_parallel_words(stem: Path, kind: str = "classification") -> ParallelWords:
    """Reads one split: the words of line i with the labels of line i, both separated by white space.

    A line whose numbers of words and labels disagree is left out, as in the original, and listed; lines that are
    empty in both files are no sentences.

    Args:
        stem: the path without suffix, as `folder/train`.
        kind: classification, or regression, whose labels are numbers.

    Raises:
        UserError: the files cannot be read as text, have different numbers of lines, hold no words, or disagree in more
            than MOST_DROPPED lines; a score is not a finite number.
    """
    words_path, labels_path = (stem.with_name(stem.name + suffix) for suffix in (".word", ".label"))
    texts, labels = read_lines(words_path), read_lines(labels_path)
    if len(texts) != len(labels):
        raise UserError(
            f"{words_path} has {len(texts)} lines and {labels_path} has {len(labels)}: both must have one line per "
            "sentence; fix the one that is wrong."
        )
    sentences, dropped = [], []
    for line, (text, tags) in enumerate(zip(texts, labels, strict=True), start=1):
        words, word_labels = text.split(), split_labels(tags, f"{labels_path}, line {line}")
        if len(words) != len(word_labels):
            dropped.append((line, len(words), len(word_labels)))
        elif words:
            parse = parse_score if kind == "regression" else class_name
            parsed = [parse(tag, labels_path, line) for tag in word_labels]
            sentences.append(LabelledSentence(tuple(words), tuple(parsed), line))
    if len(dropped) > MOST_DROPPED or (dropped and not sentences):
        line, n_words, n_labels = dropped[0]
        raise UserError(
            f"{len(dropped)} of {len(texts)} lines of {words_path} and {labels_path} do not have one label per word "
            f"(line {line} has {n_words} words and {n_labels} labels), but at most {MOST_DROPPED} may be left out: "
            "check that both are of the same sentences."
        )
    if not sentences:
        raise UserError(f"{words_path} holds no words, but one sentence per line is expected: check the file.")
    return ParallelWords(sentences, [line for line, *_ in dropped])


def write_parallel_words(sentences: Sequence[LabelledSentence], stem: Path, *, overwrite: bool = False) -> None:
    """Writes one split as parallel files, one sentence per line; a space inside a word or label becomes `~`, as in PMB.

    Args:
        sentences: at least one, all of class names or all of scores.
        stem: the path without suffix, as `folder/train`; the folder is made where missing.
        overwrite: replace files that exist.

    Raises:
        UserError: a file exists, there are no sentences, or a word or label is empty.
    """
    paths = [stem.with_name(stem.name + suffix) for suffix in (".word", ".label")]
    for path in paths:
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists and is kept: choose another folder, or pass overwrite=True to replace it.")
    if not sentences:
        raise UserError(f"There are no sentences to write to {stem}: give at least one.")
    lines: tuple[list[str], list[str]] = [], []
    refuse_odd_labels((label for sentence in sentences for label in sentence.labels), f"The sentences for {stem}")
    written: dict[str, str] = {}
    for sentence in sentences:
        for cells, file_lines in zip((sentence.words, sentence.labels), lines, strict=True):
            spaced = ["~".join(str(cell).split()) for cell in cells]
            if "" in spaced:
                raise UserError(
                    f"The sentence at line {sentence.line} for {stem} has an empty word or label, which a file of "
                    "words cannot hold: leave the sentence out."
                )
            file_lines.append(" ".join(spaced))
        for label, cell in zip(sentence.labels, lines[1][-1].split(" "), strict=True):
            if isinstance(label, str) and written.setdefault(cell, label) != label:
                raise UserError(
                    f"The labels {written[cell]!r} and {label!r} for {stem} would both be written as {cell!r}: rename "
                    "one of them."
                )
    stem.parent.mkdir(parents=True, exist_ok=True)
    with replacing(paths) as files:
        for file, file_lines in zip(files, lines, strict=True):
            file.write("".join(f"{line}\n" for line in file_lines).encode())
