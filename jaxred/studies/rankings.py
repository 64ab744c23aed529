"""Rankings of neurons judged alike: the same probe, trained again on the first k of each, for every k of a grid.

How far two rankings agree is their AvgOverlap: the mean over s = 1, 2, ... of the share of the first s that they have
in common (Fan et al. 2023), here for s up to a tenth of all neurons, by chance about half of that share. How stable one
is, the same of its rankings by two halves of the training rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import RANKINGS, RANKINGS_OF_CLASSES, ProbeConfig, SelectionConfig
from jaxred.probing import fit, rankings
from jaxred.probing.families import prefix_family, subset_family
from jaxred.probing.features import Features
from jaxred.probing.gaussian import rows_of
from jaxred.probing.ranking import rank_neurons
from jaxred.probing.resampling import interval
from jaxred.studies.results import ProbeScores, RankedAt, RankingCurve, RankingsResult
from jaxred.studies.scoring import compare_with, describe_task, fit_and_score
from jaxred.studies.search import Progress, unwatched
from jaxred.studies.selection import RULES, minimal_set_size, minimal_set_sizes

FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)  # of all neurons
N_DRAWS = 5  # of the random ranking
N_FIRST = 20  # neurons that are listed of each
HALF_ROWS = 20_000  # of either half of the training rows, at most

Order = Int[np.ndarray, " neuron"]


def compare_rankings(
    features: Features, probe: ProbeConfig, selection: SelectionConfig, progress: Progress = unwatched
) -> RankingsResult:
    """Every ranking that the task allows.

    Args:
        features: the data.
        probe: how probes are trained.
        selection: the rule, what a minimal set may give up, and the sizes, where they are not FRACTIONS.
        progress: receives how many probes were trained.
    """
    names = [name for name in RANKINGS if features.classes or name not in RANKINGS_OF_CLASSES]
    n_neurons = features.n_neurons
    sizes = [size for size in minimal_set_sizes(n_neurons, n_neurons, selection.fractions or FRACTIONS) if size]
    n_curves = len(names) - 1 + N_DRAWS
    progress(0, 1 + n_curves * len(sizes))
    fitted, scored = fit_and_score(subset_family([np.arange(n_neurons)], n_neurons), features, probe)
    (oracle,) = compare_with(scored[0], scored)
    progress(1, 0)
    weights = fitted.probe(0).weights
    halves = [_orders(half, names, probe, None) for half in _halves(features)]
    orders = _orders(features, names, probe, weights)
    accepts, delta = RULES[selection.rule](oracle.standard_error["dev"]), selection.minimal_delta
    depth = max(n_neurons // 10, 1)
    curves = []
    for name, draws in orders.items():
        found = []
        for order in draws:
            found.append(fit_and_score(prefix_family(order, sizes, n_neurons), features, probe, oracle)[1])
            progress(len(sizes), 0)
        points = [_point(size, [scores[i] for scores in found]) for i, size in enumerate(sizes)]
        dev = {point.n_neurons: point.dev for point in points}
        size = minimal_set_size(dev, oracle.overall("dev"), delta, n_neurons, accepts)
        at = sizes.index(size) if size in dev else None
        beats = oracle.beats_constant and (at is None or all(scores[at].beats_constant for scores in found))
        curves.append(
            RankingCurve(
                ranking=name,
                n_draws=len(draws),
                points=points,
                n_minimal=size,
                minimal_test=oracle.overall("test") if at is None else points[at].test,
                finding=beats,
                stability=avg_overlap(halves[0][name][0], halves[1][name][-1], depth),
                first=[features.layer_and_index(neuron) for neuron in draws[0][:N_FIRST]],
            )
        )
    return RankingsResult(
        task=describe_task(features),
        n_layers=features.n_layers,
        hidden_size=features.hidden_size,
        oracle=oracle,
        delta=delta,
        depth=depth,
        curves=curves,
        overlap=[[avg_overlap(a[0], b[0], depth) for b in orders.values()] for a in orders.values()],
    )


def avg_overlap(first: Order, second: Order, depth: int) -> float:
    """The mean over s = 1..depth of the share of the first s that two orders have in common.

    Example:
        >>> avg_overlap(np.array([0, 1, 2]), np.array([1, 0, 2]), 2)
        0.5
    """
    place = np.empty((2, max(first.max(), second.max()) + 1), np.int64)
    for row, order in zip(place, (first, second), strict=True):
        row[order] = np.arange(len(order))
    entered = np.bincount(place.max(0)[first], minlength=depth)[:depth]
    return float(np.mean(np.cumsum(entered) / np.arange(1, depth + 1)))


def _orders(
    features: Features, names: Sequence[str], probe: ProbeConfig, weights: np.ndarray | None
) -> Mapping[str, list[Order]]:
    """The order of each ranking, of random as many as there are draws.

    Args:
        features: the data.
        names: of the rankings.
        probe: how the probe is trained whose weights rank.
        weights: of that probe, where it is trained already.
    """
    if weights is None:
        family = subset_family([np.arange(features.n_neurons)], features.n_neurons)
        train, targets = features.matrices["train"], features.targets["train"]
        weights = fit(family, train, targets, features.n_outputs, probe).probe(0).weights
    orders = {}
    for name in names:
        seeds = range(N_DRAWS) if name == "random" else (0,)
        if name == rankings.WEIGHTS:
            orders[name] = [rank_neurons(weights).order]
        else:
            orders[name] = [rankings.order(features, name, probe.seed + seed) for seed in seeds]
    return orders


def _halves(features: Features) -> list[Features]:
    """Two halves of the training rows, of words by whole sentences; dev and test are the same."""
    targets, train = features.targets["train"], features.matrices["train"]
    sentences = features.sentences.get("train", np.arange(len(targets)))
    units, unit = np.unique(sentences, return_inverse=True)
    half = (np.random.default_rng(0).permutation(len(units)) % 2)[unit]
    parts = []
    for number in (0, 1):
        rows = np.flatnonzero(half == number)[:HALF_ROWS]
        taken = FeatureMatrix.from_rows(rows_of(train, rows, np.arange(features.n_neurons)), train.batch_size)
        matrices, of_rows = {**features.matrices, "train": taken}, {**features.targets, "train": targets[rows]}
        parts.append(replace(features, matrices=matrices, targets=of_rows, sentences={}))
    return parts


def _point(size: int, scores: Sequence[ProbeScores]) -> RankedAt:
    test = np.array([entry.overall("test") for entry in scores])
    low, high = interval(np.concatenate([entry.draws["test"] for entry in scores]))
    return RankedAt(
        n_neurons=size,
        dev=float(np.mean([entry.overall("dev") for entry in scores])),
        test=float(test.mean()),
        interval=(float(low), float(high)),
        spread=float(test.std(ddof=1)) if len(test) > 1 else None,
    )
