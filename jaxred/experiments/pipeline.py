"""The pipeline of Dalvi et al. (2020), section 6: oracle, layers, LayerSelector and correlation-clustered feature
selection (CCFS).

1. Probes on every layer alone and on layers 0..l together; the last of these is the oracle.
2. LayerSelector picks the lowest layers that give up less than a delta of the oracle's dev score.
3. Their neurons are clustered by correlation at each threshold, and one of each cluster is kept.
4. A probe on those ranks them, and the minimal set is the shortest prefix of the ranking whose retrained probe gives
up less than a
   delta of that probe's dev score.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxred.checkpoints import save_probes
from jaxred.clustering import cluster_tree, representatives
from jaxred.config import StudyConfig, to_dict
from jaxred.experiments.redundancy import training_moments
from jaxred.experiments.scoring import fit_and_score
from jaxred.features import Features, describe, load_features
from jaxred.files import write_text
from jaxred.formats.all_results import pipeline_results
from jaxred.metrics import Scores, overall
from jaxred.probing import Probe, layer_family, prefix_family, subset_family
from jaxred.progress import progress_bar
from jaxred.ranking import rank_neurons
from jaxred.results import fingerprint, load_result, save_result
from jaxred.selection import minimal_set_size, minimal_set_sizes, select_layer
from jaxred.store import Store
from jaxred.workdir import Workdir

log = logging.getLogger("jaxred")

NO_CLUSTERING = -1
AT_ONCE = 2  # families in work: one compiles while another trains


@dataclass(frozen=True)
class Candidates:
    """The neurons among which a minimal set is searched: those of layers 0..top_layer, clustered at a threshold."""

    top_layer: int
    threshold: float  # NO_CLUSTERING: all of them
    neurons: np.ndarray  # numbered globally; in the order of their clusters
    clusters: np.ndarray | None  # the cluster of every neuron of those layers


def run(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> dict[str, Any]:
    """Runs the pipeline; saves results/pipeline.json, results/all_results.json (the original's format) and the
    probes.
    """
    sections = [to_dict(part) for part in (config.task, config.probe, config.clustering, config.selection)]
    identity = fingerprint(["pipeline", {name: store.ledger.identity for name, store in stores.items()}, sections])
    known = load_result(workdir.result("pipeline"), identity)
    if known is not None and workdir.result("all_results").exists():
        log.info("pipeline: kept")
        return known

    features = load_features(stores, config, workdir.scratch)
    correlation = training_moments(stores, config, workdir).correlation()
    probes: dict[str, Probe] = {}
    with progress_bar(0, "pipeline", "probes") as bar:
        content = _pipeline(features, correlation, config, probes, bar)
    content["encoder"] = {
        "path": config.encoder.path,
        "n_layers": features.n_layers,
        "hidden_size": features.hidden_size,
        "parameters": stores["train"].ledger.encoder_parameters,
    }
    content["extraction"] = {name: store.ledger.notes for name, store in stores.items()}
    save_probes(workdir.probes("pipeline"), probes, features)
    write_text(workdir.result("all_results"), pipeline_results(content, features.data_split))
    save_result(workdir.result("pipeline"), identity, content)
    return load_result(workdir.result("pipeline"), identity) or {}


def _pipeline(
    features: Features,
    correlation: np.ndarray,
    config: StudyConfig,
    probes: dict[str, Probe],
    bar: tqdm,
) -> dict[str, Any]:
    n_layers = features.n_layers
    layers, scored = fit_and_score(layer_family(n_layers, features.hidden_size), features, config)
    bar.update(2 * n_layers)
    independent, incremental = scored[:n_layers], scored[n_layers:]
    for layer in range(n_layers):
        probes[f"layer-{layer}"] = layers.probe(layer)
        probes[f"layers-0-{layer}"] = layers.probe(n_layers + layer)

    dev = [overall(entry, "dev") for entry in incremental]
    top_layers = {delta: select_layer(dev, dev[-1], delta) for delta, _ in config.selection.deltas}

    def candidates(top_layer: int) -> list[tuple[Candidates, Probe, Scores]]:
        base = layers.probe(n_layers + top_layer), incremental[top_layer]
        return _candidates(top_layer, base, features, correlation, config)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        bases = [entry for group in pool.map(candidates, sorted(set(top_layers.values()))) for entry in group]
    bar.update(sum(candidates.threshold != NO_CLUSTERING for candidates, _, _ in bases))
    bar.total = bar.n + sum(len(minimal_set_sizes(features.n_neurons, len(c.neurons))) for c, _, _ in bases)

    def search(entry: tuple[Candidates, Probe, Scores]) -> tuple[dict[str, Any], dict[str, Probe]]:
        found, trained = _search(*entry, features, config)
        bar.update(len(found["sizes"]))
        return found, trained

    searches = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for found, trained in pool.map(search, bases):
            searches[found["top_layer"], found["threshold"]] = found
            probes |= trained

    selection = []
    for delta_layers, delta_neurons in config.selection.deltas:
        top_layer = top_layers[delta_layers]
        for threshold in config.clustering.thresholds:
            chosen = _choose(searches[top_layer, threshold], delta_neurons, features)
            selection.append({"delta_layers": delta_layers, "delta_neurons": delta_neurons, **chosen})
    return {
        "task": {
            "name": config.task.name,
            "kind": config.task.kind,
            "metric": config.task.metric,
            **describe(features),
        },
        "oracle": incremental[-1],
        "independent": independent,
        "incremental": incremental,
        "layer_selection": [
            {"delta": delta, "top_layer": layer, "scores": incremental[layer]} for delta, layer in top_layers.items()
        ],
        "selection": selection,
        "losses": {name: probe.losses for name, probe in probes.items()},
    }


def _candidates(
    top_layer: int, base: tuple[Probe, Scores], features: Features, correlation: np.ndarray, config: StudyConfig
) -> list[tuple[Candidates, Probe, Scores]]:
    """The candidate sets of layers 0..top_layer at every threshold, each with its base probe and that probe's
    scores.
    """
    n_columns = (top_layer + 1) * features.hidden_size
    clustering = config.clustering
    thresholds = [t for t in clustering.thresholds if t != NO_CLUSTERING]
    found = []
    if len(thresholds) < len(clustering.thresholds):
        found.append((Candidates(top_layer, NO_CLUSTERING, np.arange(n_columns), None), *base))
    if thresholds:
        mine = correlation[:n_columns, :n_columns]
        tree = cluster_tree(mine, clustering.distance)
        sets = []
        for threshold in thresholds:
            labels = tree.cut(threshold)
            kept = representatives(labels, clustering.representative, mine, clustering.seed)
            sets.append(Candidates(top_layer, threshold, kept, labels))
        fitted, scored = fit_and_score(subset_family([s.neurons for s in sets], features.n_neurons), features, config)
        found += [(candidates, fitted.probe(i), scored[i]) for i, candidates in enumerate(sets)]
    return found


def _search(
    candidates: Candidates, base: Probe, base_scores: Scores, features: Features, config: StudyConfig
) -> tuple[dict[str, Any], dict[str, Probe]]:
    """Ranks the candidates by their probe and retrains the first k of the ranking, for every size k of the grid."""
    ranked = base.columns[rank_neurons(base.weights).order]
    sizes = minimal_set_sizes(features.n_neurons, len(ranked))
    trained, scored = fit_and_score(prefix_family(ranked, sizes, features.n_neurons), features, config)
    name = f"layers-0-{candidates.top_layer}"
    if candidates.threshold != NO_CLUSTERING:
        name += f"-clustering-{candidates.threshold:.2f}"
    found = {
        "top_layer": candidates.top_layer,
        "threshold": candidates.threshold,
        "probe": name,
        "n_candidates": len(ranked),
        "clusters": candidates.clusters,
        "candidates": candidates.neurons,
        "base": base_scores,
        "ranking": ranked,
        "sizes": dict(zip(sizes, scored, strict=True)),
    }
    return found, {name: base, **{f"{name}-first-{size}": trained.probe(i) for i, size in enumerate(sizes)}}


def _choose(search: dict[str, Any], delta: float, features: Features) -> dict[str, Any]:
    """The minimal set of a search, when its dev score may be so many percent below the base's."""
    sizes = search["sizes"]
    dev = {size: overall(entry, "dev") for size, entry in sizes.items()}
    size = minimal_set_size(dev, overall(search["base"], "dev"), delta, search["n_candidates"])
    name = search["probe"] if size not in sizes else f"{search['probe']}-first-{size}"
    return {
        **search,
        "n_minimal": size,
        "minimal_probe": name,
        "minimal_scores": sizes.get(size, search["base"]),
        "minimal_neurons": [features.layer_and_index(neuron) for neuron in search["ranking"][:size]],
    }
