"""General redundancy, whatever the task (Dalvi et al. 2020, section 5): similarity of layers, clusters of neurons.

One pass over the training rows gives both the linear CKA matrix of the layers and the correlations of all neurons.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxred.activations.store import Store
from jaxred.activations.store.side_by_side import SideBySide
from jaxred.config import ClusteringConfig, StudyConfig, to_dict
from jaxred.io import digests
from jaxred.io.files import write_text
from jaxred.io.locks import lock
from jaxred.io.progress import progress_bar
from jaxred.io.result_files import as_csv, fingerprint, load_result, load_whole, save_result
from jaxred.probing.features import split_of
from jaxred.redundancy import moments, streaming, unusual_neurons
from jaxred.redundancy.clustering import adjusted_rand_index, cluster_tree, window_histogram
from jaxred.redundancy.moments import Moments, Sums
from jaxred.runs.workdir import Workdir

log = logging.getLogger("jaxred")

FORMAT = 3  # of results/redundancy.json
N_TWINS = 20  # pairs of neurons that are listed

Tables = dict[str, list[list[Any]]]  # lines of CSV files, by what follows the results' name in the file's


def training_sums(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> list[Sums]:
    """Sums over two halves of the rows that probes train on; kept in the workdir, also while they are made."""
    train = stores["train"]
    split = split_of(stores, config)
    rows = None if split is None else np.asarray(split.train_idx)
    identity = {
        "store": train.ledger.identity,
        "split": None if split is None else [config.task.split_seed, config.task.dev_fraction],
    }
    return kept_sums(train, rows, identity, workdir.moments)


def kept_sums(store: Store | SideBySide, rows: np.ndarray | None, identity: dict[str, Any], file: Path) -> list[Sums]:
    """Sums over two halves of some rows, from the file if it is of this identity, or new ones that are kept there."""
    known = moments.load(file, identity)
    if known is not None:
        return known[0]
    with lock(file.parent, wait=True, leftovers=["*"]):  # of another run's folder, maybe, or of several runs'
        return _new_sums(store, rows, identity, file)


def _new_sums(store: Store | SideBySide, rows: np.ndarray | None, identity: dict[str, Any], file: Path) -> list[Sums]:
    known = moments.load(file, identity)  # another process may have made them meanwhile
    if known is not None:
        return known[0]
    unfinished = file.with_suffix(f".unfinished{jax.process_index() or ''}.npz")
    with progress_bar(store.n_rows, "moments", "rows") as bar:
        sums = streaming.from_store(store, rows, bar.update, unfinished, identity)
    if jax.process_index() == 0:
        moments.save(file, sums, identity)
    unfinished.unlink(missing_ok=True)
    return sums


def training_moments(
    stores: dict[str, Store], config: StudyConfig, workdir: Workdir, of_workdir: StudyConfig | None = None
) -> Moments:
    """Moments over the rows that probes train on.

    Args:
        stores: the activations.
        config: which rows those are.
        workdir: keeps their sums.
        of_workdir: the workdir's configuration, where `config` is that of a repeat. Sums over the rows of another
            split are not kept, so that those of the study stay.
    """
    if of_workdir is not None and config.task.split_seed != of_workdir.task.split_seed:
        split = split_of(stores, config)
        if split is not None:
            with progress_bar(stores["train"].n_rows, "moments", "rows") as bar:
                first, second = streaming.from_store(stores["train"], np.asarray(split.train_idx), bar.update)
            return Moments.of(first + second)
    first, second = training_sums(stores, config, workdir)
    return Moments.of(first + second)


def run(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> dict[str, Any]:
    """CKA between layers, clusters and their windows at every threshold, twins, outliers and constants; saved as
    results/redundancy.json, and as CSV: the curve over thresholds, the windows, and CKA by pairs of layers.
    """
    train = stores["train"]
    settings = [to_dict(config.task), to_dict(config.clustering)]
    identity = fingerprint(["redundancy", FORMAT, train.ledger.identity, settings])

    def work() -> tuple[dict[str, Any], Tables]:
        content = general_redundancy(training_sums(stores, config, workdir), config)
        curve, windows = curve_table({"": content}), windows_table({"": content})
        return content, {"": curve, "_windows": windows, "_cka": _cka_table(content)}

    return kept_or_found("redundancy", identity, ("", "_windows", "_cka"), workdir, work)


def kept_or_found(
    name: str,
    identity: str,
    tables: Sequence[str],
    workdir: Workdir,
    work: Callable[[], tuple[dict[str, Any], Tables]],
) -> dict[str, Any]:
    """The results in the workdir if they and their tables are whole and of this identity, or new ones, saved; what is
    damaged is named.

    Args:
        name: of the results, results/`name`.json.
        identity: of all that decides them.
        tables: what follows the name in the names of their CSV files.
        workdir: where results go.
        work: gives the content, and the lines of each CSV file.
    """
    file = workdir.result(name)
    files = {end: file.with_name(f"{name}{end}.csv") for end in tables}
    known = load_whole(file, identity)
    if known is not None:
        found = digests.faults(workdir.path, name, identity)
        if not found and all(table.exists() for table in files.values()):
            log.info("%s: kept", name)
            return known
        digests.warn(workdir.path, found, "the results are made again")
    content, found = work()
    for end, table in files.items():
        write_text(table, as_csv(found[end]))
    digests.record(workdir.path, name, identity, files.values())
    save_result(file, identity, content)
    return load_result(file, identity) or {}


def general_redundancy(halves: Sequence[Sums], config: StudyConfig) -> dict[str, Any]:
    """The content of results/redundancy.json: of both halves of the sentences together, and how far they differ."""
    return analyse(halves, config.clustering).content


def clusterings(
    correlation: Float[np.ndarray, "neuron neuron"], clustering: ClusteringConfig
) -> dict[float, Int[np.ndarray, " neuron"]]:
    """Each neuron's cluster, at every threshold and at that of the windows; the correlation is given up."""
    tree = cluster_tree(correlation, clustering.distance, clustering.linkage, donate=True)
    return {threshold: tree.cut(threshold) for threshold in [*thresholds(clustering), clustering.window_threshold]}


