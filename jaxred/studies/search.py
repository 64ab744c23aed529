"""The search for a minimal neuron set (Dalvi et al. 2020, section 6.2): rank the candidates, retrain on the first k."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxred.config import ProbeConfig
from jaxred.probing import Probe
from jaxred.probing.families import prefix_family
from jaxred.probing.features import Features
from jaxred.probing.ranking import rank_neurons
from jaxred.studies.results import Neuron, ProbeScores
from jaxred.studies.scoring import fit_and_score
from jaxred.studies.selection import Accepts, minimal_set_size

AUTO_OPERATIONS = 5e11  # of training the whole grid, from which stopping early pays for compiling several families

# Receives how many probes were trained since its last call, and how many more are planned.
Progress = Callable[[int, int], None]


def unwatched(trained: int, planned: int) -> None:
    """The `Progress` that nobody looks at."""


class Minimal(NamedTuple):
    """A minimal set."""

    n_neurons: int
    scores: ProbeScores
    neurons: list[Neuron]
    finding: bool  # whether it and the probe on all candidates beat the best constant answer
    retrained: bool  # False: no size was accepted, and the set is all candidates with the base's scores


@dataclass(frozen=True)
class Search:
    """What a search tried."""

    ranking: np.ndarray  # [neuron]: the candidates, numbered globally, most salient first
    base: ProbeScores  # of the probe on all candidates
    sizes: dict[int, ProbeScores]  # of the probes retrained on the first k, by k
    probes: dict[int, Probe]
    accepts: Accepts

    def choose(self, delta: float, features: Features) -> Minimal:
        """The smallest set whose dev score is accepted for a delta; else all candidates, with the base's scores."""
        dev = {size: entry.overall("dev") for size, entry in self.sizes.items()}
        reference = self.base.overall("dev")
        size = minimal_set_size(dev, reference, delta, len(self.ranking), self.accepts)
        retrained = size in dev and self.accepts(dev[size], reference, delta)
        scores = self.sizes[size] if retrained else self.base
        return Minimal(
            size,
            scores,
            [features.layer_and_index(neuron) for neuron in self.ranking[:size]],
            scores.beats_constant and self.base.beats_constant,
            retrained,
        )


def search(
    base: Probe,
    base_scores: ProbeScores,
    oracle: ProbeScores,
    sizes: Sequence[int],
    deltas: Sequence[float],
    features: Features,
    probe: ProbeConfig,
    accepts: Accepts,
    how: str = "auto",
    progress: Progress = unwatched,
    order: np.ndarray | None = None,
) -> Search:
    """Ranks the columns of a probe and retrains the first k of them, for the sizes k of a grid.

    Where training the whole grid is expensive, sizes are trained in waves, smallest first, until every delta has a size
    that is accepted: what `Search.choose` then says of these deltas is what it would say of the whole grid.

    Args:
        base: the probe on all candidates.
        base_scores: its scores.
        oracle: the scores that all are compared with.
        sizes: the grid, ascending.
        deltas: percents of the base's dev score that may be given up.
        features: the data.
        probe: how probes are trained.
        accepts: the rule by which a size is accepted.
        how: full (every size), early (in waves), or auto (early where training is expensive).
        progress: receives how many sizes were tried after each wave.
        order: of all neurons, by another ranking than the weights of the probe on all candidates.
    """
    ranking = base.columns[rank_neurons(base.weights).order] if order is None else order[np.isin(order, base.columns)]
    reference = base_scores.overall("dev")
    scores: dict[int, ProbeScores] = {}
    probes: dict[int, Probe] = {}
    for wave in waves(sizes) if stops_early(sizes, features, probe, how) else [list(sizes)]:
        trained, scored = fit_and_score(prefix_family(ranking, wave, features.n_neurons), features, probe, oracle)
        scores |= dict(zip(wave, scored, strict=True))
        probes |= {size: trained.probe(i) for i, size in enumerate(wave)}
        progress(len(wave), 0)
        tried = [entry.overall("dev") for entry in scores.values()]
        if all(any(accepts(score, reference, delta) for score in tried) for delta in deltas):
            break
    return Search(ranking, base_scores, scores, probes, accepts)


def waves(sizes: Sequence[int]) -> list[list[int]]:
    """The sizes in waves, each of about as many columns as all waves before it together."""
    cut: list[list[int]] = []
    before, in_wave = 0, 0
    for size in sizes:
        if not cut or in_wave > max(before, sum(sizes) / 16):
            before, in_wave = before + in_wave, 0
            cut.append([])
        cut[-1].append(size)
        in_wave += size
    return cut


def stops_early(sizes: Sequence[int], features: Features, probe: ProbeConfig, how: str) -> bool:
    """Whether the search stops at the first wave with an accepted size."""
    if how != "auto":
        return how == "early"
    products = 4 * sum(sizes) * features.n_outputs * len(features.targets["train"]) * probe.epochs
    return products > AUTO_OPERATIONS
