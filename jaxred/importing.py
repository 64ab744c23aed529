"""Activations that others extracted, into activation stores: what an experiment file of the original names.

Everything after the store works on them as on activations of jaxred's own. A row is a sentence or, where the
experiment labels words, a word. Sentences are left out as in the original, but counted and named.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxred.config import StudyConfig
from jaxred.data.lines import parse_score, read_lines
from jaxred.data.split import sample_in_proportion
from jaxred.data.unseen import warn_of_unseen
from jaxred.errors import UserError
from jaxred.files import write_text
from jaxred.formats import experiment, hdf5, json_lines
from jaxred.formats.experiment import Experiment, SplitFiles
from jaxred.formats.survey import Survey
from jaxred.progress import progress_bar
from jaxred.store import Ledger, Store, StoreWriter, is_finished
from jaxred.workdir import Workdir

log = logging.getLogger("jaxred")

MOST_DROPPED = 99  # sentences of a split whose numbers of tokens, words and labels may disagree, as in the original
FORMATS = {".json": json_lines, ".jsonl": json_lines, ".hdf5": hdf5, ".h5": hdf5}
UNPICKLED = (".t7", ".pt", ".pth", ".acts", ".pkl", ".pickle")  # reading these can run what is in them


@dataclass(frozen=True)
class Rows:
    """The rows of a split, in the order of the file."""

    sentence_index: np.ndarray  # [row], the line of the row's sentence
    word_index: np.ndarray  # [row], the row's word in its sentence; 0 for sentences
    entries: np.ndarray  # [row], the row's sentence in the file of activations; ascending
    labels: list[Any]  # [row], a class name or a score
    notes: dict[str, Any]  # how many sentences were left out, and which

    def take(self, rows: np.ndarray) -> "Rows":
        """Some of the rows."""
        labels = [self.labels[row] for row in rows]
        return Rows(self.sentence_index[rows], self.word_index[rows], self.entries[rows], labels, self.notes)


def import_activations(config: StudyConfig, workdir: Workdir, overwrite: bool = False) -> dict[str, Store]:
    """The activation stores of an experiment's splits; what is finished is kept, what was cut short is gone on with.

    Files are known again by their size and time of change, and where those differ by their content.

    Args:
        config: of an experiment file, which its `task.data_dir` names.
        workdir: where the stores go.
        overwrite: replace activations of other files or settings.

    Raises:
        UserError: for bad files, files that do not fit together, or a workdir with activations of other files.
    """
    named = experiment.load(config.task.data_dir)
    record = _Record(workdir.activations("import.json"))
    train_classes: set[Any] | None = None
    for split, files in named.splits.items():
        location = workdir.activations(split)
        stamp = _stamp(files, config, named)
        if is_finished(location, record.identity(split, stamp), overwrite):
            log.info("%s activations: kept", split)
            continue
        reader = _reader(files.activations)
        survey, rows = _plan(reader, files, named, config.task.kind)
        _check_size(survey, files.activations, named)
        if split == "train":
            rows = _limit(rows, config)
            train_classes = _classes(rows, files, config.task.kind)
        _report(split, rows, train_classes, config)
        identity = {
            "imported": reader.__name__.split(".")[-1],
            "activations": survey.sha256,
            "source": _sha256(files.source),
            "labels": _sha256(files.labels),
            **stamp["settings"],
        }
        if is_finished(location, identity, overwrite):
            log.info("%s activations: kept, %d rows", split, len(rows.labels))
        else:
            writer = _writer(location, survey, rows, identity, config, named.labels_words, overwrite)
            first = writer.ledger.window(writer.ledger.windows_finished).start
            if first < writer.ledger.n_rows:
                sentences = reader.read(
                    files.activations, survey, int(rows.entries[first]), sentences_only=not named.labels_words
                )
                _write(writer, _vectors(sentences, rows, first), f"import {split}")
        record.remember(split, stamp, identity)
    return {split: Store(workdir.activations(split)) for split in named.splits}


def _reader(path: Path) -> ModuleType:
    suffix = path.suffix.lower()
    if suffix in UNPICKLED:
        raise UserError(
            f"{path} is a {suffix} file, and reading one runs whatever is in it, so it is not read here: write the "
            "activations as JSON lines (.json) or HDF5 (.hdf5) with the tool that made them, and name that file."
        )
    if suffix not in FORMATS:
        raise UserError(f"{path} is of no known format: name a file of activations that ends in {', '.join(FORMATS)}.")
    return FORMATS[suffix]


def _plan(reader: ModuleType, files: SplitFiles, named: Experiment, kind: str) -> tuple[Survey, Rows]:
    """Which vectors of the activation file become rows, and their labels."""
    sources, labels = read_lines(files.source), read_lines(files.labels)
    if len(sources) != len(labels):
        raise UserError(
            f"{files.source} has {len(sources)} lines and {files.labels} has {len(labels)}: both must have one line a "
            "sentence; mend the one that is wrong."
        )
    words = [line.split() for line in sources]
    longest = named.values["max_sent_l"] if named.labels_words else None
    kept = [line for line, mine in enumerate(words) if longest is None or len(mine) <= longest]
    if not kept:
        raise UserError(f"{files.source} has no sentence of at most max_sent_l={longest} words: allow longer ones.")
    if reader is hdf5:
        survey, place = hdf5.survey(files.activations, [sources[line] for line in kept]), kept
    else:
        survey = json_lines.survey(files.activations)
        place = kept if len(survey.tokens) == len(kept) else list(range(len(sources)))
    if len(survey.tokens) != len(place):
        raise UserError(
            f"{files.activations} has {len(survey.tokens)} sentences, but {files.source} has {len(sources)}: both must "
            "be of the same sentences; check the paths, or extract the activations again."
        )
    rows = (
        _word_rows(survey, place, words, labels, files, kind, set(kept))
        if named.labels_words
        else _sentence_rows(labels, files, kind)
    )
    notes = {
        "sentences": len(sources),
        "sentences_too_long": len(sources) - len(kept),
        "sentences_duplicate": survey.n_duplicates,
    }
    return survey, replace(rows, notes={**notes, **rows.notes})


def _sentence_rows(labels: Sequence[str], files: SplitFiles, kind: str) -> Rows:
    mine = [label.strip() for label in labels]
    if "" in mine:
        raise UserError(f"{files.labels}, line {mine.index('') + 1}: the label is empty, but one is expected: fill it.")
    parsed = [_label(label, files.labels, line, kind) for line, label in enumerate(mine)]
    index = np.arange(len(mine), dtype=np.int32)
    return Rows(index, np.zeros_like(index), index, parsed, {})


def _word_rows(
    survey: Survey,
    place: Sequence[int],
    words: Sequence[list[str]],
    labels: Sequence[str],
    files: SplitFiles,
    kind: str,
    kept: set[int],
) -> Rows:
    sentence_index, word_index, entries, parsed, dropped = [], [], [], [], []
    for entry, line in enumerate(place):
        if line not in kept:
            continue
        tags = labels[line].split()
        if not survey.tokens[entry] == len(words[line]) == len(tags):
            dropped.append((line + 1, survey.tokens[entry], len(words[line]), len(tags)))
            continue
        sentence_index += [line] * len(tags)
        word_index += range(len(tags))
        entries += [entry] * len(tags)
        parsed += [_label(tag, files.labels, line, kind) for tag in tags]
    if len(dropped) > MOST_DROPPED:
        line, *counts = dropped[0]
        raise UserError(
            f"{len(dropped)} of {len(place)} sentences of {files.source} do not have one vector and one label a word "
            f"(line {line} has {counts[0]} vectors, {counts[1]} words and {counts[2]} labels), but at most "
            f"{MOST_DROPPED} may be left out: check that {files.activations} and {files.labels} are of these sentences."
        )
    if not parsed:
        raise UserError(f"{files.source} and {files.activations} have no words to label: check the paths.")
    arrays = [np.array(values, np.int32) for values in (sentence_index, word_index, entries)]
    notes = {"sentences_dropped": len(dropped), "dropped_lines": [line for line, *_ in dropped]}
    return Rows(arrays[0], arrays[1], arrays[2], parsed, notes)


def _label(text: str, path: Path, line: int, kind: str) -> str | float:
    return parse_score(text, path, line + 1) if kind == "regression" else text


def _check_size(survey: Survey, path: Path, named: Experiment) -> None:
    one_way = named.values["num_neurons_per_layer"]
    allowed = (one_way, 2 * one_way) if named.values["is_brnn"] else (one_way,)
    if survey.hidden_size not in allowed:
        raise UserError(
            f"{named.path}: num_neurons_per_layer is {one_way}, but {path} has layers of {survey.hidden_size} neurons: "
            "mend the one that is wrong."
        )


def _limit(rows: Rows, config: StudyConfig) -> Rows:
    limit = config.task.limit_instances
    if limit < 0:
        return rows
    return rows.take(sample_in_proportion(rows.labels, limit, config.task.split_seed))


def _classes(rows: Rows, files: SplitFiles, kind: str) -> set[Any]:
    found = set(rows.labels)
    if len(found) == 1:
        what, need = ("class", "classes") if kind == "classification" else ("score", "different scores")
        raise UserError(
            f"All {len(rows.labels)} training rows of {files.labels} have the same {what}, {rows.labels[0]!r}, but at "
            f"least two {need} are needed to learn anything: check the labels."
        )
    return found


def _report(split: str, rows: Rows, train_classes: set[Any] | None, config: StudyConfig) -> None:
    notes = rows.notes
    log.info("%s: %d rows of %d sentences", split, len(rows.labels), notes["sentences"])
    if notes["sentences_too_long"]:
        log.warning("%s: %d sentences longer than max_sent_l are left out", split, notes["sentences_too_long"])
    if notes.get("sentences_dropped"):
        lines = ", ".join(str(line) for line in notes["dropped_lines"])
        log.warning(
            "%s: %d sentences without one vector and one label a word are left out: lines %s",
            split,
            notes["sentences_dropped"],
            lines,
        )
    if notes["sentences_duplicate"]:
        log.warning(
            "%s: %d sentences stand more than once in a file keyed by text; they are matched by row",
            split,
            notes["sentences_duplicate"],
        )
    if train_classes is not None and config.task.kind == "classification":
        warn_of_unseen(split, rows.labels, train_classes, config.task.fallback_label)


def _writer(
    location: Path,
    survey: Survey,
    rows: Rows,
    identity: dict[str, Any],
    config: StudyConfig,
    words: bool,
    overwrite: bool,
) -> StoreWriter:
    if config.task.kind == "regression":
        names, labels = [], np.array(rows.labels, np.float64)
    else:
        names = sorted(set(rows.labels))
        ids = {name: i for i, name in enumerate(names)}
        labels = np.array([ids[label] for label in rows.labels], np.int32)
    ledger = Ledger(
        identity=identity,
        n_rows=len(rows.labels),
        n_layers=survey.n_layers,
        hidden_size=survey.hidden_size,
        dtype=config.extraction.dtype,
        window_rows=config.extraction.window_rows,
        label_names=names,
        notes=rows.notes,
        rows="word" if words else "sentence",
    )
    return StoreWriter(location, ledger, labels, rows.sentence_index, overwrite, rows.word_index if words else None)


def _vectors(
    sentences: Iterator[Float[np.ndarray, "token layer neuron"]], rows: Rows, first: int
) -> Iterator[Float[np.ndarray, "row layer neuron"]]:
    """The rows from `first` on, sentence by sentence; `sentences` start with that row's."""
    begin, n_rows = first, len(rows.entries)
    for entry, vectors in enumerate(sentences, start=int(rows.entries[first])):
        end = begin
        while end < n_rows and rows.entries[end] == entry:
            end += 1
        if end > begin:
            yield vectors[rows.word_index[begin:end]]
        begin = end


