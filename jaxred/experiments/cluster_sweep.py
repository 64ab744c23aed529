"""Accuracy at every clustering threshold, over all layers (Dalvi et al. 2020, section 5.2)."""

import logging
from typing import Any

import numpy as np

from jaxred.clustering import cluster_tree, representatives
from jaxred.config import StudyConfig
from jaxred.experiments import repeats
from jaxred.experiments.kept import describe_task, kept_or_run
from jaxred.experiments.redundancy import training_moments
from jaxred.experiments.scoring import fit_and_score
from jaxred.families import subset_family
from jaxred.features import Features, load_features
from jaxred.probing import Probe, repeated_settings
from jaxred.store import Store
from jaxred.workdir import Workdir

log = logging.getLogger("jaxred")


def run(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> dict[str, Any]:
    """Probes on all neurons, and on one neuron of each cluster at every threshold; saved as
    results/cluster_sweep.json, and as results/all_results_cluster_sweep.json (the original's format).
    """

    def work() -> tuple[dict[str, Any], dict[str, Probe], Features]:
        features = load_features(stores, config, workdir.scratch)
        correlation = training_moments(stores, config, workdir).correlation()
        return *cluster_sweep(features, correlation, config), features

    return kept_or_run("cluster_sweep", ("task", "probe", "clustering"), stores, config, workdir, work)


def cluster_sweep(
    features: Features, correlation: np.ndarray, config: StudyConfig
) -> tuple[dict[str, Any], dict[str, Probe]]:
    """The content of results/cluster_sweep.json, and the probes of the first repeat by name."""
    tree = cluster_tree(correlation, config.clustering.distance, config.clustering.linkage)
    thresholds = [t for t in config.clustering.sweep_thresholds if t >= 0]
    labels = {threshold: tree.cut(threshold) for threshold in thresholds}
    configs = repeats.configs(config)
    variance = features.variance() if config.clustering.representative == "highest_variance" else None
    sets = []
    for mine in configs:
        sets.append(np.arange(features.n_neurons))
        for found in labels.values():
            rule, seed = config.clustering.representative, mine.clustering.seed
            sets.append(representatives(found, rule, correlation, seed, variance))
    n_sets = 1 + len(thresholds)
    log.info("cluster sweep: %d probes", len(sets))
    family = subset_family(sets, features.n_neurons)
    settings = repeated_settings(config.probe, n_sets, config.repeats)
    fitted, scored = fit_and_score(family, features, config, settings)
    names = ["no-clustering", *(f"clustering-{threshold:.2f}" for threshold in thresholds)]
    probes = {name: fitted.probe(i) for i, name in enumerate(names)}
    content = {
        "task": describe_task(config, features),
        "n_layers": features.n_layers,
        "hidden_size": features.hidden_size,
        "oracle": scored[0],
        "thresholds": [
            {
                "threshold": threshold,
                "n_clusters": len(sets[i]),
                "scores": scored[i],
                "clusters": labels[threshold],
                "neurons": sets[i],
            }
            for i, threshold in enumerate(thresholds, 1)
        ],
        "training": repeats.training_record(probes),
    }
    if config.repeats > 1:
        spreads = [repeats.spread_of_scores(scored[i::n_sets]) for i in range(n_sets)]
        content["repeats"] = {"n": config.repeats, "oracle": spreads[0], "thresholds": spreads[1:]}
    return content, probes
