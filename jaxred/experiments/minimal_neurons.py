"""The minimal neuron set out of all neurons of all layers (Dalvi et al. 2020; the original's `run_max_features.py`)."""

from typing import Any

import numpy as np
from tqdm import tqdm

from jaxred.config import StudyConfig
from jaxred.experiments import repeats
from jaxred.experiments.kept import describe_task, kept_or_run
from jaxred.experiments.per_class import per_class
from jaxred.experiments.scoring import fit_and_score
from jaxred.experiments.search import Search, search
from jaxred.families import subset_family
from jaxred.features import Features, load_features
from jaxred.probing import Probe
from jaxred.progress import progress_bar
from jaxred.selection import MINIMAL_FRACTIONS, minimal_set_sizes
from jaxred.store import Store
from jaxred.workdir import Workdir


def run(stores: dict[str, Store], config: StudyConfig, workdir: Workdir) -> dict[str, Any]:
    """Ranks all neurons by the oracle and searches the smallest set; saved as results/minimal_neurons.json, and as
    results/all_results_minimal_neurons.json (the original's format).
    """

    def work() -> tuple[dict[str, Any], dict[str, Probe], Features]:
        features = load_features(stores, config, workdir.scratch)
        with progress_bar(0, "minimal neurons", "probes") as bar:
            content, probes = minimal_neurons(features, config, bar)
        if features.classes:
            minimal = f"first-{content['n_minimal']}"
            ends = ["oracle"] if content["minimal_scores"] == content["oracle"] else ["oracle", minimal]
            content["per_class"] = per_class(probes, ends, features)
        return content, probes, features

    return kept_or_run("minimal_neurons", ("task", "probe", "selection"), stores, config, workdir, work)


def minimal_neurons(features: Features, config: StudyConfig, bar: tqdm) -> tuple[dict[str, Any], dict[str, Probe]]:
    """The content of results/minimal_neurons.json, and the probes of the first repeat by name."""
    everyone = np.arange(features.n_neurons)
    sizes = minimal_set_sizes(len(everyone), len(everyone), config.selection.fractions or MINIMAL_FRACTIONS)
    delta = config.selection.minimal_delta
    bar.total = config.repeats * (1 + len(sizes))
    family, settings = repeats.repeated(subset_family([everyone], len(everyone)), config)
    fitted, scored = fit_and_score(family, features, config, settings)
    bar.update(config.repeats)
    searches: list[Search] = []
    for repeat, mine in enumerate(repeats.configs(config)):
        searches.append(search(fitted.probe(repeat), scored[repeat], sizes, [delta], features, mine, bar.update))
    bar.total = bar.n  # where searches stopped early
    chosen = [found.choose(delta, features) for found in searches]
    first = searches[0]
    probes = {"oracle": fitted.probe(0), **{f"first-{size}": probe for size, probe in first.probes.items()}}
    content = {
        "task": describe_task(config, features),
        "n_layers": features.n_layers,
        "hidden_size": features.hidden_size,
        "oracle": first.base,
        "delta": delta,
        "n_candidates": len(everyone),
        "ranking": first.ranking,
        "sizes": first.sizes,
        **chosen[0],
        "solver": config.probe.solver,
        "training": repeats.training_record(probes),
    }
    if config.repeats > 1:
        content["repeats"] = {
            "n": config.repeats,
            "oracle": repeats.spread_of_scores([found.base for found in searches]),
            "n_minimal": repeats.spread([entry["n_minimal"] for entry in chosen]),
            "minimal_scores": repeats.spread_of_scores([entry["minimal_scores"] for entry in chosen]),
        }
    return content, probes
