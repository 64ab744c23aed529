"""What --verify does: reads all that lies in a workdir, so that nothing damaged is kept, even where a run would not
have read it.

Without it, results, tables, figures and probes are read whole before they are kept, and of the activations that they
are of, the sizes of the files alone are compared.
"""

import logging
from collections.abc import Iterator

from jaxred.activations.store import Store, damaged_files, read_ledger, remove_files, writing
from jaxred.config import StudyConfig, source_kind
from jaxred.errors import UserError
from jaxred.io import digests
from jaxred.io.result_files import load_result
from jaxred.original.importing import STORES, open_stores
from jaxred.runs.finished import TOGETHER, open_runs
from jaxred.runs.workdir import Workdir
from jaxred.statistics import moments
from jaxred.validation import validate_source

log = logging.getLogger("jaxred")


def verify(config: StudyConfig, path: str) -> None:
    """Names everything that is damaged in a workdir, which may not be there yet, and in the activations that it is of.

    Raises:
        UserError: if activations that were imported are damaged. All else is named, and what comes next makes it again
            or says how.
    """
    validate_source(config)
    folder = Workdir(path)
    if path and folder.saved_config() is not None:
        folder, _ = Workdir.open(path)
        for result in [*folder.results(), *(folder.path / digests.FOLDER).glob("*.json")]:
            if not result.stem.startswith("all_results"):  # in the original's format, which has no place for a digest
                try:
                    load_result(result)
                except UserError as error:
                    log.warning("%s", error)
        for name in digests.noted(folder.path):
            digests.warn(folder.path, digests.faults(folder.path, name), "what made it makes it again")
        damage = moments.damage(folder.moments) if folder.moments.exists() else None
        if damage is not None:
            log.warning("%s is damaged (%s): what needs it makes it again", folder.moments, damage)
    for store in _others(config):
        store.verify()
        log.info("%s: read, %d rows", store.location, store.n_rows)
    for split in ("train", "dev", "test"):
        _verify_own(str(folder.activations(split)))


def _others(config: StudyConfig) -> Iterator[Store]:
    """The stores that a run reads and does not make."""
    if source_kind(config) == STORES:
        yield from open_stores(config).values()
    elif source_kind(config) in TOGETHER:
        for run in open_runs(config):
            yield from run.stores.values()


def _verify_own(location: str) -> None:
    """Reads a store of the workdir. What is damaged of one that was extracted is removed, to be extracted again.

    Raises:
        UserError: if it is damaged, and of other files than text.
    """
    ledger = read_ledger(location)
    if ledger is None or not ledger.finished:
        return
    if "imported" in ledger.identity:
        Store(location).verify()
    else:
        with writing(location):
            damaged = damaged_files(location, ledger)
            remove_files(location, damaged)
        for file, fault in damaged.items():
            log.warning("%s/%s %s: it is removed, to be extracted again", location, file, fault)
    log.info("%s: read, %d rows", location, ledger.n_rows)
