"""CoNLL-U, the format of Universal Dependencies (https://universaldependencies.org/format.html)."""

import re
from pathlib import Path

from jaxred.data.columns import Line, column_index, split_sentences
from jaxred.data.examples import LabelledSentence
from jaxred.data.labels import refuse_odd_labels
from jaxred.data.lines import class_name, parse_score
from jaxred.errors import UserError

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")

_WORD = re.compile(r"[1-9][0-9]*", re.ASCII)
_RANGE = re.compile(r"([1-9][0-9]*)-([1-9][0-9]*)", re.ASCII)
_EMPTY_NODE = re.compile(r"[0-9]+\.[1-9][0-9]*", re.ASCII)


def read_conllu(path: Path, label: str = "upos", kind: str = "classification") -> list[LabelledSentence]:
    """Reads a CoNLL-U file.

    A word is a syntactic word: the ranges of multiword tokens (`1-2`) and the empty nodes of enhanced dependencies
    (`1.1`) are skipped. A column that is not annotated (`_`) is a label like any other.

    Args:
        path: the file.
        label: the column of the labels: one of COLUMNS, or a number counted from 1.
        kind: classification, or regression, whose labels are numbers.

    Returns:
        The sentences, in file order.

    Raises:
        UserError: the file cannot be read as text or holds no words; a line does not have ten columns, its word or
            label is empty, or its ID does not follow the one before it.
    """
    sentences = []
    first_lines: dict[str, int] = {}  # of the cells of labels, with the white space that is taken off them
    for sentence in split_sentences(path, "tab", ("#",)):
        words, labels = [], []
        for line in sentence:
            if not _is_word(line, len(words), path):
                continue
            index = column_index(label, COLUMNS, path, line.number)
            form, cell = line.cells[1].strip(), line.cells[index].strip()
            if not form or not cell:
                missing = "form" if not form else COLUMNS[index]
                raise UserError(f"{path}, line {line.number}: {missing} is empty: fill it, or write an underscore.")
            words.append(form)
            first_lines.setdefault(line.cells[index], line.number)
            labels.append(
                parse_score(cell, path, line.number) if kind == "regression" else class_name(cell, path, line.number)
            )
        if words:
            sentences.append(LabelledSentence(tuple(words), tuple(labels), sentence[0].number))
    if not sentences:
        raise UserError(f"{path} holds no words, but one word per line is expected: check the file.")
    if kind == "classification":
        refuse_odd_labels(first_lines, path)
    return sentences


def _is_word(line: Line, n_words: int, path: Path) -> bool:
    """Whether a line is the next word, after `n_words` of them; ranges and empty nodes are no words."""
    if len(line.cells) != len(COLUMNS):
        raise UserError(
            f"{path}, line {line.number}: {len(line.cells)} columns separated by tabs, but CoNLL-U has {len(COLUMNS)} "
            f"({', '.join(COLUMNS)}): fix that line."
        )
    name = line.cells[0]
    if _WORD.fullmatch(name):
        if int(name) != n_words + 1:
            raise UserError(
                f"{path}, line {line.number}: word {name} does not follow word {n_words}: sentences are numbered from "
                "1, with an empty line between them; fix that line."
            )
        return True
    span = _RANGE.fullmatch(name)
    if not (_EMPTY_NODE.fullmatch(name) or (span and int(span[1]) < int(span[2]))):
        raise UserError(
            f"{path}, line {line.number}: the ID is {name!r}, but the number of a word (1), a range of words (1-2) or "
            "an empty node (1.1) is expected: fix that line."
        )
    return False