def _write(writer: StoreWriter, chunks: Iterator[Float[np.ndarray, "row layer neuron"]], title: str) -> None:
    """Fills the unfinished windows."""
    ledger = writer.ledger
    start = ledger.window(ledger.windows_finished).start
    rest = np.empty((0, ledger.n_layers, ledger.hidden_size))
    with progress_bar(ledger.n_rows, title, "rows", start) as bar:
        for index in range(ledger.windows_finished, ledger.n_windows):
            window = ledger.window(index)
            block = np.empty((window.stop - window.start, *rest.shape[1:]), jnp.dtype(ledger.dtype))
            filled = 0
            while filled < len(block):
                if not len(rest):
                    rest = next(chunks)
                taken = rest[: len(block) - filled]
                with np.errstate(over="ignore"):
                    block[filled : filled + len(taken)] = taken
                rest = rest[len(taken) :]
                filled += len(taken)
                bar.update(len(taken))
            writer.write(index, block)
        for _ in chunks:  # also where the last rows are no part of any, so that damage there is found
            pass
        writer.flush()


class _Record:
    """What was imported from which files, so that a second run need not read them to know them again."""

    def __init__(self, path: Path):
        self.path = path
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = {}
        self._content = content if isinstance(content, dict) else {}

    def identity(self, split: str, stamp: dict[str, Any]) -> dict[str, Any] | None:
        """The identity of what was imported under this stamp."""
        known = self._content.get(split)
        return known.get("identity") if isinstance(known, dict) and known.get("stamp") == stamp else None

    def remember(self, split: str, stamp: dict[str, Any], identity: dict[str, Any]) -> None:
        self._content[split] = {"stamp": stamp, "identity": identity}
        write_text(self.path, json.dumps(self._content, indent=1) + "\n")


def _stamp(files: SplitFiles, config: StudyConfig, named: Experiment) -> dict[str, Any]:
    """The files as the file system knows them, and the settings that decide which rows there are."""
    settings = {
        "rows": "word" if named.labels_words else "sentence",
        "kind": config.task.kind,
        "max_sent_l": named.values["max_sent_l"] if named.labels_words else None,
        "limit_instances": config.task.limit_instances,
        "sample_seed": config.task.split_seed if config.task.limit_instances >= 0 else None,
        "num_neurons_per_layer": named.values["num_neurons_per_layer"],
        "is_brnn": named.values["is_brnn"],
        "dtype": config.extraction.dtype,
    }
    stats = {}
    for path in (files.activations, files.source, files.labels):
        if path.is_file():  # where it is not, reading it says so
            stat = os.stat(path)
            stats[str(path.absolute())] = [stat.st_size, stat.st_mtime_ns]
    return {"files": stats, "settings": settings}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
