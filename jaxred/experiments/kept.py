"""What the studies of probes keep in the workdir, and when they need not run again."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from jaxred.checkpoints import save_probes
from jaxred.config import StudyConfig, to_dict
from jaxred.data.labeling import LABELING_TASKS
from jaxred.features import Features, describe
from jaxred.files import write_text
from jaxred.formats.all_results import ORIGINALS
from jaxred.importing import IMPORTED
from jaxred.probing import Probe
from jaxred.results import fingerprint, load_result, save_result
from jaxred.store import Store
from jaxred.workdir import Workdir

log = logging.getLogger("jaxred")


def kept_or_run(
    stage: str,
    sections: Sequence[str],
    stores: dict[str, Store],
    config: StudyConfig,
    workdir: Workdir,
    work: Callable[[], tuple[dict[str, Any], dict[str, Probe], Features]],
) -> dict[str, Any]:
    """The results of a study: those in the workdir if they are of the same activations and settings, or new ones.

    Saved are results/`stage`.json, the same in the original's format, and the probes.

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
    identity = fingerprint([stage, activations, settings, config.repeats])
    original, in_original_format = ORIGINALS[stage]
    known = load_result(workdir.result(stage), identity)
    if known is not None and workdir.result(original).exists():
        log.info("%s: kept", stage.replace("_", " "))
        return known

    content, probes, features = work()
    content["pooling"] = _pooling(config)
    content["extraction"] = {name: store.ledger.notes for name, store in stores.items()}
    save_probes(workdir.probes(stage), probes, features)
    write_text(workdir.result(original), in_original_format(content, features.data_split))
    save_result(workdir.result(stage), identity, content)
    return load_result(workdir.result(stage), identity) or {}


def _pooling(config: StudyConfig) -> str | None:
    """How an encoder's sentence vectors were made; None of words, and of activations that others made."""
    return None if config.task.name in (*IMPORTED, *LABELING_TASKS) else config.extraction.pooling


def describe_task(config: StudyConfig, features: Features) -> dict[str, Any]:
    """The task as results name it."""
    task = config.task
    return {"name": task.name, "kind": task.kind, "metric": task.metric, **describe(features)}
