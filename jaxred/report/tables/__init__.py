"""The table of each kind of result, as lines and as what is printed."""

from collections.abc import Callable
from typing import Any

from jaxred.report.tables.ablation import ablation_lines, ablation_table
from jaxred.report.tables.controls import (
    controls_lines,
    controls_table,
    numbers_with_selectivity,
    pipeline_lines,
    pipeline_table,
)
from jaxred.report.tables.finetuning import (
    before_after_lines,
    before_after_table,
    finetuning_lines,
    finetuning_table,
)
from jaxred.report.tables.layer_measures import layer_lines, layer_measures_table
from jaxred.report.tables.neurons import neurons_lines, neurons_table
from jaxred.report.tables.probes import minimal_lines, minimal_table, sweep_lines, sweep_table
from jaxred.report.tables.rankings import ranking_lines, rankings_table
from jaxred.report.tables.redundancy import redundancy_lines, redundancy_table
from jaxred.report.tables.speed import speed_lines, speed_table
from jaxred.report.tables.together import models_lines, models_table, tasks_lines, tasks_table
from jaxred.studies.results import ControlsResult, PipelineResult, Result

PRINTED: dict[str, Callable[[Any], str]] = {
    "pipeline": pipeline_table,
    "cluster_sweep": sweep_table,
    "minimal_neurons": minimal_table,
    "redundancy": redundancy_table,
    "layer_measures": layer_measures_table,
    "finetuning": finetuning_table,
    "before_after": before_after_table,
    "speed": speed_table,
    "neurons": neurons_table,
    "tasks": tasks_table,
    "models": models_table,
    "ablation": ablation_table,
    "rankings": rankings_table,
    "controls": controls_table,
}


_LINES: dict[str, Callable[[Any], list[list[str]]]] = {
    "pipeline": pipeline_lines,
    "cluster_sweep": lambda result: sweep_lines(result)[0][0],
    "minimal_neurons": lambda result: minimal_lines(result)[0][0],
    "redundancy": redundancy_lines,
    "layer_measures": layer_lines,
    "finetuning": lambda result: finetuning_lines(result)[0][0],
    "before_after": lambda result: before_after_lines(result)[0][0],
    "speed": lambda result: speed_lines(result)[0][0],
    "neurons": neurons_lines,
    "tasks": lambda result: tasks_lines(result)[0][0],
    "models": lambda result: models_lines(result)[0][0],
    "ablation": lambda result: ablation_lines(result)[0][0],
    "rankings": lambda result: ranking_lines(result)[0][0],
    "controls": lambda result: controls_lines(result)[0][0],
}


def printed(result: Result, controls: ControlsResult | None = None) -> str:
    """The table of a result as it is printed: Markdown, with notes; the pipeline's with selectivity by its controls."""
    if isinstance(result, PipelineResult):
        return pipeline_table(result, controls)
    return PRINTED[result.name](result)


def lines(result: Result, controls: ControlsResult | None = None) -> list[list[str]]:
    """The (first) table of a result; the first line is its head; the pipeline's with selectivity by its controls."""
    if isinstance(result, PipelineResult):
        return pipeline_lines(result, controls)
    return _LINES[result.name](result)


def numbers(result: Result, controls: ControlsResult | None = None) -> list[list[Any]]:
    """The rows of a result as they are, for a program; the first line is the head."""
    rows = numbers_with_selectivity(result, controls) if isinstance(result, PipelineResult) else result.rows()
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [columns, *([row.get(column) for column in columns] for row in rows)]
