"""The minimal neuron set out of all neurons of all layers (Dalvi et al. 2020; the original's `run_max_features.py`)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jaxred.config import ProbeConfig, SelectionConfig
from jaxred.probing import Probe, rankings
from jaxred.probing.families import subset_family
from jaxred.probing.features import Features
from jaxred.studies import repeats
from jaxred.studies.class_scores import class_reports, mean_of_repeats
from jaxred.studies.results import MinimalClassesOfRepeats, MinimalNeuronsRepeats, MinimalNeuronsResult
from jaxred.studies.scoring import compare_with, describe_task, fit_and_score
from jaxred.studies.search import Progress, search, unwatched
from jaxred.studies.selection import MINIMAL_FRACTIONS, RULES, minimal_set_sizes


def minimal_neurons(
    features: Features, probe: ProbeConfig, selection: SelectionConfig, progress: Progress = unwatched
) -> tuple[MinimalNeuronsResult, dict[str, Probe]]:
    """Ranks all neurons by the oracle and searches the smallest set; without repeats.

    Args:
        features: the data.
        probe: how probes are trained.
        selection: how much score may be given up, and by which rule.
        progress: receives how many probes were trained.

    Returns:
        The result, and the probes by name.
    """
    everyone = np.arange(features.n_neurons)
    sizes = minimal_set_sizes(len(everyone), len(everyone), selection.fractions or MINIMAL_FRACTIONS)
    delta = selection.minimal_delta
    progress(0, 1 + len(sizes))
    fitted, scored = fit_and_score(subset_family([everyone], len(everyone)), features, probe)
    (oracle,) = compare_with(scored[0], scored)
    progress(1, 0)
    accepts = RULES[selection.rule](oracle.standard_error["dev"])
    base, how = fitted.probe(0), selection.search
    order = rankings.order_or_weights(features, selection.ranking, probe.seed)
    done = search(base, oracle, oracle, sizes, [delta], features, probe, accepts, how, progress, order)
    progress(0, len(done.sizes) - len(sizes))  # where the search stopped early
    minimal = done.choose(delta, features)
    probes = {"oracle": base, **{f"first-{size}": probe for size, probe in done.probes.items()}}
    result = MinimalNeuronsResult(
        task=describe_task(features),
        n_layers=features.n_layers,
        hidden_size=features.hidden_size,
        oracle=oracle,
        delta=delta,
        n_candidates=len(everyone),
        ranking=done.ranking,
        sizes=done.sizes,
        minimal_probe=f"first-{minimal.n_neurons}" if minimal.retrained else "oracle",
        n_minimal=minimal.n_neurons,
        minimal_scores=minimal.scores,
        minimal_neurons=minimal.neurons,
        finding=minimal.finding,
        solver=probe.solver,
        training=repeats.training_record(probes),
    )
    if features.classes:
        result = replace(result, per_class=class_reports(probes, ["oracle", result.minimal_probe], features))
    return result, probes


def together(runs: Sequence[MinimalNeuronsResult]) -> MinimalNeuronsResult:
    """The result of the first repeat and, where there are several, mean, deviation and every run in `repeats`."""
    first = runs[0]
    if len(runs) == 1:
        return first
    classes = None
    if first.per_class is not None:
        classes = MinimalClassesOfRepeats(
            mean_of_repeats([(run.per_class or {})["oracle"] for run in runs]),
            mean_of_repeats([(run.per_class or {})[run.minimal_probe] for run in runs]),
        )
    spread = MinimalNeuronsRepeats(
        **repeats.in_common(runs),
        n_minimal=repeats.spread([run.n_minimal for run in runs]),
        minimal_scores=repeats.mean_scores([run.minimal_scores for run in runs], [run.oracle for run in runs]),
        findings=sum(run.finding for run in runs),
        neurons_by_layer=repeats.by_layer([run.minimal_neurons for run in runs]),
        in_every_run=repeats.in_every_run([run.minimal_neurons for run in runs]),
        per_class=classes,
    )
    return replace(first, repeats=spread)
