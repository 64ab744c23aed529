"""Which vectors of a file of activations become rows of a store, and their labels.

A row is a sentence or a word. Sentences are left out as in the original, but counted and named.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxred.activations.files.sentences import SentenceFile, open_sentences
from jaxred.data.labels import refuse_odd_labels, split_labels
from jaxred.data.lines import class_name, parse_score, read_lines
from jaxred.errors import UserError

log = logging.getLogger("jaxred")

MOST_DROPPED = 99  # sentences of a file whose numbers of tokens, words and labels may disagree, as in the original
UNLABELLED = "unlabelled"  # the class of all rows, where there are no labels


@dataclass(frozen=True)
class Rows:
    """The rows of a file, in the order of the file."""

    of_words: bool  # whether a row is a word, and not a sentence
    sentence_index: Int[np.ndarray, " row"]  # the line of the row's sentence
    word_index: Int[np.ndarray, " row"]  # the row's word in its sentence; 0 for sentences
    entries: Int[np.ndarray, " row"]  # the row's sentence in the file of activations; ascending
    labels: list[Any]  # [row], a class name or a score
    notes: dict[str, Any]  # how many sentences were left out, and which

    def take(self, rows: np.ndarray) -> "Rows":
        """Some of the rows."""
        labels = [self.labels[row] for row in rows]
        arrays = self.sentence_index[rows], self.word_index[rows], self.entries[rows]
        return Rows(self.of_words, *arrays, labels, self.notes)

    def vectors(self, file: SentenceFile, first: int) -> Iterator[Float[np.ndarray, "row layer neuron"]]:
        """The activations of the rows from `first` on, sentence by sentence."""
        if first >= len(self.entries):
            return
        begin, entry = first, int(self.entries[first])
        breaks = np.cumsum(np.diff(self.word_index, prepend=-1) != 1)  # grows where a word does not follow the last one
        ends = np.searchsorted(self.entries, np.arange(len(file.survey.tokens)), side="right").tolist()
        for vectors in file.read(entry, sentences_only=not self.of_words):
            end = ends[entry]
            if end - begin == len(vectors) and breaks[begin] == breaks[end - 1]:
                yield vectors  # as of most sentences: all words, in their order
            elif end > begin:
                yield vectors[self.word_index[begin:end]]
            begin, entry = end, entry + 1


def plan_rows(
    activations: Path, source: Path | None, labels: Path | None, of_words: bool, kind: str, longest: int | None = None
) -> tuple[SentenceFile, Rows]:
    """Which vectors of a file of activations become rows, and their labels.

    Args:
        activations: the file of activations.
        source: its sentences, one per line; None where the file can be read without them.
        labels: one label per line, or one per word; None for rows that are all of one class, 'unlabelled'.
        of_words: whether a row is a word.
        kind: classification or regression.
        longest: leave out sentences of more words.

    Raises:
        UserError: for bad files, or files that do not fit together.
    """
    sources = None if source is None else read_lines(source)
    tags = None if labels is None else read_lines(labels)
    if sources is not None and tags is not None and len(sources) != len(tags):
        raise UserError(
            f"{source} has {len(sources)} lines and {labels} has {len(tags)}: both must have one line per sentence; "
            "fix the one that is wrong."
        )
    words = None if sources is None else [line.split() for line in sources]
    kept = _kept(words, source, longest)
    texts = None if sources is None or kept is None else [sources[line] for line in kept]
    file = open_sentences(activations, texts)
    n_entries = len(file.survey.tokens)
    lines, named = (sources, source) if sources is not None else (tags, labels)
    entry_lines: Sequence[int] = range(n_entries)
    if lines is not None:
        by_text = bool(file.survey.keys)
        entry_lines = kept if kept is not None and (by_text or n_entries == len(kept)) else range(len(lines))
        if n_entries != len(entry_lines):
            raise UserError(
                f"{activations} has {n_entries} sentences, but {named} has {len(lines)}: both must be of the same "
                "sentences; check the paths, or extract the activations again."
            )
    rows = (
        _word_rows(file, entry_lines, words, tags, (source, labels), kind, None if kept is None else set(kept))
        if of_words
        else _sentence_rows(tags, labels, n_entries, kind)
    )
    notes = {
        "sentences": n_entries if lines is None else len(lines),
        "sentences_too_long": len(words) - len(kept) if words is not None and kept is not None else 0,
        "sentences_duplicate": file.survey.n_duplicates,
    }
    return file, replace(rows, notes={**notes, **rows.notes})


def report_rows(name: str, rows: Rows) -> None:
    """Logs how many rows there are and which sentences are left out."""
    notes = rows.notes
    log.info("%s: %d rows of %d sentences", name, len(rows.labels), notes["sentences"])
    if notes.get("sentences_too_long"):
        log.warning("%s: %d sentences longer than max_sent_l are left out", name, notes["sentences_too_long"])
    if notes.get("sentences_dropped"):
        lines = ", ".join(str(line) for line in notes["dropped_lines"])
        log.warning(
            "%s: %d sentences without one vector and one label per word are left out: lines %s",
            name,
            notes["sentences_dropped"],
            lines,
        )
    if notes.get("sentences_duplicate"):
        log.warning(
            "%s: %d sentences stand more than once in a file keyed by text; they are matched by their order",
            name,
            notes["sentences_duplicate"],
        )


def _kept(words: Sequence[list[str]] | None, source: Path | None, longest: int | None) -> list[int] | None:
    """The lines of at most so many words; None where there is no text."""
    if words is None:
        return None
    kept = [line for line, sentence in enumerate(words) if longest is None or len(sentence) <= longest]
    if not kept:
        raise UserError(f"{source} has no sentence of at most max_sent_l={longest} words: allow longer ones.")
    return kept


def _sentence_rows(tags: Sequence[str] | None, path: Path | None, n_rows: int, kind: str) -> Rows:
    index = np.arange(n_rows, dtype=np.int32)
    if tags is None or path is None:
        return Rows(False, index, np.zeros_like(index), index, [UNLABELLED] * n_rows, {})
    labels = [label.strip() for label in tags]
    if "" in labels:
        raise UserError(f"{path}, line {labels.index('') + 1}: the label is empty, but one is expected: fill it.")
    if kind == "classification":
        refuse_odd_labels(tags, path)
    parsed = [parse_label(label, path, line, kind) for line, label in enumerate(labels)]
    return Rows(False, index, np.zeros_like(index), index, parsed, {})


def _word_rows(
    file: SentenceFile,
    place: Sequence[int],
    words: Sequence[list[str]] | None,
    tags: Sequence[str] | None,
    paths: tuple[Path | None, Path | None],
    kind: str,
    kept: set[int] | None,
) -> Rows:
    sentence_index, word_index, entries, parsed, dropped = [], [], [], [], []
    for entry, line in enumerate(place):
        if kept is not None and line not in kept:
            continue
        n_tokens = file.survey.tokens[entry]
        own_tags = None if tags is None else split_labels(tags[line], f"{paths[1]}, line {line + 1}")
        counts = {"vectors": n_tokens}
        counts |= {} if words is None else {"words": len(words[line])}
        counts |= {} if own_tags is None else {"labels": len(own_tags)}
        if len(set(counts.values())) > 1:
            dropped.append((line + 1, counts))
            continue
        sentence_index += [line] * n_tokens
        word_index += range(n_tokens)
        entries += [entry] * n_tokens
        labels_path = paths[1]
        if own_tags is None or labels_path is None:
            parsed += [UNLABELLED] * n_tokens
        else:
            parsed += [parse_label(tag, labels_path, line, kind) for tag in own_tags]
    files = " and ".join(str(path) for path in (file.path, paths[1]) if path is not None)
    if len(dropped) > MOST_DROPPED:
        line, counts = dropped[0]
        numbers = [f"{n} {name}" for name, n in counts.items()]
        raise UserError(
            f"{len(dropped)} of {len(place)} sentences of {paths[0] or file.path} do not have one vector and one label "
            f"per word (line {line} has {', '.join(numbers[:-1])} and {numbers[-1]}), but at most {MOST_DROPPED} may "
            f"be left out: check that {files} are of these sentences."
        )
    if not parsed:
        raise UserError(f"{paths[0] or paths[1] or file.path} and {file.path} have no words to label: check the paths.")
    arrays = [np.array(values, np.int32) for values in (sentence_index, word_index, entries)]
    notes = {"sentences_dropped": len(dropped), "dropped_lines": [line for line, _ in dropped]}
    return Rows(True, arrays[0], arrays[1], arrays[2], parsed, notes)


def parse_label(text: str, path: Path, line: int, kind: str) -> str | float:
    """A class name, or the score that a text stands for; `line` counts from 0."""
    return (parse_score if kind == "regression" else class_name)(text, path, line + 1)
