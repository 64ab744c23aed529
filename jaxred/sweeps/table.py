"""A sweep's runs side by side, one row a run: as Markdown, and as CSV for further work."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxred.config import StudyConfig, to_dict
from jaxred.errors import UserError
from jaxred.io.tables import as_csv as csv_text
from jaxred.io.tables import markdown
from jaxred.report.findings import smallest_finding
from jaxred.report.values import value
from jaxred.runs.workdir import Workdir
from jaxred.studies.results import (
    BeforeAfter,
    ClusterSweepResult,
    FineTuningResult,
    GeneralRedundancy,
    MeanScores,
    MinimalNeuronsResult,
    PipelineResult,
    ProbeScores,
    ProbeStudy,
    Result,
    SpeedResult,
)
from jaxred.sweeps.grid import Run

Cells = dict[str, Any]  # by column


def cells(folder: Path, run: Run) -> Cells:
    """What a run's results say, from the stages that have run; nothing where the folder is of other settings."""
    workdir = Workdir(folder / run.name)
    columns_of_run: Cells = {}
    try:
        if workdir.saved_config() != json.loads(json.dumps(to_dict(run.config))):
            return {}
        for kind, columns in STAGES.items():
            result = workdir.find(kind)
            if result is not None:
                columns_of_run = {**columns(result, run.config), **columns_of_run}
    except UserError:  # damaged: the stage whose result it is says so
        return columns_of_run
    return columns_of_run


def as_csv(runs: Sequence[Run], cells_by_run: Mapping[str, Cells], failed: Mapping[str, str]) -> str:
    """Every number as it is; a column `error` only where a run has failed."""
    columns = _columns(cells_by_run)
    lines = [["run", *runs[0].values, "metric", *columns, *(["error"] if failed else [])]]
    for run in runs:
        numbers = [cells_by_run.get(run.name, {}).get(column, "") for column in columns]
        error = [failed.get(run.name, "")] if failed else []
        lines.append([run.name, *run.values.values(), run.config.task.metric, *numbers, *error])
    return csv_text(lines)


def as_markdown(runs: Sequence[Run], cells_by_run: Mapping[str, Cells], failed: Mapping[str, str]) -> str:
    """The table, what its columns are, and the runs that failed."""
    columns, axes = [column for column in _columns(cells_by_run) if not column.endswith(ENDS)], list(runs[0].values)
    metrics = len({run.config.task.metric for run in runs}) > 1
    lines = [[*axes, *(["metric"] if metrics else []), *(column.replace("_", " ") for column in columns)]]
    for run in runs:
        metric = [run.config.task.metric] if metrics else []
        cells_of_run = cells_by_run.get(run.name, {})
        numbers = ["" if cells_of_run.get(column) is None else _shown(column, cells_of_run) for column in columns]
        lines.append([*(_axis_value(value) for value in run.values.values()), *metric, *numbers])
    text = markdown(lines, n_text=len(axes))
    metric = "" if metrics else f" Scores are {runs[0].config.task.metric}."
    notes = [note for column, note in NOTES.items() if column in columns]
    repeats = max(run.config.repeats for run in runs)
    means = f" Numbers are means over {repeats} repeats." if repeats > 1 else ""
    brackets = " In brackets, 95% intervals." if any(column.endswith("_test") for column in columns) else ""
    text += f"\n\n{' '.join([f'{len(runs)} runs.{metric}{means}{brackets}', *notes])}\n"
    return text + "".join(f"\nFailed: {name}: {reason}\n" for name, reason in failed.items())


def _columns(cells_by_run: Mapping[str, Cells]) -> list[str]:
    present = {column for mine in cells_by_run.values() for column in mine}
    return [column for column in COLUMNS if column in present]


def _pipeline(result: PipelineResult, config: StudyConfig) -> Cells:
    number, sets = smallest_finding(result), result.minimal_sets
    finding = number is not None
    if number is None:  # the smallest of all, which the column `finding` marks
        sizes = [(chosen.n_minimal, chosen.top_layer) for chosen in result.selection]
        number = min(range(len(sizes)), key=sizes.__getitem__)
    choice, chosen = result.selection[number], sets[number]
    if result.repeats is None:
        top_layer, size = choice.top_layer, choice.n_minimal
    else:
        top_layer, size = result.repeats.selection[number].top_layer.mean, chosen.n_neurons.mean
    return {
        **_scores("oracle", result.oracle, result.mean_oracle),
        "delta_layers": choice.delta_layers,
        "delta_neurons": choice.delta_neurons,
        "clustering": "none" if choice.clusters is None else choice.threshold,
        "top_layer": top_layer,
        "minimal_neurons": size,
        "share": size / result.encoder.n_neurons,
        **_scores("minimal", chosen.scores, chosen.mean),
        "finding": "yes" if finding else "no",
        **_unsolved(result),
    }


def _cluster_sweep(result: ClusterSweepResult, config: StudyConfig) -> Cells:
    thresholds = [entry.threshold for entry in result.thresholds]
    oracle = _scores("oracle", result.oracle, result.mean_oracle)
    if config.clustering.window_threshold not in thresholds:
        return {**oracle, **_unsolved(result)}
    number = thresholds.index(config.clustering.window_threshold)
    entry, mean = result.thresholds[number], result.repeats and result.repeats.thresholds[number]
    beats = int((mean or entry.scores).beats_constant) == result.n_runs
    return {
        **oracle,
        "clusters": mean.n_clusters.mean if mean else entry.n_clusters,
        **_scores("clustered", entry.scores, mean),
        "clustered_finding": "yes" if beats else "no",
        **_unsolved(result),
    }


