"""The pipeline of Dalvi et al. (2020), section 6: oracle, layers, LayerSelector and correlation-clustered feature
selection (CCFS).

1. Probes on every layer alone and on layers 0..l together; the last of these is the oracle.
2. LayerSelector picks the lowest layers that give up less than a delta of the oracle's dev score.
3. Their neurons are clustered by correlation at each threshold, and one of each cluster is kept.
4. A probe on those ranks them, and the minimal set is the shortest prefix of the ranking whose retrained probe gives
up less than a delta of that probe's dev score.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from jaxred.config import ClusteringConfig, ProbeConfig, SelectionConfig
from jaxred.probing import Probe, rankings
from jaxred.probing.families import layer_family, subset_family
from jaxred.probing.features import Features
from jaxred.statistics.clustering import cluster_tree, representatives
from jaxred.studies import repeats
from jaxred.studies.class_scores import class_reports, mean_of_repeats
from jaxred.studies.results import (
    EncoderSummary,
    LayerChoice,
    LayerChoiceOfRepeats,
    NeuronChoice,
    NeuronChoiceOfRepeats,
    PipelineClassesOfRepeats,
    PipelineRepeats,
    PipelineResult,
    ProbeScores,
)
from jaxred.studies.scoring import compare_with, describe_task, fit_and_score
from jaxred.studies.search import Progress, Search, search, unwatched
from jaxred.studies.selection import CCFS_FRACTIONS, RULES, minimal_set_sizes, select_layer

NO_CLUSTERING = -1.0
AT_ONCE = 2  # families in work: one compiles while another trains


@dataclass(frozen=True)
class Candidates:
    """The neurons among which a minimal set is searched: those of layers 0..top_layer, clustered at a threshold."""

    top_layer: int
    threshold: float  # NO_CLUSTERING: all of them
    neurons: np.ndarray  # numbered globally; in the order of their clusters
    clusters: np.ndarray | None  # the cluster of every neuron of those layers
    base: Probe  # trained on them
    scores: ProbeScores

    @property
    def name(self) -> str:
        """Of the base probe."""
        clustering = "" if self.threshold == NO_CLUSTERING else f"-clustering-{self.threshold:.2f}"
        return f"layers-0-{self.top_layer}{clustering}"


@dataclass(frozen=True)
class Layers:
    """The probes on layers."""

    independent: list[ProbeScores]
    incremental: list[ProbeScores]
    probes: dict[str, Probe]
    top_layers: dict[float, int]  # what LayerSelector picks, by delta

    @property
    def oracle(self) -> ProbeScores:
        return self.incremental[-1]


def pipeline(
    features: Features,
    correlations: Callable[[], np.ndarray],
    probe: ProbeConfig,
    clustering: ClusteringConfig,
    selection: SelectionConfig,
    progress: Progress = unwatched,
) -> tuple[PipelineResult, dict[str, Probe]]:
    """The pipeline's result without repeats, and the probes by name.

    Args:
        features: the data.
        correlations: gives the neurons' correlations [neuron, neuron] over the training rows, once they are needed.
        probe: how probes are trained.
        clustering: how neurons are clustered.
        selection: how much score may be given up, and by which rule.
        progress: receives how many probes were trained.
    """
    layers = _layers(features, probe, selection, progress)
    candidates = _all_candidates(layers, features, correlations(), probe, clustering)
    n_clustered = sum(entry.threshold != NO_CLUSTERING for entry in candidates)
    fractions = selection.fractions or CCFS_FRACTIONS
    sizes = [minimal_set_sizes(features.n_neurons, len(entry.neurons), fractions) for entry in candidates]
    progress(n_clustered, n_clustered + sum(map(len, sizes)))

    order = rankings.order_or_weights(features, selection.ranking, probe.seed)

    def search_one(entry: Candidates, sizes: Sequence[int]) -> Search:
        deltas = [n for of_layers, n in selection.deltas if layers.top_layers[of_layers] == entry.top_layer]
        accepts = RULES[selection.rule](entry.scores.standard_error["dev"])
        base, oracle, how = entry.scores, layers.oracle, selection.search
        return search(entry.base, base, oracle, sizes, deltas, features, probe, accepts, how, progress, order)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        searches = list(pool.map(search_one, candidates, sizes))
    progress(0, sum(len(done.sizes) for done in searches) - sum(map(len, sizes)))  # where searches stopped early

    probes = dict(layers.probes)
    for entry, done in zip(candidates, searches, strict=True):
        probes[entry.name] = entry.base
        probes |= {f"{entry.name}-first-{size}": probe for size, probe in done.probes.items()}
    searched = {
        (entry.top_layer, entry.threshold): (entry, done) for entry, done in zip(candidates, searches, strict=True)
    }
    result = PipelineResult(
        task=describe_task(features),
        encoder=EncoderSummary("", features.n_layers, features.hidden_size, None),
        oracle=layers.oracle,
        independent=layers.independent,
        incremental=layers.incremental,
        layer_selection=[
            LayerChoice(delta, layer, layers.incremental[layer]) for delta, layer in layers.top_layers.items()
        ],
        selection=[
            _choice(
                delta_layers, delta_neurons, *searched[layers.top_layers[delta_layers], threshold], layers, features
            )
            for delta_layers, delta_neurons in selection.deltas
            for threshold in clustering.thresholds
        ],
        solver=probe.solver,
        training=repeats.training_record(probes),
    )
    if features.classes:
        ends = [f"layers-0-{choice.top_layer}" for choice in result.layer_selection]
        ends += [choice.minimal_probe for choice in result.selection]
        result = replace(result, per_class=class_reports(probes, [result.oracle_probe, *ends], features))
    return result, probes


def _layers(features: Features, probe: ProbeConfig, selection: SelectionConfig, progress: Progress) -> Layers:
    """Probes on every layer alone, and on every prefix of layers."""
    n_layers = features.n_layers
    family = layer_family(n_layers, features.hidden_size)
    fitted, scored = fit_and_score(family, features, probe)
    progress(family.n_probes, family.n_probes)
    scored = compare_with(scored[-1], scored)
    incremental, oracle = scored[n_layers:], scored[-1]
    probes = {f"layer-{layer}": fitted.probe(layer) for layer in range(n_layers)}
    probes |= {f"layers-0-{layer}": fitted.probe(n_layers + layer) for layer in range(n_layers)}
    dev = [entry.overall("dev") for entry in incremental]
    accepts = RULES[selection.rule](oracle.standard_error["dev"])
    top_layers = {delta: select_layer(dev, dev[-1], delta, accepts) for delta, _ in selection.deltas}
    return Layers(scored[:n_layers], incremental, probes, top_layers)


def _all_candidates(
    layers: Layers, features: Features, correlation: np.ndarray, probe: ProbeConfig, clustering: ClusteringConfig
) -> list[Candidates]:
    """The candidate sets of every selected prefix of layers; the correlations are not needed after this."""
    variance = features.variance() if clustering.representative == "highest_variance" else None

    def candidates(top_layer: int) -> list[Candidates]:
        return _candidates(top_layer, layers, features, correlation, variance, probe, clustering)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [entry for group in pool.map(candidates, sorted(set(layers.top_layers.values()))) for entry in group]


def _candidates(
    top_layer: int,
    layers: Layers,
    features: Features,
    correlation: np.ndarray,
    variance: np.ndarray | None,
    probe: ProbeConfig,
    clustering: ClusteringConfig,
) -> list[Candidates]:
    """The candidate sets of layers 0..top_layer at every threshold."""
    n_columns = (top_layer + 1) * features.hidden_size
    candidates = []
    if NO_CLUSTERING in clustering.thresholds:
        base, scores = layers.probes[f"layers-0-{top_layer}"], layers.incremental[top_layer]
        candidates.append(Candidates(top_layer, NO_CLUSTERING, np.arange(n_columns), None, base, scores))
    thresholds = [t for t in clustering.thresholds if t != NO_CLUSTERING]
    if not thresholds:
        return candidates
    correlation = correlation[:n_columns, :n_columns]
    tree = cluster_tree(correlation, clustering.distance, clustering.linkage)
    clusters = [tree.cut(threshold) for threshold in thresholds]
    rule, seed = clustering.representative, clustering.seed
    sets = [representatives(labels, rule, correlation, seed, variance) for labels in clusters]
    fitted, scored = fit_and_score(subset_family(sets, features.n_neurons), features, probe, layers.oracle)
    for i, (threshold, labels) in enumerate(zip(thresholds, clusters, strict=True)):
        candidates.append(Candidates(top_layer, threshold, sets[i], labels, fitted.probe(i), scored[i]))
    return candidates


def _choice(
    delta_layers: float, delta_neurons: float, entry: Candidates, done: Search, layers: Layers, features: Features
) -> NeuronChoice:
    """The minimal set of a pair of deltas among some candidates."""
    minimal = done.choose(delta_neurons, features)
    return NeuronChoice(
        delta_layers=delta_layers,
        delta_neurons=delta_neurons,
        top_layer=entry.top_layer,
        threshold=entry.threshold,
        probe=entry.name,
        n_candidates=len(done.ranking),
        clusters=entry.clusters,
        candidates=entry.neurons,
        base=done.base,
        ranking=done.ranking,
        sizes=done.sizes,
        minimal_probe=f"{entry.name}-first-{minimal.n_neurons}" if minimal.retrained else entry.name,
        n_minimal=minimal.n_neurons,
        minimal_scores=minimal.scores,
        minimal_neurons=minimal.neurons,
        finding=minimal.finding and layers.oracle.beats_constant,
    )


def together(runs: Sequence[PipelineResult]) -> PipelineResult:
    """The result of the first repeat and, where there are several, mean, deviation and every run in `repeats`."""
    first = runs[0]
    if len(runs) == 1:
        return first
    oracles = [run.oracle for run in runs]
    classes = None
    if first.per_class is not None:
        classes = PipelineClassesOfRepeats(
            mean_of_repeats([(run.per_class or {})[run.oracle_probe] for run in runs]),
            [
                mean_of_repeats([(run.per_class or {})[run.selection[i].minimal_probe] for run in runs])
                for i in range(len(first.selection))
            ],
        )
    spread = PipelineRepeats(
        **repeats.in_common(runs),
        independent=[
            repeats.mean_scores(layer, oracles) for layer in zip(*(run.independent for run in runs), strict=True)
        ],
        incremental=[
            repeats.mean_scores(layer, oracles) for layer in zip(*(run.incremental for run in runs), strict=True)
        ],
        layer_selection=[
            LayerChoiceOfRepeats(
                choices[0].delta,
                repeats.spread([choice.top_layer for choice in choices]),
                repeats.mean_scores([choice.scores for choice in choices], oracles),
            )
            for choices in zip(*(run.layer_selection for run in runs), strict=True)
        ],
        selection=[
            NeuronChoiceOfRepeats(
                delta_layers=choices[0].delta_layers,
                delta_neurons=choices[0].delta_neurons,
                threshold=choices[0].threshold,
                top_layer=repeats.spread([choice.top_layer for choice in choices]),
                n_minimal=repeats.spread([choice.n_minimal for choice in choices]),
                n_candidates=repeats.spread([choice.n_candidates for choice in choices]),
                base=repeats.mean_scores([choice.base for choice in choices], oracles),
                minimal_scores=repeats.mean_scores([choice.minimal_scores for choice in choices], oracles),
                findings=sum(choice.finding for choice in choices),
                neurons_by_layer=repeats.by_layer([choice.minimal_neurons for choice in choices]),
                in_every_run=repeats.in_every_run([choice.minimal_neurons for choice in choices]),
            )
            for choices in zip(*(run.selection for run in runs), strict=True)
        ],
        per_class=classes,
    )
    return replace(first, repeats=spread)
