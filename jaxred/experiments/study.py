"""The whole line, from text to report."""

import logging
import time
from collections.abc import Callable
from typing import Any

from jaxred import report
from jaxred.config import StudyConfig
from jaxred.experiments import cluster_sweep, pipeline, redundancy
from jaxred.extract import extract
from jaxred.workdir import Workdir

log = logging.getLogger("jaxred")

STAGES = {"redundancy": redundancy.run, "pipeline": pipeline.run, "cluster_sweep": cluster_sweep.run}


def run(config: StudyConfig, workdir: str, overwrite: bool = False) -> None:
    """Extraction, general redundancy, pipeline, cluster sweep and report; what is already done is kept."""
    folder = run_stages(config, workdir, overwrite, tuple(STAGES))
    timed("report", lambda: report.write(folder))
    print(f"\n{report.table(folder)}\n")
    print(f"Report:      {folder.report}")
    print(f"Figures:     {folder.figures}")
    print(f"Results:     {folder.path / 'results'} ({', '.join(sorted(p.name for p in folder.results()))})")
    print(f"Activations: {folder.path / 'activations'}")


def run_stages(config: StudyConfig, workdir: str, overwrite: bool, stages: tuple[str, ...]) -> Workdir:
    """Extracts what is missing and runs some of the stages."""
    folder = Workdir.claim(workdir, config, overwrite)
    stores = timed("extraction", lambda: extract(config, folder, overwrite))
    for stage in stages:
        timed(stage.replace("_", " "), lambda stage=stage: STAGES[stage](stores, config, folder))
    return folder


def timed(name: str, work: Callable[[], Any]) -> Any:
    """Does the work and logs how long it took."""
    begin = time.perf_counter()
    result = work()
    log.info("%s: done in %.1f s", name, time.perf_counter() - begin)
    return result
