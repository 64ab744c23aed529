"""The table of each kind of result, as lines and as what is printed."""

from collections.abc import Callable
from typing import Any

from jaxred.report.tables.controls import controls_lines, controls_table
from jaxred.report.tables.finetuning import (
    before_after_lines,
    before_after_table,
    finetuning_lines,
    finetuning_table,
)
from jaxred.report.tables.probes import (
    cells,
    minimal_lines,
    minimal_table,
    pipeline_head,
    pipeline_table,
    rows,
    sweep_lines,
    sweep_table,
)
from jaxred.report.tables.redundancy import redundancy_lines, redundancy_table
from jaxred.report.tables.speed import speed_lines, speed_table
from jaxred.report.tables.together import models_lines, models_table, tasks_lines, tasks_table
from jaxred.studies.results import PipelineResult, Result

PRINTED: dict[str, Callable[[Any], str]] = {
    "pipeline": pipeline_table,
    "cluster_sweep": sweep_table,
    "minimal_neurons": minimal_table,
    "redundancy": redundancy_table,
    "finetuning": finetuning_table,
    "before_after": before_after_table,
    "speed": speed_table,
    "tasks": tasks_table,
    "models": models_table,
    "controls": controls_table,
}


def _pipeline_lines(pipeline: PipelineResult) -> list[list[str]]:
    return [pipeline_head(pipeline), *map(cells, rows(pipeline))]


_LINES: dict[str, Callable[[Any], list[list[str]]]] = {
    "pipeline": _pipeline_lines,
    "cluster_sweep": lambda result: sweep_lines(result)[0][0],
    "minimal_neurons": lambda result: minimal_lines(result)[0][0],
    "redundancy": redundancy_lines,
    "finetuning": lambda result: finetuning_lines(result)[0][0],
    "before_after": lambda result: before_after_lines(result)[0][0],
    "speed": lambda result: speed_lines(result)[0][0],
    "tasks": lambda result: tasks_lines(result)[0][0],
    "models": lambda result: models_lines(result)[0][0],
    "controls": lambda result: controls_lines(result)[0][0],
}


def printed(result: Result) -> str:
    """The table of a result as it is printed: Markdown, with notes."""
    return PRINTED[result.name](result)


def lines(result: Result) -> list[list[str]]:
    """The (first) table of a result; the first line is its head."""
    return _LINES[result.name](result)
