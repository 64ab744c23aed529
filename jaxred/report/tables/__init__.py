"""The tables of a study's results: one worth pasting for each study, and the warnings that belong under them."""

from jaxred.report.tables.probes import minimal_table, pipeline_table, sweep_table
from jaxred.report.tables.redundancy import redundancy_table
from jaxred.report.tables.together import models_table, tasks_table

__all__ = ["REDUNDANCY", "minimal_table", "pipeline_table", "sweep_table"]

REDUNDANCY = {"redundancy": redundancy_table, "tasks": tasks_table, "models": models_table}  # by the results' name
