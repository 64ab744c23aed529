"""General redundancy of finished runs together: of several tasks, and of two models on the same rows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jaxred.activations.identity import MODEL
from jaxred.activations.store import reading
from jaxred.activations.store.side_by_side import SideBySide
from jaxred.config import StudyConfig, recorded_task, to_dict
from jaxred.errors import UserError
from jaxred.io.result_files import fingerprint
from jaxred.probing.features import split_of
from jaxred.report.csv_tables import models_tables, tasks_tables
from jaxred.runs.finished import Finished, open_runs
from jaxred.runs.kept_moments import kept_sums
from jaxred.runs.stages import kept_with_tables
from jaxred.runs.workdir import Workdir
from jaxred.statistics.moments import Moments, Sums
from jaxred.studies.redundancy import Analysis, general_redundancy
from jaxred.studies.results import SeveralTasks, TwoModels
from jaxred.studies.several_tasks import add_around, several_tasks
from jaxred.studies.two_models import two_models

TASKS_FORMAT, MODELS_FORMAT = 1, 1  # of results/tasks.json and models.json


def run_tasks(config: StudyConfig, workdir: Workdir) -> SeveralTasks:
    """Several tasks: results/tasks.json, and as CSV the curve and the windows of every task, and the pairs of tasks.

    Raises:
        UserError: if the runs are not there, or their encoders are not of one shape.
    """
    runs = open_runs(config)
    _check_shapes(runs)
    clustering = config.clustering
    decides = [
        [run.name, run.train.ledger.identity, run.config.task.split_seed, run.config.task.dev_fraction] for run in runs
    ]
    identity = fingerprint(["tasks", TASKS_FORMAT, decides, to_dict(clustering)])

    def work() -> SeveralTasks:
        analyses: dict[str, Analysis] = {}
        reason = why_not_pooled(runs)
        pooled: list[Sums] | None = None
        # The task of the most rows comes first, so that the common shift is near the pooled mean.
        for run in sorted(runs, key=lambda run: -run.train.n_rows):
            halves = run.sums()
            analyses[run.name] = general_redundancy(halves, clustering)
            if reason is None:
                pooled = halves if pooled is None else add_around(pooled, halves)
        everyone = None if pooled is None else general_redundancy(pooled, clustering).result
        result = several_tasks({run.name: analyses[run.name] for run in runs}, clustering, everyone, reason)
        tasks = [
            replace(task, workdir=str(run.workdir.path), task=recorded_task(run.config).name)
            for task, run in zip(result.tasks, runs, strict=True)
        ]
        return replace(result, tasks=tasks)

    with reading(run.train for run in runs):
        return kept_with_tables(SeveralTasks, identity, ("", "_windows", "_pairs"), workdir, work, tasks_tables)


def run_models(config: StudyConfig, workdir: Workdir) -> TwoModels:
    """Two models: results/models.json, and as CSV CKA by pairs of layers and the shared clusters by threshold.

    The rows are those that the first run's probes train on.

    Raises:
        UserError: if there are not two runs, or they are not of the same rows.
    """
    runs = open_runs(config)
    if len(runs) != 2:
        raise UserError(f"Two models are compared, but config.source.models names {len(runs)} runs: name two.")
    both = SideBySide(runs[0].train, runs[1].train)
    task = runs[0].config.task
    decides = {
        "models": [run.train.ledger.identity for run in runs],
        "split": [task.split_seed, task.dev_fraction, "dev" in runs[0].stores],
    }
    names = [run.name for run in runs]
    identity = fingerprint(["models", MODELS_FORMAT, names, decides, to_dict(config.clustering)])

    def work() -> TwoModels:
        split = split_of(runs[0].stores, task)
        rows = None if split is None else np.asarray(split.train_idx)
        halves = kept_sums(both, rows, decides, workdir.moments)
        moments = [Moments.of(half) for half in (halves[0] + halves[1], *halves) if half.n_rows >= 2]
        sizes = [(run.train.n_layers, run.train.hidden_size) for run in runs]
        result = two_models(moments, both.real, sizes, config.clustering)
        models = [
            replace(model, name=run.name, workdir=str(run.workdir.path), encoder=run.config.encoder.path)
            for model, run in zip(result.models, runs, strict=True)
        ]
        return replace(result, models=models)

    with reading(run.train for run in runs):
        return kept_with_tables(TwoModels, identity, ("_cka", "_clusters"), workdir, work, models_tables)


def why_not_pooled(runs: Sequence[Finished]) -> str | None:
    """Why the rows of the runs may not be pooled; None where all are vectors of one encoder."""
    for run in runs:
        if any(name not in run.train.ledger.identity for name in MODEL):
            return f"{run.name} does not say which encoder its activations are of"
    first = runs[0]
    for run in runs[1:]:
        identities = first.train.ledger.identity, run.train.ledger.identity
        differ = [name.replace("_", " ") for name in MODEL if identities[0][name] != identities[1][name]]
        if differ:
            return f"{first.name} and {run.name} are of another {' and '.join(differ)}"
    return None


def _check_shapes(runs: Sequence[Finished]) -> None:
    first = runs[0].train
    for run in runs[1:]:
        shape = run.train.n_layers, run.train.hidden_size
        if shape != (first.n_layers, first.hidden_size):
            raise UserError(
                f"{run.workdir.path} has activations of {shape[0]} layers x {shape[1]} neurons and "
                f"{runs[0].workdir.path} of {first.n_layers} x {first.hidden_size}: several tasks are put together "
                "for one architecture. To compare two models on the same rows, use configs/models.py."
            )
