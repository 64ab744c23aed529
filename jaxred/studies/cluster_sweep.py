"""Accuracy at every clustering threshold, over all layers (Dalvi et al. 2020, section 5.2)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jaxred.config import ClusteringConfig, ProbeConfig
from jaxred.probing import Probe
from jaxred.probing.families import subset_family
from jaxred.probing.features import Features
from jaxred.statistics.clustering import cluster_tree, representatives
from jaxred.studies import repeats
from jaxred.studies.results import ClusterSweepRepeats, ClusterSweepResult, SweepEntry, SweepEntryOfRepeats
from jaxred.studies.scoring import compare_with, describe_task, fit_and_score


def cluster_sweep(
    features: Features, correlation: np.ndarray, probe: ProbeConfig, clustering: ClusteringConfig
) -> tuple[ClusterSweepResult, dict[str, Probe]]:
    """Probes on all neurons, and on one neuron of each cluster at every threshold; without repeats.

    Args:
        features: the data.
        correlation: of the neurons, [neuron, neuron], over the training rows.
        probe: how probes are trained.
        clustering: how neurons are clustered.

    Returns:
        The result, and the probes by name.
    """
    tree = cluster_tree(correlation, clustering.distance, clustering.linkage)
    thresholds = [t for t in clustering.sweep_thresholds if t >= 0]
    clusters = [tree.cut(threshold) for threshold in thresholds]
    rule, seed = clustering.representative, clustering.seed
    variance = features.variance() if rule == "highest_variance" else None
    sets = [np.arange(features.n_neurons)]
    sets += [representatives(labels, rule, correlation, seed, variance) for labels in clusters]
    fitted, scored = fit_and_score(subset_family(sets, features.n_neurons), features, probe)
    oracle, *entries = compare_with(scored[0], scored)
    names = ["no-clustering", *(f"clustering-{threshold:.2f}" for threshold in thresholds)]
    probes = {name: fitted.probe(i) for i, name in enumerate(names)}
    result = ClusterSweepResult(
        task=describe_task(features),
        n_layers=features.n_layers,
        hidden_size=features.hidden_size,
        oracle=oracle,
        thresholds=[
            SweepEntry(threshold, len(neurons), scores, labels, neurons)
            for threshold, neurons, scores, labels in zip(thresholds, sets[1:], entries, clusters, strict=True)
        ],
        solver=probe.solver,
        training=repeats.training_record(probes),
    )
    return result, probes


def together(runs: Sequence[ClusterSweepResult]) -> ClusterSweepResult:
    """The result of the first repeat and, where there are several, mean, deviation and every run in `repeats`."""
    if len(runs) == 1:
        return runs[0]
    oracles = [run.oracle for run in runs]
    thresholds = [
        SweepEntryOfRepeats(
            **repeats.mean_columns([entry.scores for entry in entries], oracles),
            n_clusters=repeats.spread([entry.n_clusters for entry in entries]),
        )
        for entries in zip(*(run.thresholds for run in runs), strict=True)
    ]
    return replace(runs[0], repeats=ClusterSweepRepeats(**repeats.in_common(runs), thresholds=thresholds))
