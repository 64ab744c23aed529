"""General redundancy, whatever the task (Dalvi et al. 2020, section 5): similarity of layers, clusters of neurons.

One pass over the training rows gives both the linear CKA matrix of the layers and the correlations of all neurons.
"""

import csv
import io
import logging
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxred import moments, repetition, streaming
from jaxred.clustering import adjusted_rand_index, cluster_tree, window_histogram
from jaxred.config import StudyConfig, to_dict
from jaxred.features import split_of
from jaxred.files import write_text
from jaxred.moments import Moments, Sums
from jaxred.progress import progress_bar
from jaxred.results import fingerprint, load_result, save_result
from jaxred.store import Store
from jaxred.workdir import Workdir

log = logging.getLogger("jaxred")

FORMAT = 2  # of results/redundancy.json
N_TWINS = 20  # pairs of neurons that are listed


def training_sums(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> list[Sums]:
    """Sums over two halves of the rows that probes train on; kept in the workdir, also while they are made."""
    train = stores["train"]
    split = split_of(stores, config)
    rows = None if split is None else np.asarray(split.train_idx)
    identity = {
        "store": train.ledger.identity,
        "split": None if split is None else [config.task.split_seed, config.task.dev_fraction],
    }
    known = moments.load(workdir.moments, identity)
    if known is not None:
        return known[0]
    unfinished = workdir.moments.with_suffix(f".unfinished{jax.process_index() or ''}.npz")
    with progress_bar(train.n_rows, "moments", "rows") as bar:
        sums = streaming.from_store(train, rows, bar.update, unfinished, identity)
    if jax.process_index() == 0:
        moments.save(workdir.moments, sums, identity)
    unfinished.unlink(missing_ok=True)
    return sums


def training_moments(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> Moments:
    """Moments over the rows that probes train on."""
    first, second = training_sums(stores, config, workdir)
    return Moments.of(first + second)


def run(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> dict[str, Any]:
    """CKA between layers, clusters at every threshold, cluster windows, twins, outliers and constants; saved as
    results/redundancy.json, and the curve over thresholds as results/redundancy.csv.
    """
    train = stores["train"]
    settings = [to_dict(config.task), to_dict(config.clustering)]
    identity = fingerprint(["redundancy", FORMAT, train.ledger.identity, settings])
    known = load_result(workdir.result("redundancy"), identity)
    table = workdir.result("redundancy").with_suffix(".csv")
    if known is not None and table.exists():
        log.info("redundancy: kept")
        return known

    content = general_redundancy(training_sums(stores, config, workdir), config)
    write_text(table, _csv(content["thresholds"]))
    save_result(workdir.result("redundancy"), identity, content)
    return load_result(workdir.result("redundancy"), identity) or {}


def general_redundancy(halves: Sequence[Sums], config: StudyConfig) -> dict[str, Any]:
    """The content of results/redundancy.json: of both halves of the sentences together, and how far they differ."""
    found = Moments.of(halves[0] + halves[1])
    hidden_size, clustering = found.hidden_size, config.clustering
    thresholds = [threshold for threshold in clustering.sweep_thresholds if threshold >= 0]  # below 0: no clustering
    correlation = found.correlation()
    alike = repetition.twins(correlation, N_TWINS)
    tree = cluster_tree(correlation, clustering.distance, clustering.linkage)
    del correlation
    of_halves = []
    if min(half.n_rows for half in halves) >= 2:
        for half in halves:
            alone = cluster_tree(Moments.of(half).correlation(), clustering.distance, clustering.linkage)
            of_halves.append([alone.cut(threshold) for threshold in thresholds])
    entries = []
    for number, threshold in enumerate(thresholds):
        labels = tree.cut(threshold)
        sizes = np.bincount(labels)[1:]
        entry = {
            "threshold": threshold,
            "n_clusters": len(sizes),
            "redundant_share": 1 - len(sizes) / found.n_neurons,
            "largest_cluster": sizes.max(),
            "n_singletons": np.sum(sizes == 1),
            "n_across_layers": window_histogram(labels, hidden_size)[1:].sum(),
        }
        if of_halves:
            first, second = (labels[number] for labels in of_halves)
            entry["redundant_share_of_halves"] = [1 - alone.max() / found.n_neurons for alone in (first, second)]
            entry["agreement_of_halves"] = adjusted_rand_index(first, second)
        entries.append(entry)
    outliers = repetition.outliers(found)
    cka = found.cka()
    rest = repetition.without(found, outliers).cka()
    moved = np.abs(rest - cka)

    def places(neurons: np.ndarray) -> list[tuple[int, int]]:
        return [divmod(neuron, hidden_size) for neuron in neurons.tolist()]

    return {
        "n_rows": found.n_rows,
        "n_layers": found.n_layers,
        "hidden_size": hidden_size,
        "cka": cka,
        "cka_debiased": found.cka(debiased=True),
        "cka_without_outliers": rest,
        "outliers_move_cka_by": 0.0 if np.isnan(moved).all() else np.nanmax(moved),
        "thresholds": entries,
        "window_threshold": clustering.window_threshold,
        "windows": window_histogram(tree.cut(clustering.window_threshold), hidden_size),
        "twins": [
            {"neurons": places(pair), "r": float(r)} for pair, r in zip(alike.pairs, alike.correlations, strict=True)
        ],
        "constant_neurons": places(np.flatnonzero(found.constant)),
        "nearly_constant_neurons": places(repetition.nearly_constant(found)),
        "outlier_neurons": places(outliers),
    }


def _csv(entries: Sequence[dict[str, Any]]) -> str:
    """A line a threshold, for a plot of one's own."""
    names = [name for name in entries[0] if name != "redundant_share_of_halves"] if entries else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "redundant_share_first_half", "redundant_share_second_half"])
    for entry in entries:
        writer.writerow([*(entry[name] for name in names), *entry.get("redundant_share_of_halves", ["", ""])])
    return text.getvalue()
