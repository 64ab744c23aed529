"""Activations that others extracted, into activation stores: what an experiment file of the original names.

Everything after the store works on them as on activations of jaxred's own. A row is a sentence or, where the
experiment labels words, a word. Sentences are left out as in the original, but counted and named.
"""

import contextlib
import functools
import json
import logging
import os
from pathlib import Path
from typing import Any

from jaxred.activations.files.row_selection import Rows, plan_rows, report_rows
from jaxred.activations.files.sentences import SentenceFile, layer_files
from jaxred.activations.files.store_filling import StoreShape, fill_store
from jaxred.activations.identity import deciding_settings
from jaxred.activations.store import Store, finished_ledger
from jaxred.config import StudyConfig
from jaxred.data.checks import warn_of_unseen
from jaxred.data.folders import reader_of
from jaxred.data.labels import refuse_odd_labels
from jaxred.data.split import sample_in_proportion
from jaxred.errors import UserError
from jaxred.io.files import file_digest, glimpse, read_json, write_text
from jaxred.io.locks import lock
from jaxred.io.paths import local
from jaxred.original import experiment
from jaxred.original.experiment import Experiment, SplitFiles

log = logging.getLogger("jaxred")

STORES = "stores"  # the source of a study of stores that are there already, and its task's name in results
IMPORTED = (STORES, experiment.ORIGINAL)  # the sources whose activations are made elsewhere, not by config.encoder


def import_activations(config: StudyConfig, folder: Path, overwrite: bool = False) -> dict[str, Store]:
    """The activation stores of an experiment's splits; what is finished is kept, what was cut short is resumed.

    Where another process imports them, it is waited for.

    Files are known again by their size, time of change and a glimpse of their content, and where those differ by all
    of it.

    Args:
        config: of an experiment file, which its `source.original` names.
        folder: where the stores go.
        overwrite: replace activations of other files or settings.

    Raises:
        UserError: for bad files, files that do not fit together, or a workdir with activations of other files.
    """
    with contextlib.ExitStack() as held:
        return _import_activations(config, folder, overwrite, held)


def _import_activations(
    config: StudyConfig, stores: Path, overwrite: bool, held: contextlib.ExitStack
) -> dict[str, Store]:
    named = experiment.load(config.source.original)
    _report_encoder_layers(config)
    record = _Record(stores / "import.json")
    train_classes: set[Any] | None = None
    for split, files in named.splits.items():
        location = stores / split
        stamp = _stamp(files, config, named)
        if finished_ledger(location, record.identity(split, stamp), overwrite):
            log.info("%s activations: kept", split)
            continue
        held.enter_context(lock(stores, wait=True, leftovers=["import.json"]))
        record = _Record(record.path)  # another process may have added to it meanwhile
        longest = named.values["max_sent_l"] if named.labels_words else None
        file, rows = plan_rows(
            files.activations, files.source, files.labels, named.labels_words, config.task.kind, longest
        )
        _check_size(file, named)
        if split == "train":
            rows = _limit(rows, config)
            _refuse_one_class(rows.labels, files.labels, config.task.kind)
            train_classes = set(rows.labels)
        report_rows(split, rows)
        _report_unseen(split, rows, train_classes, config)
        identity = {
            "imported": file.format,
            "activations": file.survey.digest,
            "source": file_digest(files.source),
            "labels": file_digest(files.labels),
            **stamp["settings"],
        }
        if finished_ledger(location, identity, overwrite):
            log.info("%s activations: kept, %d rows", split, len(rows.labels))
        else:
            shape = StoreShape(
                file.survey.n_layers, file.survey.hidden_size, config.extraction.dtype, config.extraction.window_rows
            )
            vectors = functools.partial(rows.vectors, file)
            fill_store(location, rows, shape, identity, vectors, f"import {split}", overwrite)
        record.remember(split, stamp, identity)
    return {split: Store(stores / split) for split in named.splits}


