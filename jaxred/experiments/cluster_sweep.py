"""Accuracy at every clustering threshold, over all layers (Dalvi et al. 2020, section 5.2)."""

import logging
from typing import Any

import numpy as np

from jaxred.checkpoints import save_probes
from jaxred.clustering import cluster_tree, representatives
from jaxred.config import StudyConfig, to_dict
from jaxred.experiments.redundancy import training_moments
from jaxred.experiments.scoring import fit_and_score
from jaxred.features import load_features
from jaxred.probing import subset_family
from jaxred.results import fingerprint, load_result, save_result
from jaxred.store import Store
from jaxred.workdir import Workdir

log = logging.getLogger("jaxred")


def run(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> dict[str, Any]:
    """Probes on all neurons, and on one neuron of each cluster at every threshold; saved as
    results/cluster_sweep.json.
    """
    sections = [to_dict(part) for part in (config.task, config.probe, config.clustering)]
    identity = fingerprint(["cluster_sweep", {name: store.ledger.identity for name, store in stores.items()}, sections])
    known = load_result(workdir.result("cluster_sweep"), identity)
    if known is not None:
        log.info("cluster sweep: kept")
        return known

    features = load_features(stores, config, workdir.scratch)
    correlation = training_moments(stores, config, workdir).correlation()
    tree = cluster_tree(correlation, config.clustering.distance)
    kept = {}
    for threshold in config.clustering.sweep_thresholds:
        kept[threshold] = representatives(
            tree.cut(threshold), config.clustering.representative, correlation, config.clustering.seed
        )
    subsets = [np.arange(features.n_neurons), *kept.values()]
    log.info("cluster sweep: %d probes", len(subsets))
    fitted, scored = fit_and_score(subset_family(subsets, features.n_neurons), features, config)
    names = ["no-clustering", *(f"clustering-{threshold:.2f}" for threshold in kept)]
    save_probes(workdir.probes("cluster_sweep"), {name: fitted.probe(i) for i, name in enumerate(names)}, features)
    content = {
        "oracle": scored[0],
        "thresholds": [
            {"threshold": threshold, "n_clusters": len(neurons), "scores": scored[i + 1], "neurons": neurons}
            for i, (threshold, neurons) in enumerate(kept.items())
        ],
    }
    save_result(workdir.result("cluster_sweep"), identity, content)
    return load_result(workdir.result("cluster_sweep"), identity) or {}
