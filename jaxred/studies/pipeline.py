"""The pipeline of Dalvi et al. (2020), section 6: oracle, layers, LayerSelector and correlation-clustered feature
selection (CCFS).

1. Probes on every layer alone and on layers 0..l together; the last of these is the oracle.
2. LayerSelector picks the lowest layers that give up less than a delta of the oracle's dev score.
3. Their neurons are clustered by correlation at each threshold, and one of each cluster is kept.
4. A probe on those ranks them, and the minimal set is the shortest prefix of the ranking whose retrained probe gives
up less than a delta of that probe's dev score.
"""

import importlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxred.activations.store import Store
from jaxred.config import StudyConfig
from jaxred.io.progress import progress_bar
from jaxred.probing import Probe
from jaxred.probing.families import layer_family, subset_family
from jaxred.probing.features import Features
from jaxred.probing.metrics import overall
from jaxred.redundancy.clustering import cluster_tree, representatives
from jaxred.runs.kept import describe_task, kept_or_run
from jaxred.runs.workdir import Workdir
from jaxred.studies import repeats
from jaxred.studies.class_scores import mean_of_repeats, per_class
from jaxred.studies.redundancy import training_moments
from jaxred.studies.scoring import Scored, compare_with, fit_and_score
from jaxred.studies.search import Search, search
from jaxred.studies.selection import CCFS_FRACTIONS, minimal_set_sizes, select_layer

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
    scores: Scored

    @property
    def name(self) -> str:
        """Of the base probe."""
        clustering = "" if self.threshold == NO_CLUSTERING else f"-clustering-{self.threshold:.2f}"
        return f"layers-0-{self.top_layer}{clustering}"


@dataclass(frozen=True)
class Layers:
    """The probes on layers."""

    independent: list[Scored]
    incremental: list[Scored]
    probes: dict[str, Probe]
    top_layers: dict[float, int]  # what LayerSelector picks, by delta


