"""A sweep: any launcher's work on every run, one after the other, and a table of them all."""

import contextlib
import io
import json
import logging
import statistics
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from jaxred.config import differences, to_dict
from jaxred.errors import UserError
from jaxred.io.artifacts import get_or_make, of_files
from jaxred.io.files import write_text
from jaxred.io.paths import local
from jaxred.io.result_files import fingerprint, plain, with_digest
from jaxred.runs import sweep_folder
from jaxred.runs.workdir import Workdir, locked
from jaxred.sweeps import grid, table
from jaxred.sweeps.grid import Run, Sweep

log = logging.getLogger("jaxred")


def run(
    main: Callable[[Any, str, bool], Any],
    sweep: Sweep,
    workdir: str,
    overwrite: bool = False,
    overridden: Collection[str] = (),
) -> None:
    """Calls `main(config, workdir, overwrite)` for every run; a run that fails does not stop the others.

    Args:
        main: a launcher's work, which keeps what is done in the folder it is given.
        sweep: what is run.
        workdir: the sweep's folder; each run's is in it, and named like the run.
        overwrite: handed on to every run.
        overridden: the fields that flags have set.

    Raises:
        UserError: for a sweep that is not possible or a folder of another; at the end, if runs have failed.
    """
    runs = grid.runs(sweep, overridden)
    with locked(workdir):
        _run(main, sweep, runs, workdir, overwrite)


def _run(main: Callable[[Any, str, bool], Any], sweep: Sweep, runs: list[Run], workdir: str, overwrite: bool) -> None:
    folder = _claim(workdir, sweep, runs, overwrite)
    cells = {run.name: table.cells(folder, run) for run in runs}
    failed: dict[str, str] = {}
    seconds: list[float] = []  # of the runs that were not already done
    for i, run in enumerate(runs):
        log.info("run %d of %d: %s%s", i + 1, len(runs), run.name, _time_left(seconds, len(runs) - i))
        begin, before = time.perf_counter(), _results(folder / run.name)
        try:
            printed = io.StringIO()  # the table of all takes the place of each one's
            with contextlib.redirect_stdout(printed), locked(folder / run.name):
                main(run.config, str(folder / run.name), overwrite)
        except UserError as error:
            log.error("%s failed: %s", run.name, error)
            failed[run.name] = str(error)
        if _results(folder / run.name) != before:
            seconds.append(time.perf_counter() - begin)
        cells[run.name] = table.cells(folder, run)
        _write_tables(folder, runs, cells, failed)
    print(
        f"\n{table.as_markdown(runs, cells, {})}\nTable: {' and '.join(str(folder / t) for t in sweep_folder.TABLES)}"
    )
    if failed:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in failed.items())
        raise UserError(f"{len(failed)} of {len(runs)} runs failed; the others are done.\n{reasons}")


def _claim(path: str, sweep: Sweep, runs: list[Run], overwrite: bool) -> Path:
    """Makes the folder the sweep's own; axes and their values may change, as they decide no run that is there."""
    folder = local(path, "workdir")
    if not path:
        raise UserError("Pass `workdir=FOLDER`: the folder in which the sweep keeps its runs.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"workdir={str(path)!r} is a file; it must be a folder, or not exist yet.")
    if (folder / "config.json").exists():
        raise UserError(f"{path} holds a single run (it has a config.json): choose another `workdir` for the sweep.")
    base = {name: value for name, value in to_dict(sweep).items() if name != "axes"}
    now = json.loads(json.dumps(plain({"base": base, "axes": sweep.axes, "runs": [run.name for run in runs]})))
    before = sweep_folder.saved(folder)
    if before is not None and not overwrite and any(Workdir(folder / name).holds_results() for name in before["runs"]):
        fields = {line.split(" was ")[0]: line for line in differences(before["base"], now["base"])}
        changed = "; ".join(line for name, line in fields.items() if name not in grid.swept(sweep))
        if changed:
            raise UserError(
                f"{path} holds a sweep of another base configuration: {changed}. Choose another `workdir`, or pass "
                "overwrite=True to replace its results (activations that still fit are kept)."
            )
    if before != now:
        write_text(folder / sweep_folder.MARK, json.dumps(with_digest(now), indent=2) + "\n")
    return folder


def _results(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in Workdir(folder).results()}


def _time_left(seconds: list[float], n_left: int) -> str:
    """By what a run has taken so far; the first has extracted what the next ones share, hence the median."""
    if not seconds:
        return ""
    left = statistics.median(seconds) * n_left
    return f" (about {left / 60:.0f} min left)" if left >= 90 else f" (about {left:.0f} s left)"


def _write_tables(folder: Path, runs: list[Run], found: dict[str, dict[str, Any]], failed: dict[str, str]) -> None:
    makers = (table.as_markdown, table.as_csv)
    texts = {folder / name: make(runs, found, failed) for name, make in zip(sweep_folder.TABLES, makers, strict=True)}

    def make() -> None:
        for file, text in texts.items():
            write_text(file, text)

    tables = of_files(folder, sweep_folder.NOTED, fingerprint(list(texts.values())), list(texts))
    get_or_make(tables, make, "the sweep's tables are written again")
