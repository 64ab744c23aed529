"""General redundancy, whatever the task (Dalvi et al. 2020, section 5): similarity of layers, clusters of neurons.

One pass over the training rows gives both the linear CKA matrix of the layers and the correlations of all neurons.
"""

import logging
from typing import Any

import numpy as np

from jaxred import moments as moments_module
from jaxred.clustering import cluster_tree, window_histogram
from jaxred.config import StudyConfig, to_dict
from jaxred.features import split_of
from jaxred.moments import Moments
from jaxred.progress import progress_bar
from jaxred.results import fingerprint, load_result, save_result
from jaxred.store import Store
from jaxred.workdir import Workdir

log = logging.getLogger("jaxred")


def training_moments(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> Moments:
    """Moments over the rows that probes train on; kept in the workdir."""
    train = stores["train"]
    split = split_of(stores, config)
    rows = None if split is None else np.asarray(split.train_idx)
    identity = {
        "store": train.ledger.identity,
        "split": None if split is None else [config.task.split_seed, config.task.dev_fraction],
    }
    known = moments_module.load(workdir.moments, identity)
    if known is not None:
        return known
    with progress_bar(train.n_rows, "moments", "rows") as bar:
        moments = moments_module.from_store(train, rows, bar.update)
    moments_module.save(workdir.moments, moments, identity)
    return moments


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

    moments = training_moments(stores, config, workdir)
    tree = cluster_tree(moments.correlation(), config.clustering.distance)
    n_neurons = len(moments.mean)
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
        "n_rows": moments.n_rows,
        "n_layers": train.n_layers,
        "hidden_size": train.hidden_size,
        "cka": moments.cka(train.hidden_size),
        "thresholds": thresholds,
        "window_threshold": config.clustering.window_threshold,
        "windows": window_histogram(tree.cut(config.clustering.window_threshold), train.hidden_size),
        "constant_neurons": [divmod(neuron, train.hidden_size) for neuron in np.flatnonzero(moments.constant).tolist()],
    }
    save_result(workdir.result("redundancy"), identity, content)
    return load_result(workdir.result("redundancy"), identity) or {}
