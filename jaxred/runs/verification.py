"""What --verify does: reads all that lies in a workdir, so that nothing damaged is kept, even where a run would not
have read it.

Without it, results, tables, figures and probes are read whole before they are kept, and of the activations that they
are of, the sizes of the files alone are compared.
"""

import logging
from collections.abc import Iterator

from jaxred.activations.store import Store, read_ledger
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
        UserError: if activations are damaged. All else is named, and what comes next makes it again or says how.
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
    for store in _stores(config, folder):
        store.verify()
        log.info("%s: read, %d rows", store.location, store.n_rows)


def _stores(config: StudyConfig, folder: Workdir) -> Iterator[Store]:
    """The finished stores that the results are of."""
    kind = source_kind(config)
    if kind == STORES:
        yield from open_stores(config).values()
    elif kind in TOGETHER:
        for run in open_runs(config):
            yield from run.stores.values()
    elif folder.stores.is_dir():
        for path in sorted(folder.stores.iterdir()):
            ledger = read_ledger(path) if path.is_dir() else None
            if ledger is not None and ledger.finished:
                yield Store(path)
