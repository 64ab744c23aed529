"""Accuracy at every clustering threshold, over all layers (Dalvi et al. 2020, section 5.2)."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxred.activations.store import Store
from jaxred.config import StudyConfig
from jaxred.probing import Probe
from jaxred.probing.families import subset_family
from jaxred.probing.features import Features
from jaxred.redundancy.clustering import cluster_tree, representatives
from jaxred.runs.kept import describe_task, kept_or_run
from jaxred.runs.workdir import Workdir
from jaxred.studies import repeats
from jaxred.studies.redundancy import training_moments
from jaxred.studies.scoring import compare_with, fit_and_score

log = logging.getLogger("jaxred")


def run(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> dict[str, Any]:
    """Probes on all neurons, and on one neuron of each cluster at every threshold; saved as
    results/cluster_sweep.json, and as results/all_results_cluster_sweep.json (the original's format).
    """

    def once(one: StudyConfig, load: Callable[[], Features]) -> tuple[dict[str, Any], dict[str, Probe], Features]:
        features = load()
        correlation = training_moments(stores, one, workdir, config).correlation()
        return *cluster_sweep(features, correlation, one), replace(features, matrices={})

    def work() -> tuple[dict[str, Any], dict[str, Probe], Features]:
        runs = repeats.run_each(stores, config, workdir.scratch, once)
        _, probes, features = runs[0]
        return together([content for content, _, _ in runs]), probes, features

    return kept_or_run("cluster_sweep", ("task", "probe", "clustering"), stores, config, workdir, work)


def cluster_sweep(
    features: Features, correlation: np.ndarray, config: StudyConfig
) -> tuple[dict[str, Any], dict[str, Probe]]:
    """The content of results/cluster_sweep.json without repeats, and the probes by name."""
    tree = cluster_tree(correlation, config.clustering.distance, config.clustering.linkage)
    thresholds = [t for t in config.clustering.sweep_thresholds if t >= 0]
    clusters = [tree.cut(threshold) for threshold in thresholds]
    rule, seed = config.clustering.representative, config.clustering.seed
    variance = features.variance() if rule == "highest_variance" else None
    sets = [np.arange(features.n_neurons)]
    sets += [representatives(labels, rule, correlation, seed, variance) for labels in clusters]
    log.info("cluster sweep: %d probes", len(sets))
    fitted, scored = fit_and_score(subset_family(sets, features.n_neurons), features, config)
    compare_with(scored[0], scored)
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
                "clusters": clusters[i - 1],
                "neurons": sets[i],
            }
            for i, threshold in enumerate(thresholds, 1)
        ],
        "solver": config.probe.solver,
        "training": repeats.training_record(probes),
    }
    return content, probes


def together(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The results of the first repeat and, where there are several, mean, deviation and every run under `repeats`."""
    if len(runs) == 1:
        return runs[0]
    oracles = [run["oracle"] for run in runs]
    spread = {
        "n": len(runs),
        "constant": repeats.spread_of_constant([run["task"] for run in runs]),
        "oracle": repeats.spread_of_scores(oracles, oracles),
        "thresholds": [
            {
                **repeats.spread_of_scores([entry["scores"] for entry in entries], oracles),
                "n_clusters": repeats.spread([entry["n_clusters"] for entry in entries]),
            }
            for entries in zip(*(run["thresholds"] for run in runs), strict=True)
        ],
        "training": repeats.not_converged([run["training"] for run in runs]),
    }
    return {**runs[0], "repeats": spread}
