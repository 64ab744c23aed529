"""General redundancy of several tasks together: their curves, their windows summed, how far their clusters agree.

The paper's histogram of cluster windows is summed over its tasks. The tasks' encoders may differ in weights, as
fine-tuned ones do, but not in shape; where they are the same encoder, all rows are also pooled.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxred.activations.store import reading
from jaxred.config import StudyConfig, to_dict
from jaxred.errors import UserError
from jaxred.io.result_files import fingerprint
from jaxred.redundancy.clustering import adjusted_rand_index
from jaxred.redundancy.moments import Sums
from jaxred.redundancy.shared_clusters import same_clusters
from jaxred.runs.finished import Finished, open_runs
from jaxred.runs.workdir import Workdir
from jaxred.studies.redundancy import Analysis, Tables, analyse, curve_table, kept_or_found, thresholds, windows_table
from jaxred.studies.repeats import spread

FORMAT = 1  # of results/tasks.json
DECIDES_MODEL = ("encoder", "tokenizer", "transformer_layers", "pooling")  # of a ledger's identity


def run(config: StudyConfig, workdir: Workdir) -> dict[str, Any]:
    """Saves results/tasks.json, and as CSV the curve and the windows of every task, and the pairs of tasks.

    Raises:
        UserError: if the runs are not there, or their encoders are not of one shape.
    """
    found = open_runs(config)
    _check_shapes(found)
    clustering = config.clustering
    runs = [
        [run.name, run.train.ledger.identity, run.config.task.split_seed, run.config.task.dev_fraction] for run in found
    ]
    identity = fingerprint(["tasks", FORMAT, runs, to_dict(clustering)])

    def work() -> tuple[dict[str, Any], Tables]:
        analyses: dict[str, Analysis] = {}
        reason = why_not_pooled(found)
        pooled: list[Sums] | None = None
        # The task of the most rows comes first, so that the common shift is near the pooled mean.
        for one in sorted(found, key=lambda run: -run.train.n_rows):
            halves = one.sums()
            analyses[one.name] = analyse(halves, clustering)
            if reason is None:
                pooled = halves if pooled is None else add_around(pooled, halves)
        everyone = None if pooled is None else analyse(pooled, clustering).content
        content = together({run.name: analyses[run.name] for run in found}, config)
        for entry, one in zip(content["tasks"], found, strict=True):
            entry |= {"workdir": str(one.workdir.path), "task": one.config.task.name}
        content |= {"pooled": everyone, "why_not_pooled": reason}
        by_name = {entry["name"]: entry for entry in content["tasks"]}
        curves = by_name if everyone is None else {**by_name, "all rows pooled": everyone}
        pairs = _pairs_table(content["pairs"])
        return content, {"": curve_table(curves), "_windows": windows_table(curves), "_pairs": pairs}

    with reading(run.train for run in found):
        return kept_or_found("tasks", identity, ("", "_windows", "_pairs"), workdir, work)


def together(analyses: dict[str, Analysis], config: StudyConfig) -> dict[str, Any]:
    """What the tasks have in common, and each pair of them, of clusterings made with the same settings."""
    contents = [found.content for found in analyses.values()]
    mean = [
        {
            "threshold": entries[0]["threshold"],
            **{key: spread([entry[key] for entry in entries]) for key in ("n_clusters", "redundant_share")},
        }
        for entries in zip(*(content["thresholds"] for content in contents), strict=True)
    ]
    return {
        "n_layers": contents[0]["n_layers"],
        "hidden_size": contents[0]["hidden_size"],
        "tasks": [{"name": name, **found.content} for name, found in analyses.items()],
        "mean": mean,
        "window_threshold": config.clustering.window_threshold,
        "windows": np.sum([content["windows"] for content in contents], axis=0),
        "pairs": [
            _pair(names, [analyses[name] for name in names], config) for names in itertools.combinations(analyses, 2)
        ],
    }


def add_around(pooled: Sequence[Sums], halves: Sequence[Sums]) -> list[Sums]:
    """The halves of all rows together, around the shift of the first."""
    return [mine + other.around(mine.shift) for mine, other in zip(pooled, halves, strict=True)]


def why_not_pooled(found: Sequence[Finished]) -> str | None:
    """Why the rows of the runs may not be pooled; None where all are vectors of one encoder."""
    for one in found:
        missing = [name for name in DECIDES_MODEL if name not in one.train.ledger.identity]
        if missing:
            return f"{one.name} does not say which encoder its activations are of"
    first = found[0]
    for one in found[1:]:
        mine, other = first.train.ledger.identity, one.train.ledger.identity
        differ = [name.replace("_", " ") for name in DECIDES_MODEL if mine[name] != other[name]]
        if differ:
            return f"{first.name} and {one.name} are of another {' and '.join(differ)}"
    return None


def _check_shapes(found: Sequence[Finished]) -> None:
    first = found[0].train
    for one in found[1:]:
        shape = one.train.n_layers, one.train.hidden_size
        if shape != (first.n_layers, first.hidden_size):
            raise UserError(
                f"{one.workdir.path} has activations of {shape[0]} layers x {shape[1]} neurons and "
                f"{found[0].workdir.path} of {first.n_layers} x {first.hidden_size}: several tasks are put together "
                "for one architecture. To compare two models on the same rows, use configs/models.py."
            )


def _pair(names: Sequence[str], pair: Sequence[Analysis], config: StudyConfig) -> dict[str, Any]:
    one, other = pair
    moved = np.abs(one.content["cka"] - other.content["cka"])
    moved = moved[np.triu_indices(len(moved), 1)]
    defined = moved[np.isfinite(moved)]
    return {
        "tasks": list(names),
        "cka_differs_by": float(defined.max()) if len(defined) else None,
        "cka_differs_by_on_average": float(defined.mean()) if len(defined) else None,
        "thresholds": [
            {
                "threshold": threshold,
                "agreement": adjusted_rand_index(one.labels[threshold], other.labels[threshold]),
                **same_clusters(one.labels[threshold], other.labels[threshold])._asdict(),
            }
            for threshold in thresholds(config.clustering)
        ],
    }


def _pairs_table(pairs: Sequence[dict[str, Any]]) -> list[list[Any]]:
    names = ("threshold", "agreement", "n_same", "n_same_of_several", "share_of_several")
    lines = [["task", "other_task", "cka_differs_by", *names]]
    for pair in pairs:
        for entry in pair["thresholds"]:
            lines.append([*pair["tasks"], pair["cka_differs_by"], *(entry[name] for name in names)])
    return lines
