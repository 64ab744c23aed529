"""The minimal neuron set out of all neurons of all layers (Dalvi et al. 2020; the original's `run_max_features.py`)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxred.activations.store import Store
from jaxred.config import StudyConfig
from jaxred.io.progress import progress_bar
from jaxred.probing import Probe
from jaxred.probing.families import subset_family
from jaxred.probing.features import Features
from jaxred.runs.kept import describe_task, kept_or_run
from jaxred.runs.workdir import Workdir
from jaxred.studies import repeats
from jaxred.studies.class_scores import mean_of_repeats, per_class
from jaxred.studies.scoring import compare_with, fit_and_score
from jaxred.studies.search import search
from jaxred.studies.selection import MINIMAL_FRACTIONS, minimal_set_sizes


def run(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> dict[str, Any]:
    """Ranks all neurons by the oracle and searches the smallest set; saved as results/minimal_neurons.json, and as
    results/all_results_minimal_neurons.json (the original's format).
    """

    def work() -> tuple[dict[str, Any], dict[str, Probe], Features]:
        with progress_bar(0, "minimal neurons", "probes") as bar:

            def once(one: StudyConfig, load: Callable[[], Features]) -> tuple[dict[str, Any], dict[str, Probe], Any]:
                features = load()
                content, probes = minimal_neurons(features, one, bar)
                if features.classes:
                    ends = ["oracle", content["minimal_probe"]]
                    content["per_class"] = per_class(probes, ends, features)
                return content, probes, replace(features, matrices={})

            runs = repeats.run_each(stores, config, workdir.scratch, once)
        _, probes, features = runs[0]
        return together([content for content, _, _ in runs]), probes, features

    return kept_or_run("minimal_neurons", ("task", "probe", "selection"), stores, config, workdir, work)


def minimal_neurons(features: Features, config: StudyConfig, bar: tqdm) -> tuple[dict[str, Any], dict[str, Probe]]:
    """The content of results/minimal_neurons.json without repeats, and the probes by name."""
    everyone = np.arange(features.n_neurons)
    sizes = minimal_set_sizes(len(everyone), len(everyone), config.selection.fractions or MINIMAL_FRACTIONS)
    delta = config.selection.minimal_delta
    bar.total = bar.n + 1 + len(sizes)
    fitted, (oracle,) = fit_and_score(subset_family([everyone], len(everyone)), features, config)
    bar.update(1)
    result = search(fitted.probe(0), oracle, sizes, [delta], features, config, bar.update)
    bar.total = bar.n  # where the search stopped early
    compare_with(oracle, [oracle, *result.sizes.values()])
    chosen = result.choose(delta, features)
    probes = {"oracle": fitted.probe(0), **{f"first-{size}": probe for size, probe in result.probes.items()}}
    content = {
        "task": describe_task(config, features),
        "n_layers": features.n_layers,
        "hidden_size": features.hidden_size,
        "oracle": oracle,
        "delta": delta,
        "n_candidates": len(everyone),
        "ranking": result.ranking,
        "sizes": result.sizes,
        "minimal_probe": "oracle" if chosen["minimal_scores"] is oracle else f"first-{chosen['n_minimal']}",
        **chosen,
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
        "n_minimal": repeats.spread([run["n_minimal"] for run in runs]),
        "minimal_scores": repeats.spread_of_scores([run["minimal_scores"] for run in runs], oracles),
        "findings": sum(run["finding"] for run in runs),
        "neurons_by_layer": repeats.by_layer([run["minimal_neurons"] for run in runs]),
        "in_every_run": repeats.in_every_run([run["minimal_neurons"] for run in runs]),
        "training": repeats.not_converged([run["training"] for run in runs]),
    }
    if "per_class" in runs[0]:
        spread["per_class"] = {
            "oracle": mean_of_repeats([run["per_class"]["oracle"] for run in runs]),
            "minimal": mean_of_repeats([run["per_class"][run["minimal_probe"]] for run in runs]),
        }
    return {**runs[0], "repeats": spread}
