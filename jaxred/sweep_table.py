"""A sweep's runs side by side, one row a run: as Markdown, and as CSV for further work."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxred.config import StudyConfig, to_dict
from jaxred.errors import UserError
from jaxred.metrics import OVERALL
from jaxred.results import as_csv as csv_text
from jaxred.results import load_result
from jaxred.sweeps import Run
from jaxred.tables.text import markdown
from jaxred.workdir import Workdir

Cells = dict[str, Any]  # by column


def cells(folder: Path, run: Run) -> Cells:
    """What a run's results say, from the stages that have run; nothing where the folder is of other settings."""
    workdir = Workdir(folder / run.name)
    found: Cells = {}
    try:
        if workdir.saved_config() != json.loads(json.dumps(to_dict(run.config))):
            return {}
        for stage, columns in STAGES.items():
            content = load_result(workdir.result(stage))
            if content is not None:
                found = {**columns(content, run.config), **found}
    except UserError:  # damaged: the stage whose result it is says so
        return found
    return found


def as_csv(runs: Sequence[Run], found: Mapping[str, Cells], failed: Mapping[str, str]) -> str:
    """Every number as it is; a column `error` only where a run has failed."""
    columns = _columns(found)
    lines = [["run", *runs[0].values, "metric", *columns, *(["error"] if failed else [])]]
    for run in runs:
        numbers = [found.get(run.name, {}).get(column, "") for column in columns]
        error = [failed.get(run.name, "")] if failed else []
        lines.append([run.name, *run.values.values(), run.config.task.metric, *numbers, *error])
    return csv_text(lines)


def as_markdown(runs: Sequence[Run], found: Mapping[str, Cells], failed: Mapping[str, str]) -> str:
    """The table, what its columns are, and the runs that failed."""
    columns, axes = _columns(found), list(runs[0].values)
    metrics = len({run.config.task.metric for run in runs}) > 1
    lines = [[*axes, *(["metric"] if metrics else []), *(column.replace("_", " ") for column in columns)]]
    for run in runs:
        metric = [run.config.task.metric] if metrics else []
        mine = found.get(run.name, {})
        numbers = ["" if mine.get(column) is None else _shown(column, mine[column]) for column in columns]
        lines.append([*(_axis_value(value) for value in run.values.values()), *metric, *numbers])
    text = markdown(lines, n_text=len(axes))
    metric = "" if metrics else f" Scores are {runs[0].config.task.metric}."
    notes = [note for column, note in NOTES.items() if column in columns]
    text += f"\n\n{' '.join([f'{len(runs)} runs.{metric}', *notes])}\n"
    return text + "".join(f"\nFailed: {name}: {reason}\n" for name, reason in failed.items())


def _columns(found: Mapping[str, Cells]) -> list[str]:
    present = {column for mine in found.values() for column in mine}
    return [column for column in COLUMNS if column in present]


def _pipeline(content: dict[str, Any], config: StudyConfig) -> Cells:
    n_neurons = content["encoder"]["n_layers"] * content["encoder"]["hidden_size"]
    best = min(content["selection"], key=lambda chosen: (chosen["n_minimal"], chosen["top_layer"]))
    return {
        **_scores("oracle", content["oracle"]),
        "delta_layers": best["delta_layers"],
        "delta_neurons": best["delta_neurons"],
        "clustering": "none" if best["clusters"] is None else best["threshold"],
        "top_layer": best["top_layer"],
        "minimal_neurons": best["n_minimal"],
        "share": best["n_minimal"] / n_neurons,
        **_scores("minimal", best["minimal_scores"]),
    }


def _cluster_sweep(content: dict[str, Any], config: StudyConfig) -> Cells:
    at = [entry for entry in content["thresholds"] if entry["threshold"] == config.clustering.window_threshold]
    clustered = [{"clusters": entry["n_clusters"], **_scores("clustered", entry["scores"])} for entry in at]
    return {**_scores("oracle", content["oracle"]), **(clustered[0] if clustered else {})}


def _redundancy(content: dict[str, Any], config: StudyConfig) -> Cells:
    at = [entry for entry in content["thresholds"] if entry["threshold"] == config.clustering.window_threshold]
    return {"clusters": at[0]["n_clusters"], "redundant_share": at[0]["redundant_share"]} if at else {}


def _minimal_neurons(content: dict[str, Any], config: StudyConfig) -> Cells:
    return {
        **_scores("oracle", content["oracle"]),
        "minimal_of_all": content["n_minimal"],
        "share_of_all": content["n_minimal"] / content["n_candidates"],
        **_scores("minimal_of_all", content["minimal_scores"]),
    }


def _scores(name: str, scores: dict[str, dict[str, float]]) -> Cells:
    return {f"{name}_{split}": scores[split][OVERALL] for split in ("dev", "test")}


# What each stage's results/<stage>.json says of a run. Where stages say the same, the first is taken.
STAGES: dict[str, Callable[[dict[str, Any], StudyConfig], Cells]] = {
    "pipeline": _pipeline,
    "cluster_sweep": _cluster_sweep,
    "minimal_neurons": _minimal_neurons,
    "redundancy": _redundancy,
}
COLUMNS = (
    "oracle_dev", "oracle_test", "delta_layers", "delta_neurons", "clustering", "top_layer", "minimal_neurons",
    "share", "minimal_dev", "minimal_test", "clusters", "redundant_share", "clustered_dev", "clustered_test",
    "minimal_of_all", "share_of_all", "minimal_of_all_dev", "minimal_of_all_test",
)  # fmt: skip
NOTES = {
    "minimal_neurons": "Of a run's minimal sets the smallest is shown: its deltas and clustering, the highest layer "
    "(`top layer`) and the number and share of the neurons that are needed.",
    "minimal_of_all": "`minimal of all` is the minimal set searched among the neurons of all layers.",
    "clusters": "Clusters are those at `clustering.window_threshold`.",
}
SHARES = ("share", "redundant_share", "share_of_all")


def _shown(column: str, value: Any) -> str:
    if column in SHARES:
        return f"{value:.1%}"
    if column.endswith(("_dev", "_test")):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _axis_value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
