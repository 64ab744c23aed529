"""Results as lines of CSV files, for a plot or a table of one's own; the first line is the head."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxred.studies.results import ControlsResult, GeneralRedundancy, LayerMeasures, OfHalves, SeveralTasks, TwoModels

Lines = list[list[Any]]


def redundancy_tables(result: GeneralRedundancy) -> dict[str, Lines]:
    """By what follows the results' name in the file's: the curve over thresholds, the windows, and CKA by pairs."""
    named = {"": result}
    return {"": curve_table(named), "_windows": windows_table(named), "_cka": _cka_table(result)}


def layer_tables(result: LayerMeasures) -> dict[str, Lines]:
    """One line per layer, one per pair of layers, and the orders in which layers would be dropped."""
    by_layer = [name for name in result.by_layer for name in (name, f"{name}_first_half", f"{name}_second_half")]
    layers = [[layer, *_with_halves(result.by_layer, layer)] for layer in range(result.n_layers)]
    by_pair = [name for name in result.by_pair for name in (name, f"{name}_first_half", f"{name}_second_half")]
    pairs = [[*pair, *_with_halves(result.by_pair, pair)] for pair in np.ndindex(result.n_layers, result.n_layers)]
    orders = [[each.measure, place, layer] for each in result.orders for place, layer in enumerate(each.layers, 1)]
    return {
        "": [["layer", *by_layer], *layers],
        "_pairs": [["layer", "other_layer", *by_pair], *pairs],
        "_orders": [["measure", "place", "layer"], *orders],
    }


def _with_halves(measures: Mapping[str, OfHalves], at: Any) -> list[Any]:
    """Each measure there, of all rows and of either half."""
    cells = []
    for values in measures.values():
        halves = [half[at] for half in values.halves] or [None, None]
        cells += [values.whole[at], *halves]
    return cells


def controls_tables(result: ControlsResult) -> dict[str, Lines]:
    """A line for every probe."""
    rows = result.rows()
    return {"": [list(rows[0]), *(list(row.values()) for row in rows)]}


def tasks_tables(result: SeveralTasks) -> dict[str, Lines]:
    """The curve and the windows of every task, and the pairs of tasks."""
    named: dict[str, GeneralRedundancy] = {task.run: task for task in result.tasks}
    if result.pooled is not None:
        named["all rows pooled"] = result.pooled
    return {"": curve_table(named), "_windows": windows_table(named), "_pairs": _pairs_table(result)}


def models_tables(result: TwoModels) -> dict[str, Lines]:
    """CKA by pairs of layers, and the shared clusters by threshold."""
    pairs = [[*pair, result.cka[pair], result.cka_debiased[pair]] for pair in np.ndindex(result.cka.shape)]
    names = ("threshold", "n_clusters", "n_shared", "agreement", "n_same", "n_same_of_several", "share_of_several")
    clusters = [
        [*(getattr(entry, name) for name in names), *entry.shared_share_of_neurons] for entry in result.thresholds
    ]
    return {
        "_cka": [["layer_of_first", "layer_of_second", "cka", "cka_debiased"], *pairs],
        "_clusters": [[*names, "shared_share_of_first", "shared_share_of_second"], *clusters],
    }


def curve_table(results: Mapping[str, GeneralRedundancy]) -> Lines:
    """One line per threshold, of every task by its name (which a task alone does not need)."""
    columns = (
        "threshold", "n_clusters", "redundant_share", "largest_cluster", "n_singletons", "n_across_layers",
        "agreement_of_halves",
    )  # fmt: skip
    halves = ["redundant_share_first_half", "redundant_share_second_half"]
    lines = [_with_task("task", results, [*columns, *halves])]
    for name, result in results.items():
        for entry in result.thresholds:
            spread = entry.redundant_share_of_halves or [None, None]
            lines.append(_with_task(name, results, [*(getattr(entry, column) for column in columns), *spread]))
    return lines


def windows_table(results: Mapping[str, GeneralRedundancy]) -> Lines:
    """How many clusters span how many layers: one line per threshold and window, of every task."""
    lines = [_with_task("task", results, ["threshold", "window", "n_clusters"])]
    for name, result in results.items():
        counts = {entry.threshold: entry.windows for entry in result.thresholds}
        for threshold, windows in sorted({**counts, result.window_threshold: result.windows}.items()):
            lines += [_with_task(name, results, [threshold, window, n]) for window, n in enumerate(windows, 1)]
    return lines


def _cka_table(result: GeneralRedundancy) -> Lines:
    """One line per pair of layers."""
    matrices = {name: getattr(result, name) for name in ("cka", "cka_debiased", "cka_without_outliers")}
    pairs = np.ndindex(result.n_layers, result.n_layers)
    return [
        ["layer", "other_layer", *matrices],
        *([*pair, *(matrix[pair] for matrix in matrices.values())] for pair in pairs),
    ]


def _pairs_table(result: SeveralTasks) -> Lines:
    names = ("threshold", "agreement", "n_same", "n_same_of_several", "share_of_several")
    lines: Lines = [["task", "other_task", "cka_differs_by", *names]]
    for pair in result.pairs:
        for entry in pair.thresholds:
            lines.append([*pair.tasks, pair.cka_differs_by, *(getattr(entry, name) for name in names)])
    return lines


def _with_task(task: str, results: Mapping[str, Any], cells: list[Any]) -> list[Any]:
    return cells if list(results) == [""] else [task, *cells]