def _redundancy(result: GeneralRedundancy, config: StudyConfig) -> Cells:
    at = [entry for entry in result.thresholds if entry.threshold == config.clustering.window_threshold]
    return {"clusters": at[0].n_clusters, "redundant_share": at[0].redundant_share} if at else {}


def _finetuning(result: FineTuningResult, config: StudyConfig) -> Cells:
    cells: Cells = {"fine_tuned_dev": result.dev[result.best_epoch - 1]}
    if result.test is not None and result.test_interval is not None:
        low, high = result.test_interval
        cells |= {"fine_tuned_test": result.test, "fine_tuned_test_low": low, "fine_tuned_test_high": high}
    return cells


def _before_after(result: BeforeAfter, config: StudyConfig) -> Cells:
    before = result.sets[0].before
    low, high = before.interval
    return {"before_test": before.test, "before_test_low": low, "before_test_high": high}


def _speed(result: SpeedResult, config: StudyConfig) -> Cells:
    return {"times_extraction": round(result.extraction, 2), "times_training": round(result.training, 1)}


def _minimal_neurons(result: MinimalNeuronsResult, config: StudyConfig) -> Cells:
    (chosen,) = result.minimal_sets
    size = result.n_minimal if result.repeats is None else chosen.n_neurons.mean
    return {
        **_scores("oracle", result.oracle, result.mean_oracle),
        "minimal_of_all": size,
        "share_of_all": size / result.n_candidates,
        **_scores("minimal_of_all", chosen.scores, chosen.mean),
        "finding_of_all": "no" if smallest_finding(result) is None else "yes",
        **_unsolved(result),
    }


def _scores(name: str, scores: ProbeScores, mean: MeanScores | None) -> Cells:
    low, high = (scores if mean is None else mean).interval
    cells: Cells = {f"{name}_{split}": value(scores, mean, split).mean for split in ("dev", "test")}
    return cells | {f"{name}_test_low": low, f"{name}_test_high": high}


def _unsolved(study: ProbeStudy) -> Cells:
    """Probes of fista that are not at their optimum, where there are any."""
    n_left = sum(not entry.converged for entry in study.training.values())
    if study.repeats is not None:
        n_left = study.repeats.training.not_converged
    return {"not_at_optimum": n_left} if study.solver == "fista" and n_left else {}


# What each stage's results/<stage>.json says of a run. Where stages say the same, the first is taken.
STAGES: dict[type[Result], Callable[[Any, StudyConfig], Cells]] = {
    PipelineResult: _pipeline,
    ClusterSweepResult: _cluster_sweep,
    MinimalNeuronsResult: _minimal_neurons,
    GeneralRedundancy: _redundancy,
    FineTuningResult: _finetuning,
    BeforeAfter: _before_after,
    SpeedResult: _speed,
}
COLUMNS = (
    "before_test", "before_test_low", "before_test_high", "fine_tuned_dev", "fine_tuned_test",
    "fine_tuned_test_low", "fine_tuned_test_high", "oracle_dev", "oracle_test", "oracle_test_low",
    "oracle_test_high", "delta_layers", "delta_neurons", "clustering", "top_layer", "minimal_neurons", "share",
    "minimal_dev", "minimal_test", "minimal_test_low", "minimal_test_high", "finding", "times_extraction",
    "times_training", "clusters", "redundant_share", "clustered_dev", "clustered_test", "clustered_test_low",
    "clustered_test_high", "clustered_finding", "minimal_of_all", "share_of_all", "minimal_of_all_dev",
    "minimal_of_all_test", "minimal_of_all_test_low", "minimal_of_all_test_high", "finding_of_all",
    "not_at_optimum",
)  # fmt: skip
ENDS = ("_low", "_high")  # of intervals: columns of CSV; in Markdown they are in the score's own cell
NOTES = {
    "before_test": "`before` is the oracle of the encoder as it was before fine-tuning.",
    "fine_tuned_test": "`fine tuned` is the fine-tuned encoder with its own head.",
    "times_extraction": "`times`: how many times as fast as the whole the minimal set reads text, and is trained.",
    "minimal_neurons": "Of a run's minimal sets the smallest that is a finding is shown: its deltas and clustering, "
    "the highest layer (`top layer`) and the number and share of the neurons that are needed.",
    "minimal_of_all": "`minimal of all` is the minimal set searched among the neurons of all layers.",
    "finding": "Where `finding` is no, no set of the run beats the best constant answer on dev by more than its "
    "uncertainty, and what is shown is the smallest that the rules accepted.",
    "clustered_finding": "`clustered finding`: whether one neuron of each cluster beats the best constant answer.",
    "finding_of_all": "`finding of all`: whether the minimal set of all neurons does.",
    "not_at_optimum": "`not at optimum` counts probes that had not met `probe.tolerance` after `probe.max_iterations`: "
    "their scores are not those of the optimum.",
    "clusters": "Clusters are those at `clustering.window_threshold`.",
}
SHARES = ("share", "redundant_share", "share_of_all")


def _shown(column: str, cells: Cells) -> str:
    cell = cells[column]
    if column in SHARES:
        return f"{cell:.1%}"
    if column.endswith(("_dev", "_test")):
        ends = [cells[column + end] for end in ENDS if column + end in cells]
        return f"{cell:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:g}" if isinstance(cell, float) else str(cell)


def _axis_value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
