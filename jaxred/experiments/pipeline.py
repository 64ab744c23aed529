"""The pipeline of Dalvi et al. (2020), section 6: oracle, layers, LayerSelector and correlation-clustered feature
selection (CCFS).

1. Probes on every layer alone and on layers 0..l together; the last of these is the oracle.
2. LayerSelector picks the lowest layers that give up less than a delta of the oracle's dev score.
3. Their neurons are clustered by correlation at each threshold, and one of each cluster is kept.
4. A probe on those ranks them, and the minimal set is the shortest prefix of the ranking whose retrained probe gives
up less than a delta of that probe's dev score.

Repeats do all of it again from other initial weights and with other representatives, in the same families.
"""

import importlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxred.clustering import cluster_tree, representatives
from jaxred.config import StudyConfig
from jaxred.experiments import repeats
from jaxred.experiments.kept import describe_task, kept_or_run
from jaxred.experiments.per_class import per_class
from jaxred.experiments.redundancy import training_moments
from jaxred.experiments.scoring import fit_and_score
from jaxred.experiments.search import Search, search
from jaxred.families import layer_family, subset_family
from jaxred.features import Features, load_features
from jaxred.metrics import Scores, overall
from jaxred.probing import Probe, repeated_settings
from jaxred.progress import progress_bar
from jaxred.selection import CCFS_FRACTIONS, minimal_set_sizes, select_layer
from jaxred.store import Store
from jaxred.workdir import Workdir

NO_CLUSTERING = -1
AT_ONCE = 2  # families in work: one compiles while another trains


@dataclass(frozen=True)
class Candidates:
    """The neurons among which a minimal set is searched: those of layers 0..top_layer, clustered at a threshold."""

    repeat: int
    top_layer: int
    threshold: float  # NO_CLUSTERING: all of them
    neurons: np.ndarray  # numbered globally; in the order of their clusters
    clusters: np.ndarray | None  # the cluster of every neuron of those layers
    base: Probe  # trained on them
    scores: Scores

    @property
    def name(self) -> str:
        """Of the base probe."""
        clustering = "" if self.threshold == NO_CLUSTERING else f"-clustering-{self.threshold:.2f}"
        return f"layers-0-{self.top_layer}{clustering}"


@dataclass(frozen=True)
class Layers:
    """One repeat's probes on layers."""

    independent: list[Scores]
    incremental: list[Scores]
    probes: dict[str, Probe]
    top_layers: dict[float, int]  # what LayerSelector picks, by delta