def open_stores(config: StudyConfig) -> dict[str, Store]:
    """The stores of a folder, as `jaxred convert` makes them, by split.

    Args:
        config: its `source.stores` is the folder, with the stores `train`, `test` and, if there is one, `dev`.

    Raises:
        UserError: a store is missing or unfinished, rows are of words in one and of sentences in another, labels are
            not of the task's kind, or training rows are all of one class.
    """
    task = config.task
    folder = local(config.source.stores, "config.source.stores")
    if not folder.is_dir():
        raise UserError(
            f"config.source.stores={config.source.stores!r} is no folder, but one with the stores train and test is "
            "expected: pass it as config.source.stores."
        )
    if not (folder / "train").exists():
        hint = f"{folder} has no store train: check config.source.stores. {reader_of(folder, STORES)}"
        raise UserError(hint.rstrip())
    if task.limit_instances >= 0:
        raise UserError("config.task.limit_instances is of text that is still to be read: leave it out, for stores.")
    _report_encoder_layers(config)
    splits = ("train", "dev", "test") if (folder / "dev").exists() else ("train", "test")
    stores = {split: Store(folder / split) for split in splits}
    train = stores["train"]
    for split, store in stores.items():
        if store.has_words != train.has_words:
            raise UserError(
                f"{store.location} has rows that are {store.ledger.rows}s, and {train.location} {train.ledger.rows}s: "
                f"both must have the same; make {split} again."
            )
        if bool(store.ledger.label_names) != (task.kind == "classification"):
            kind = "classes" if store.ledger.label_names else "scores"
            raise UserError(
                f"{store.location} has labels that are {kind}, but config.task.kind is {task.kind!r}: choose the kind "
                "and the metric that fit, or make the store again with other `labels`."
            )
    refuse_odd_labels(
        (name for store in stores.values() for name in store.ledger.label_names), f"The stores of {folder}"
    )
    _refuse_one_class(train.labels().tolist(), train.location, task.kind)
    return stores


def _report_encoder_layers(config: StudyConfig) -> None:
    if config.encoder.n_layers != -1:
        log.warning(
            "config.encoder.n_layers=%d is ignored: these activations were extracted elsewhere, and all their "
            "layers are used. Leave out the later ones when the files are written.",
            config.encoder.n_layers,
        )


def _check_size(file: SentenceFile, named: Experiment) -> None:
    one_way = named.values["num_neurons_per_layer"]
    allowed = (one_way, 2 * one_way) if named.values["is_brnn"] else (one_way,)
    if file.survey.hidden_size not in allowed:
        raise UserError(
            f"{named.path}: num_neurons_per_layer is {one_way}, but {file.path} has layers of "
            f"{file.survey.hidden_size} neurons: fix the one that is wrong."
        )


def _limit(rows: Rows, config: StudyConfig) -> Rows:
    limit = config.task.limit_instances
    if limit < 0:
        return rows
    return rows.take(sample_in_proportion(rows.labels, limit, config.task.split_seed))


def _refuse_one_class(labels: list[Any], where: object, kind: str) -> None:
    if len(set(labels)) == 1:
        what, need = ("class", "classes") if kind == "classification" else ("score", "different scores")
        raise UserError(
            f"All {len(labels)} training rows of {where} have the same {what}, {labels[0]!r}, but at least two {need} "
            "are needed to learn anything: check the labels."
        )


def _report_unseen(split: str, rows: Rows, train_classes: set[Any] | None, config: StudyConfig) -> None:
    if train_classes is not None and config.task.kind == "classification":
        refuse_odd_labels({*rows.labels, *train_classes}, f"The labels of {split} and train")
        warn_of_unseen(split, rows.labels, train_classes, config.task.fallback_label)


class _Record:
    """What was imported from which files, so that a second run need not read them to know them again."""

    def __init__(self, path: Path):
        self.path = path
        try:
            content = read_json(path)
        except UserError:
            raise
        except (OSError, ValueError):
            content = {}
        self._content = content if isinstance(content, dict) else {}

    def identity(self, split: str, stamp: dict[str, Any]) -> dict[str, Any] | None:
        """The identity of what was imported under this stamp."""
        content = self._content.get(split)
        return content.get("identity") if isinstance(content, dict) and content.get("stamp") == stamp else None

    def remember(self, split: str, stamp: dict[str, Any], identity: dict[str, Any]) -> None:
        self._content[split] = {"stamp": stamp, "identity": identity}
        write_text(self.path, json.dumps(self._content, indent=1) + "\n")


def _stamp(files: SplitFiles, config: StudyConfig, named: Experiment) -> dict[str, Any]:
    """The files as the file system and a glimpse know them, and the settings that decide which rows there are."""
    decides = deciding_settings(config)
    settings = {
        "rows": "word" if named.labels_words else "sentence",
        "kind": decides.rows["kind"],
        "max_sent_l": named.values["max_sent_l"] if named.labels_words else None,
        "limit_instances": decides.rows["limit_instances"],
        "sample_seed": decides.sample_seed,
        "num_neurons_per_layer": named.values["num_neurons_per_layer"],
        "is_brnn": named.values["is_brnn"],
        "dtype": decides.extraction["dtype"],
    }
    stats = {}
    for path in (*(layer_files(files.activations) or [files.activations]), files.source, files.labels):
        if path.is_file():  # where it is not, reading it says so
            stat = os.stat(path)
            stats[str(path.absolute())] = [stat.st_size, stat.st_mtime_ns, glimpse(path)]
    return {"files": stats, "settings": settings}
