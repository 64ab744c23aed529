"""Two models on the same rows: CKA between the layers of one and those of the other, and the clusters that they share.

One streaming pass over both stores gives the moments of all their neurons together.
"""

from typing import Any

import numpy as np

from jaxred.activations.store import reading
from jaxred.activations.store.side_by_side import SideBySide
from jaxred.config import ClusteringConfig, StudyConfig, to_dict
from jaxred.errors import UserError
from jaxred.io.result_files import fingerprint
from jaxred.probing.features import split_of
from jaxred.redundancy.clustering import adjusted_rand_index
from jaxred.redundancy.moments import Moments
from jaxred.redundancy.shared_clusters import same_clusters
from jaxred.runs.finished import open_runs
from jaxred.runs.workdir import Workdir
from jaxred.studies.redundancy import Tables, clusterings, kept_or_found, kept_sums, thresholds

FORMAT = 1  # of results/models.json


def run(config: StudyConfig, workdir: Workdir) -> dict[str, Any]:
    """Saves results/models.json, and as CSV CKA by pairs of layers and the shared clusters by threshold.

    The rows are those that the first run's probes train on.

    Raises:
        UserError: if there are not two runs, or they are not of the same rows.
    """
    found = open_runs(config)
    if len(found) != 2:
        raise UserError(f"Two models are compared, but config.task.data_dir names {len(found)} runs: name two.")
    both = SideBySide(found[0].train, found[1].train)
    task = found[0].config.task
    decides = {
        "models": [run.train.ledger.identity for run in found],
        "split": [task.split_seed, task.dev_fraction, "dev" in found[0].stores],
    }
    names = [run.name for run in found]
    identity = fingerprint(["models", FORMAT, names, decides, to_dict(config.clustering)])

    def work() -> tuple[dict[str, Any], Tables]:
        split = split_of(found[0].stores, found[0].config)
        rows = None if split is None else np.asarray(split.train_idx)
        halves = kept_sums(both, rows, decides, workdir.moments)
        moments = [Moments.of(half) for half in (halves[0] + halves[1], *halves) if half.n_rows >= 2]
        sizes = [(run.train.n_layers, run.train.hidden_size) for run in found]
        content = compared(moments, both.real, sizes, config.clustering)
        for entry, one in zip(content["models"], found, strict=True):
            entry |= {"name": one.name, "workdir": str(one.workdir.path), "encoder": one.config.encoder.path}
        return content, {"_cka": _cka_table(content), "_clusters": _clusters_table(content)}

    with reading(run.train for run in found):
        return kept_or_found("models", identity, ("_cka", "_clusters"), workdir, work)


def compared(
    moments: list[Moments], real: np.ndarray, sizes: list[tuple[int, int]], clustering: ClusteringConfig
) -> dict[str, Any]:
    """The content of results/models.json.

    Args:
        moments: of both models' neurons together, over all rows and, if there are enough, over two halves of them.
        real: which neurons a model has.
        sizes: layers and neurons a layer of either model.
        clustering: how neurons are clustered.
    """
    n_first = sizes[0][0]  # layers of the first model
    cka, debiased = moments[0].cka(), moments[0].cka(debiased=True)
    between = cka[:n_first, n_first:]
    correlation = moments[0].correlation()
    if not real.all():
        correlation = correlation[np.ix_(real, real)]
    n_neurons = sizes[0][0] * sizes[0][1]
    alone = None
    if sizes[0] == sizes[1]:  # neurons of the same number may then be of the same origin
        parts = correlation[:n_neurons, :n_neurons], correlation[n_neurons:, n_neurons:]
        alone = [clusterings(part.copy(), clustering) for part in parts]
    together = clusterings(correlation, clustering)
    entries = []
    for threshold in thresholds(clustering):
        first, second = together[threshold][:n_neurons], together[threshold][n_neurons:]
        common = np.intersect1d(first, second)
        entry = {
            "threshold": threshold,
            "n_clusters": together[threshold].max(),
            "n_shared": len(common),
            "shared_share_of_neurons": [np.isin(mine, common).mean() for mine in (first, second)],
        }
        if alone is not None:
            one, other = alone[0][threshold], alone[1][threshold]
            entry["agreement"] = adjusted_rand_index(one, other)
            entry |= same_clusters(one, other)._asdict()
        entries.append(entry)
    halves = [half.cka()[:n_first, n_first:] for half in moments[1:]]
    moved = np.abs(halves[0] - halves[1]) if len(halves) == 2 else np.array([np.nan])
    return {
        "n_rows": moments[0].n_rows,
        "models": [
            {"n_layers": n_layers, "hidden_size": hidden, "cka": cka[mine, mine], "cka_debiased": debiased[mine, mine]}
            for (n_layers, hidden), mine in zip(sizes, (slice(n_first), slice(n_first, None)), strict=True)
        ],
        "cka": between,
        "cka_debiased": debiased[:n_first, n_first:],
        "halves_move_cka_by": None if np.isnan(moved).all() else np.nanmax(moved),
        "most_alike": [_most_alike(row) for row in between],
        "thresholds": entries,
    }


def _most_alike(row: np.ndarray) -> int | None:
    """The layer of the other model that is most like a layer; None for a constant layer."""
    return None if np.isnan(row).all() else int(np.nanargmax(row))


def _cka_table(content: dict[str, Any]) -> list[list[Any]]:
    """A line a pair of layers."""
    pairs = list(np.ndindex(content["cka"].shape))
    lines = [[*pair, content["cka"][pair], content["cka_debiased"][pair]] for pair in pairs]
    return [["layer_of_first", "layer_of_second", "cka", "cka_debiased"], *lines]


def _clusters_table(content: dict[str, Any]) -> list[list[Any]]:
    names = ("threshold", "n_clusters", "n_shared", "agreement", "n_same", "n_same_of_several", "share_of_several")
    shares = ["shared_share_of_first", "shared_share_of_second"]
    entries = content["thresholds"]
    lines = [[*(entry.get(name) for name in names), *entry["shared_share_of_neurons"]] for entry in entries]
    return [[*names, *shares], *lines]