def run(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> dict[str, Any]:
    """Runs the pipeline; saves results/pipeline.json, results/all_results.json (the original's format) and the
    probes of the first repeat.
    """

    def work() -> tuple[dict[str, Any], dict[str, Probe], Features]:
        with ThreadPoolExecutor(2) as pool:  # for what is not needed before the layers are trained
            # Of a list, so that who takes the correlations out of it alone has them, and may let them go.
            correlation = [pool.submit(lambda: training_moments(stores, config, workdir).correlation())]
            for module in ("scipy.cluster.hierarchy", "orbax.checkpoint"):  # each takes a third of a second to import
                pool.submit(importlib.import_module, module)
            features = load_features(stores, config, workdir.scratch)
            with progress_bar(0, "pipeline", "probes") as bar:
                content, probes = pipeline(features, lambda: correlation.pop().result(), config, bar)
        if features.classes:
            ends = [f"layers-0-{entry['top_layer']}" for entry in content["layer_selection"]]
            ends += [entry["minimal_probe"] for entry in content["selection"]]
            content["per_class"] = per_class(probes, [f"layers-0-{features.n_layers - 1}", *ends], features)
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
    """The content of results/pipeline.json, and the probes of the first repeat by name.

    Args:
        features: the data.
        correlations: gives the neurons' correlations [neuron, neuron] once they are needed.
        config: what is done.
        bar: told of every probe.
    """
    configs = repeats.configs(config)
    layers = _layers(features, config, bar)
    found = _all_candidates(layers, features, correlations(), config)
    bar.update(sum(entry.threshold != NO_CLUSTERING for entry in found))
    sizes = [_sizes(entry, features, config) for entry in found]
    bar.total = bar.n + sum(map(len, sizes))
    bar.refresh()

    def search_one(entry: Candidates, sizes: Sequence[int]) -> Search:
        top_layers = layers[entry.repeat].top_layers
        deltas = [n for layer_delta, n in config.selection.deltas if top_layers[layer_delta] == entry.top_layer]
        mine = configs[entry.repeat]
        return search(entry.base, entry.scores, sizes, deltas, features, mine, bar.update)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        searches = list(pool.map(search_one, found, sizes))
    bar.total = bar.n  # where searches stopped early

    runs = []
    for repeat, mine in enumerate(layers):
        searched = {
            (entry.top_layer, entry.threshold): (entry, result)
            for entry, result in zip(found, searches, strict=True)
            if entry.repeat == repeat
        }
        runs.append(_content(mine, searched, features, config))
    probes = dict(layers[0].probes)
    for entry, result in zip(found, searches, strict=True):
        if entry.repeat == 0:
            probes[entry.name] = entry.base
            probes |= {f"{entry.name}-first-{size}": probe for size, probe in result.probes.items()}
    content = {
        "task": describe_task(config, features),
        **runs[0],
        "solver": config.probe.solver,
        "training": repeats.training_record(probes),
    }
    if config.repeats > 1:
        content["repeats"] = _spread(runs)
    return content, probes


def _layers(features: Features, config: StudyConfig, bar: tqdm) -> list[Layers]:
    """Probes on layers, of all repeats at once."""
    n_layers = features.n_layers
    once = layer_family(n_layers, features.hidden_size)
    family, settings = repeats.repeated(once, config)
    fitted, scored = fit_and_score(family, features, config, settings)
    bar.update(family.n_probes)
    found = []
    for first in range(0, family.n_probes, once.n_probes):
        independent = scored[first : first + n_layers]
        incremental = scored[first + n_layers : first + 2 * n_layers]
        probes = {f"layer-{layer}": fitted.probe(first + layer) for layer in range(n_layers)}
        probes |= {f"layers-0-{layer}": fitted.probe(first + n_layers + layer) for layer in range(n_layers)}
        dev = [overall(entry, "dev") for entry in incremental]
        top_layers = {delta: select_layer(dev, dev[-1], delta) for delta, _ in config.selection.deltas}
        found.append(Layers(independent, incremental, probes, top_layers))
    return found


def _all_candidates(
    layers: Sequence[Layers], features: Features, correlation: np.ndarray, config: StudyConfig
) -> list[Candidates]:
    """The candidate sets of every prefix of layers that a repeat selected; the correlations are needed no longer."""
    variance = features.variance() if config.clustering.representative == "highest_variance" else None
    wanted = sorted({top for repeat in layers for top in repeat.top_layers.values()})

    def candidates(top_layer: int) -> list[Candidates]:
        return _candidates(top_layer, layers, features, correlation, variance, config)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [entry for group in pool.map(candidates, wanted) for entry in group]


def _candidates(
    top_layer: int,
    layers: Sequence[Layers],
    features: Features,
    correlation: np.ndarray,
    variance: np.ndarray | None,
    config: StudyConfig,
) -> list[Candidates]:
    """The candidate sets of layers 0..top_layer at every threshold, for each repeat that selected them."""
    mine = [repeat for repeat, found in enumerate(layers) if top_layer in found.top_layers.values()]
    n_columns = (top_layer + 1) * features.hidden_size
    found = []
    if NO_CLUSTERING in config.clustering.thresholds:
        for repeat in mine:
            base, scores = layers[repeat].probes[f"layers-0-{top_layer}"], layers[repeat].incremental[top_layer]
            found.append(Candidates(repeat, top_layer, NO_CLUSTERING, np.arange(n_columns), None, base, scores))
    clustered = [t for t in config.clustering.thresholds if t != NO_CLUSTERING]
    if not clustered:
        return found
    correlation = correlation[:n_columns, :n_columns]
    tree = cluster_tree(correlation, config.clustering.distance, config.clustering.linkage)
    configs = repeats.configs(config)
    keys, sets = [], []
    for threshold in clustered:
        labels = tree.cut(threshold)
        for repeat in mine:
            rule, seed = config.clustering.representative, configs[repeat].clustering.seed
            keys.append((repeat, threshold, labels))
            sets.append(representatives(labels, rule, correlation, seed, variance))
    seeds = np.array([configs[repeat].probe.seed for repeat, _, _ in keys])
    family = subset_family(sets, features.n_neurons)
    settings = repeated_settings(config.probe, family.n_probes)._replace(seed=seeds)
    fitted, scored = fit_and_score(family, features, config, settings)
    for i, (repeat, threshold, labels) in enumerate(keys):
        found.append(Candidates(repeat, top_layer, threshold, sets[i], labels, fitted.probe(i), scored[i]))
    return found


def _sizes(entry: Candidates, features: Features, config: StudyConfig) -> list[int]:
    fractions = config.selection.fractions or CCFS_FRACTIONS
    return minimal_set_sizes(features.n_neurons, len(entry.neurons), fractions)


def _content(
    layers: Layers,
    searched: dict[tuple[int, float], tuple[Candidates, Search]],
    features: Features,
    config: StudyConfig,
) -> dict[str, Any]:
    """What one repeat found."""
    selection = []
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
                }
            )
    return {
        "oracle": layers.incremental[-1],
        "independent": layers.independent,
        "incremental": layers.incremental,
        "layer_selection": [
            {"delta": delta, "top_layer": layer, "scores": layers.incremental[layer]}
            for delta, layer in layers.top_layers.items()
        ],
        "selection": selection,
    }


def _spread(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean, deviation and every run of what the repeats found."""

    def each(part: str) -> list[list[dict[str, Any]]]:
        return [list(entries) for entries in zip(*(run[part] for run in runs), strict=True)]

    return {
        "n": len(runs),
        "oracle": repeats.spread_of_scores([run["oracle"] for run in runs]),
        "independent": [repeats.spread_of_scores(entries) for entries in each("independent")],
        "incremental": [repeats.spread_of_scores(entries) for entries in each("incremental")],
        "layer_selection": [
            {
                "delta": entries[0]["delta"],
                "top_layer": repeats.spread([entry["top_layer"] for entry in entries]),
                "scores": repeats.spread_of_scores([entry["scores"] for entry in entries]),
            }
            for entries in each("layer_selection")
        ],
        "selection": [
            {
                **{key: entries[0][key] for key in ("delta_layers", "delta_neurons", "threshold")},
                **{key: repeats.spread([entry[key] for entry in entries]) for key in ("top_layer", "n_minimal")},
                "n_candidates": repeats.spread([entry["n_candidates"] for entry in entries]),
                "base": repeats.spread_of_scores([entry["base"] for entry in entries]),
                "minimal_scores": repeats.spread_of_scores([entry["minimal_scores"] for entry in entries]),
            }
            for entries in each("selection")
        ],
    }