def run(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> dict[str, Any]:
    """Runs the pipeline; saves results/pipeline.json, results/all_results.json (the original's format) and the
    probes of the first repeat.
    """

    def work() -> tuple[dict[str, Any], dict[str, Probe], Features]:
        with progress_bar(0, "pipeline", "probes") as bar:

            def once(one: StudyConfig, load: Callable[[], Features]) -> tuple[dict[str, Any], dict[str, Probe], Any]:
                with ThreadPoolExecutor(2) as pool:  # for what is not needed before the layers are trained
                    # In a list, so that the caller who takes the correlations out of it alone has them.
                    moments = pool.submit(lambda: training_moments(stores, one, workdir, config).correlation())
                    correlation = [moments]
                    del moments
                    for module in ("scipy.cluster.hierarchy", "orbax.checkpoint"):  # each takes a third of a second
                        pool.submit(importlib.import_module, module)
                    features = load()
                    content, probes = pipeline(features, lambda: correlation.pop().result(), one, bar)
                if features.classes:
                    ends = [f"layers-0-{entry['top_layer']}" for entry in content["layer_selection"]]
                    ends += [entry["minimal_probe"] for entry in content["selection"]]
                    content["per_class"] = per_class(probes, [f"layers-0-{features.n_layers - 1}", *ends], features)
                return content, probes, replace(features, matrices={})

            runs = repeats.run_each(stores, config, workdir.scratch, once)
        contents = [content for content, _, _ in runs]
        _, probes, features = runs[0]
        content = together(contents)
        content["encoder"] = {
            "path": config.encoder.path,
            "n_layers": features.n_layers,
            "hidden_size": features.hidden_size,
            "parameters": stores["train"].ledger.encoder_parameters,
        }
        return content, probes, features

    return kept_or_run("pipeline", ("task", "probe", "clustering", "selection"), stores, config, workdir, work)


def pipeline(
    features: Features, correlations: Callable[[], np.ndarray], config: StudyConfig, bar: tqdm
) -> tuple[dict[str, Any], dict[str, Probe]]:
    """The content of results/pipeline.json without repeats, and the probes by name.

    Args:
        features: the data.
        correlations: gives the neurons' correlations [neuron, neuron] once they are needed.
        config: what is done.
        bar: updated by the number of probes trained.
    """
    layers = _layers(features, config, bar)
    candidates = _all_candidates(layers, features, correlations(), config)
    bar.update(sum(entry.threshold != NO_CLUSTERING for entry in candidates))
    sizes = [_sizes(entry, features, config) for entry in candidates]
    bar.total = bar.n + sum(map(len, sizes))
    bar.refresh()

    def search_one(entry: Candidates, sizes: Sequence[int]) -> Search:
        tops = layers.top_layers
        deltas = [n for layer_delta, n in config.selection.deltas if tops[layer_delta] == entry.top_layer]
        return search(entry.base, entry.scores, sizes, deltas, features, config, bar.update)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        searches = list(pool.map(search_one, candidates, sizes))
    bar.total = bar.n  # where searches stopped early

    oracle = layers.incremental[-1]
    probes = dict(layers.probes)
    compare_with(oracle, [*layers.independent, *layers.incremental])
    for entry, result in zip(candidates, searches, strict=True):
        compare_with(oracle, [entry.scores, *result.sizes.values()])
        probes[entry.name] = entry.base
        probes |= {f"{entry.name}-first-{size}": probe for size, probe in result.probes.items()}
    searched = {
        (entry.top_layer, entry.threshold): (entry, result) for entry, result in zip(candidates, searches, strict=True)
    }
    content = {
        "task": describe_task(config, features),
        **_content(layers, searched, features, config),
        "solver": config.probe.solver,
        "training": repeats.training_record(probes),
    }
    return content, probes


def _layers(features: Features, config: StudyConfig, bar: tqdm) -> Layers:
    """Probes on every layer alone, and on every prefix of layers."""
    n_layers = features.n_layers
    family = layer_family(n_layers, features.hidden_size)
    fitted, scored = fit_and_score(family, features, config)
    bar.update(family.n_probes)
    independent, incremental = scored[:n_layers], scored[n_layers:]
    probes = {f"layer-{layer}": fitted.probe(layer) for layer in range(n_layers)}
    probes |= {f"layers-0-{layer}": fitted.probe(n_layers + layer) for layer in range(n_layers)}
    dev = [overall(entry, "dev") for entry in incremental]
    top_layers = {delta: select_layer(dev, dev[-1], delta) for delta, _ in config.selection.deltas}
    return Layers(independent, incremental, probes, top_layers)


def _all_candidates(
    layers: Layers, features: Features, correlation: np.ndarray, config: StudyConfig
) -> list[Candidates]:
    """The candidate sets of every selected prefix of layers; the correlations are not needed after this."""
    variance = features.variance() if config.clustering.representative == "highest_variance" else None

    def candidates(top_layer: int) -> list[Candidates]:
        return _candidates(top_layer, layers, features, correlation, variance, config)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [entry for group in pool.map(candidates, sorted(set(layers.top_layers.values()))) for entry in group]


def _candidates(
    top_layer: int,
    layers: Layers,
    features: Features,
    correlation: np.ndarray,
    variance: np.ndarray | None,
    config: StudyConfig,
) -> list[Candidates]:
    """The candidate sets of layers 0..top_layer at every threshold."""
    n_columns = (top_layer + 1) * features.hidden_size
    candidates = []
    if NO_CLUSTERING in config.clustering.thresholds:
        base, scores = layers.probes[f"layers-0-{top_layer}"], layers.incremental[top_layer]
        candidates.append(Candidates(top_layer, NO_CLUSTERING, np.arange(n_columns), None, base, scores))
    thresholds = [t for t in config.clustering.thresholds if t != NO_CLUSTERING]
    if not thresholds:
        return candidates
    correlation = correlation[:n_columns, :n_columns]
    tree = cluster_tree(correlation, config.clustering.distance, config.clustering.linkage)
    rule, seed = config.clustering.representative, config.clustering.seed
    clusters = [tree.cut(threshold) for threshold in thresholds]
    sets = [representatives(labels, rule, correlation, seed, variance) for labels in clusters]
    fitted, scored = fit_and_score(subset_family(sets, features.n_neurons), features, config)
    for i, (threshold, labels) in enumerate(zip(thresholds, clusters, strict=True)):
        candidates.append(Candidates(top_layer, threshold, sets[i], labels, fitted.probe(i), scored[i]))
    return candidates


def _sizes(entry: Candidates, features: Features, config: StudyConfig) -> list[int]:
    fractions = config.selection.fractions or CCFS_FRACTIONS
    return minimal_set_sizes(features.n_neurons, len(entry.neurons), fractions)


def _content(
    layers: Layers,
    searched: dict[tuple[int, float], tuple[Candidates, Search]],
    features: Features,
    config: StudyConfig,
) -> dict[str, Any]:
    """What was selected."""
    selection = []
    oracle = layers.incremental[-1]
    for delta_layers, delta_neurons in config.selection.deltas:
        for threshold in config.clustering.thresholds:
            entry, result = searched[layers.top_layers[delta_layers], threshold]
            chosen = result.choose(delta_neurons, features)
            size = chosen["n_minimal"]
            selection.append(
                {
                    "delta_layers": delta_layers,
                    "delta_neurons": delta_neurons,
                    "top_layer": entry.top_layer,
                    "threshold": threshold,
                    "probe": entry.name,
                    "n_candidates": len(result.ranking),
                    "clusters": entry.clusters,
                    "candidates": entry.neurons,
                    "base": result.base,
                    "ranking": result.ranking,
                    "sizes": result.sizes,
                    "minimal_probe": entry.name
                    if chosen["minimal_scores"] is result.base
                    else f"{entry.name}-first-{size}",
                    **chosen,
                    "finding": chosen["finding"] and oracle["beats_constant"],
                }
            )
    return {
        "oracle": oracle,
        "independent": layers.independent,
        "incremental": layers.incremental,
        "layer_selection": [
            {"delta": delta, "top_layer": layer, "scores": layers.incremental[layer]}
            for delta, layer in layers.top_layers.items()
        ],
        "selection": selection,
    }


def together(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The results of the first repeat and, where there are several, mean, deviation and every run under `repeats`."""
    if len(runs) == 1:
        return runs[0]
    oracles = [run["oracle"] for run in runs]

    def each(part: str) -> list[list[Any]]:
        return [list(entries) for entries in zip(*(run[part] for run in runs), strict=True)]

    def scores(entries: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
        return repeats.spread_of_scores([entry[name] for entry in entries], oracles)

    spread: dict[str, Any] = {
        "n": len(runs),
        "constant": repeats.spread_of_constant([run["task"] for run in runs]),
        "oracle": repeats.spread_of_scores(oracles, oracles),
        "independent": [repeats.spread_of_scores(entries, oracles) for entries in each("independent")],
        "incremental": [repeats.spread_of_scores(entries, oracles) for entries in each("incremental")],
        "layer_selection": [
            {
                "delta": entries[0]["delta"],
                "top_layer": repeats.spread([entry["top_layer"] for entry in entries]),
                "scores": scores(entries, "scores"),
            }
            for entries in each("layer_selection")
        ],
        "selection": [
            {
                **{key: entries[0][key] for key in ("delta_layers", "delta_neurons", "threshold")},
                **{
                    key: repeats.spread([entry[key] for entry in entries])
                    for key in ("top_layer", "n_minimal", "n_candidates")
                },
                "base": scores(entries, "base"),
                "minimal_scores": scores(entries, "minimal_scores"),
                "findings": sum(entry["finding"] for entry in entries),
                "neurons_by_layer": repeats.by_layer([entry["minimal_neurons"] for entry in entries]),
                "in_every_run": repeats.in_every_run([entry["minimal_neurons"] for entry in entries]),
            }
            for entries in each("selection")
        ],
        "training": repeats.not_converged([run["training"] for run in runs]),
    }
    if "per_class" in runs[0]:
        spread["per_class"] = {
            "oracle": mean_of_repeats([run["per_class"][_oracle_probe(run)] for run in runs]),
            "selection": [
                mean_of_repeats([run["per_class"][run["selection"][i]["minimal_probe"]] for run in runs])
                for i in range(len(runs[0]["selection"]))
            ],
        }
    return {**runs[0], "repeats": spread}


def _oracle_probe(run: dict[str, Any]) -> str:
    return f"layers-0-{len(run['incremental']) - 1}"