def thresholds(clustering: ClusteringConfig) -> list[float]:
    """Those of the sweep, without the one below 0, which is no clustering."""
    return [threshold for threshold in clustering.sweep_thresholds if threshold >= 0]


class Analysis(NamedTuple):
    """General redundancy of some rows."""

    content: dict[str, Any]  # of results/redundancy.json
    labels: dict[float, Int[np.ndarray, " neuron"]]  # each neuron's cluster, by threshold


def analyse(halves: Sequence[Sums], clustering: ClusteringConfig) -> Analysis:
    """General redundancy of both halves of the sentences together, and how far they differ."""
    found = Moments.of(halves[0] + halves[1])
    hidden_size = found.hidden_size
    correlation = found.correlation()
    alike = unusual_neurons.twins(correlation, N_TWINS)
    by_threshold = clusterings(correlation, clustering)
    del correlation
    of_halves = []
    if min(half.n_rows for half in halves) >= 2:
        of_halves = [clusterings(Moments.of(half).correlation(), clustering) for half in halves]
    entries = []
    for threshold in thresholds(clustering):
        labels = by_threshold[threshold]
        sizes, windows = np.bincount(labels)[1:], window_histogram(labels, hidden_size)
        entry = {
            "threshold": threshold,
            "n_clusters": len(sizes),
            "redundant_share": 1 - len(sizes) / found.n_neurons,
            "largest_cluster": sizes.max(),
            "n_singletons": np.sum(sizes == 1),
            "n_across_layers": windows[1:].sum(),
            "windows": windows,
        }
        if of_halves:
            first, second = (labels[threshold] for labels in of_halves)
            entry["redundant_share_of_halves"] = [1 - alone.max() / found.n_neurons for alone in (first, second)]
            entry["agreement_of_halves"] = adjusted_rand_index(first, second)
        entries.append(entry)
    outliers = unusual_neurons.outliers(found)
    cka = found.cka()
    rest = found.without(outliers).cka()
    moved = np.abs(rest - cka)

    def places(neurons: np.ndarray) -> list[tuple[int, int]]:
        return [divmod(neuron, hidden_size) for neuron in neurons.tolist()]

    content = {
        "n_rows": found.n_rows,
        "n_layers": found.n_layers,
        "hidden_size": hidden_size,
        "cka": cka,
        "cka_debiased": found.cka(debiased=True),
        "cka_without_outliers": rest,
        "outliers_move_cka_by": 0.0 if np.isnan(moved).all() else np.nanmax(moved),
        "thresholds": entries,
        "window_threshold": clustering.window_threshold,
        "windows": window_histogram(by_threshold[clustering.window_threshold], hidden_size),
        "twins": [
            {"neurons": places(pair), "r": float(r)} for pair, r in zip(alike.pairs, alike.correlations, strict=True)
        ],
        "constant_neurons": places(np.flatnonzero(found.constant)),
        "nearly_constant_neurons": places(unusual_neurons.nearly_constant(found)),
        "outlier_neurons": places(outliers),
    }
    return Analysis(content, by_threshold)


def curve_table(found: Mapping[str, dict[str, Any]]) -> list[list[Any]]:
    """A line a threshold, of every task by its name (which a task alone does not need), for a plot of one's own."""
    columns = (
        "threshold", "n_clusters", "redundant_share", "largest_cluster", "n_singletons", "n_across_layers",
        "agreement_of_halves",
    )  # fmt: skip
    halves = ["redundant_share_first_half", "redundant_share_second_half"]
    lines = [_with_task("task", found, [*columns, *halves])]
    for name, content in found.items():
        for entry in content["thresholds"]:
            spread = entry.get("redundant_share_of_halves", [None, None])
            lines.append(_with_task(name, found, [*(entry.get(column) for column in columns), *spread]))
    return lines


def windows_table(found: Mapping[str, dict[str, Any]]) -> list[list[Any]]:
    """How many clusters span how many layers: a line a threshold and window, of every task."""
    lines = [_with_task("task", found, ["threshold", "window", "n_clusters"])]
    for name, content in found.items():
        counts = {entry["threshold"]: entry["windows"] for entry in content["thresholds"]}
        for threshold, mine in sorted({**counts, content["window_threshold"]: content["windows"]}.items()):
            lines += [_with_task(name, found, [threshold, window, count]) for window, count in enumerate(mine, 1)]
    return lines


def _cka_table(content: dict[str, Any]) -> list[list[Any]]:
    """A line a pair of layers."""
    names = ("cka", "cka_debiased", "cka_without_outliers")
    layers = range(content["n_layers"])
    pairs = [(layer, other) for layer in layers for other in layers]
    return [["layer", "other_layer", *names], *([*pair, *(content[name][pair] for name in names)] for pair in pairs)]


def _with_task(task: str, found: Mapping[str, Any], cells: list[Any]) -> list[Any]:
    return cells if list(found) == [""] else [task, *cells]
