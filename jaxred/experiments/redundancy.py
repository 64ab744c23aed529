"""General redundancy, whatever the task (Dalvi et al. 2020, section 5): similarity of layers, clusters of neurons.

One pass over the training rows gives both the linear CKA matrix of the layers and the correlations of all neurons.
"""

import logging
from typing import Any

import jax
import numpy as np

from jaxred import moments, streaming
from jaxred.clustering import cluster_tree, window_histogram
from jaxred.config import StudyConfig, to_dict
from jaxred.features import split_of
from jaxred.moments import Moments, Sums
from jaxred.progress import progress_bar
from jaxred.results import fingerprint, load_result, save_result
from jaxred.store import Store
from jaxred.workdir import Workdir

log = logging.getLogger("jaxred")


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
    """CKA between layers, clusters at every threshold, cluster windows, constant neurons; saved as
    results/redundancy.json.
    """
    train = stores["train"]
    identity = fingerprint(["redundancy", train.ledger.identity, to_dict(config.task), to_dict(config.clustering)])
    known = load_result(workdir.result("redundancy"), identity)
    if known is not None:
        log.info("redundancy: kept")
        return known

    found = training_moments(stores, config, workdir)
    tree = cluster_tree(found.correlation(), config.clustering.distance)
    n_neurons = found.n_neurons
    thresholds = []
    for threshold in config.clustering.sweep_thresholds:
        if threshold < 0:  # no clustering
            continue
        labels = tree.cut(threshold)
        sizes = np.bincount(labels)[1:]
        windows = window_histogram(labels, train.hidden_size)
        thresholds.append(
            {
                "threshold": threshold,
                "n_clusters": len(sizes),
                "redundant_share": 1 - len(sizes) / n_neurons,
                "largest_cluster": sizes.max(),
                "n_singletons": np.sum(sizes == 1),
                "n_across_layers": windows[1:].sum(),
            }
        )
    content = {
        "n_rows": found.n_rows,
        "n_layers": train.n_layers,
        "hidden_size": train.hidden_size,
        "cka": found.cka(),
        "thresholds": thresholds,
        "window_threshold": config.clustering.window_threshold,
        "windows": window_histogram(tree.cut(config.clustering.window_threshold), train.hidden_size),
        "constant_neurons": [divmod(neuron, train.hidden_size) for neuron in np.flatnonzero(found.constant).tolist()],
    }
    save_result(workdir.result("redundancy"), identity, content)
    return load_result(workdir.result("redundancy"), identity) or {}
