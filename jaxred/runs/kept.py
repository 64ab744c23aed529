"""What the studies of probes keep in the workdir, and when they need not run again."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from jaxred.activations.store import Store
from jaxred.config import StudyConfig, to_dict
from jaxred.data.labeling import LABELING_TASKS
from jaxred.io import digests
from jaxred.io.files import write_text
from jaxred.io.result_files import fingerprint, load_result, load_whole, save_result
from jaxred.original.all_results import ORIGINALS
from jaxred.original.importing import IMPORTED
from jaxred.probing import Probe
from jaxred.probing.features import SPLITS, Features, describe, split_of
from jaxred.probing.probe_files import save_probes
from jaxred.runs.workdir import Workdir
from jaxred.studies.scoring import constant_answer, constant_score

log = logging.getLogger("jaxred")


def kept_or_run(
    stage: str,
    sections: Sequence[str],
    stores: dict[str, Store],
    config: StudyConfig,
    workdir: Workdir,
    work: Callable[[], tuple[dict[str, Any], dict[str, Probe], Features]],
) -> dict[str, Any]:
    """The results of a study: those in the workdir if they are whole and of the same activations and settings, or new
    ones.

    Saved are results/`stage`.json, the same in the original's format, and the probes. What of them is damaged is named
    and made again.

    Args:
        stage: the name of the study.
        sections: the sections of the configuration that decide its results.
        stores: the activations.
        config: all of the configuration.
        workdir: where results go.
        work: gives the content of the results, the probes by name, and what they were trained on.
    """
    activations = {name: store.ledger.identity for name, store in stores.items()}
    settings = [to_dict(getattr(config, section)) for section in sections]
    identity = fingerprint([stage, activations, settings, config.repeats, config.repeat_split])
    original, in_original_format = ORIGINALS[stage]
    known = load_whole(workdir.result(stage), identity)
    if known is not None and _goes_with(known, stage, stores, config, workdir):
        log.info("%s: kept", stage.replace("_", " "))
        return known

    content, probes, features = work()
    content["pooling"] = _pooling(config)
    content["extraction"] = {name: store.ledger.notes for name, store in stores.items()}
    save_probes(workdir.probes(stage), probes, features.scaling)
    write_text(workdir.result(original), in_original_format(content, features.data_split))
    digests.record(workdir.path, stage, identity, [workdir.result(original), workdir.probes(stage)])
    save_result(workdir.result(stage), identity, content)
    return load_result(workdir.result(stage), identity) or {}


def _goes_with(
    known: dict[str, Any], stage: str, stores: dict[str, Store], config: StudyConfig, workdir: Workdir
) -> bool:
    """Whether the probes and the results in the original's format are there and whole; the latter are made again here
    where they alone are not.
    """
    original, in_original_format = ORIGINALS[stage]
    file = workdir.result(original)
    found = digests.faults(workdir.path, stage, known["identity"])
    if list(found) == [file.relative_to(workdir.path).as_posix()]:
        text = in_original_format(known, split_of(stores, config))
        if digests.fits(workdir.path, stage, file, text.encode()):
            digests.warn(workdir.path, found, f"it is made again from {workdir.result(stage)}")
            write_text(file, text)
            return True
    digests.warn(workdir.path, found, f"the {stage.replace('_', ' ')} is run again")
    return not found


def _pooling(config: StudyConfig) -> str | None:
    """How an encoder's sentence vectors were made; None of words, and of activations that others made."""
    return None if config.task.name in (*IMPORTED, *LABELING_TASKS) else config.extraction.pooling


def describe_task(config: StudyConfig, features: Features) -> dict[str, Any]:
    """The task as results name it, with the scores of the class that scores best as every row's answer."""
    task, constant = config.task, constant_answer(features, config)
    described = {"name": task.name, "kind": task.kind, "metric": task.metric, **describe(features)}
    if constant is None:
        return described
    scores = {split: constant_score(constant, split, features, config) for split in SPLITS}
    return {**described, "constant": {"class": features.classes[constant], "scores": scores}}
