"""The search for a minimal neuron set (Dalvi et al. 2020, section 6.2): rank the candidates, retrain on the first k."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxred.config import StudyConfig
from jaxred.probing import Probe
from jaxred.probing.families import prefix_family
from jaxred.probing.features import Features
from jaxred.probing.metrics import overall
from jaxred.probing.ranking import rank_neurons
from jaxred.studies.scoring import Scored, fit_and_score
from jaxred.studies.selection import accepted, minimal_set_size

AUTO_OPERATIONS = 5e11  # of training the whole grid, from which stopping early pays for compiling several families


@dataclass(frozen=True)
class Search:
    """What a search tried."""

    ranking: Any  # [neuron]: the candidates, numbered globally, most salient first
    base: Scored  # of the probe on all candidates
    sizes: dict[int, Scored]  # of the probes retrained on the first k, by k
    probes: dict[int, Probe]

    def choose(self, delta: float, features: Features) -> dict[str, Any]:
        """The smallest set whose dev score is less than so many percent below the base's; else all candidates, whose
        scores are the base's. It is a finding if both beat the best constant answer.
        """
        dev, base = {size: overall(entry, "dev") for size, entry in self.sizes.items()}, overall(self.base, "dev")
        size = minimal_set_size(dev, base, delta, len(self.ranking))
        retrained = size in dev and accepted(dev[size], base, delta)
        scores = self.sizes[size] if retrained else self.base
        return {
            "n_minimal": size,
            "minimal_scores": scores,
            "finding": scores["beats_constant"] and self.base["beats_constant"],
            "minimal_neurons": [features.layer_and_index(neuron) for neuron in self.ranking[:size]],
        }


def search(
    base: Probe,
    base_scores: Scored,
    sizes: Sequence[int],
    deltas: Sequence[float],
    features: Features,
    config: StudyConfig,
    tried: Callable[[int], Any] = lambda n: None,
) -> Search:
    """Ranks the columns of a probe and retrains the first k of them, for the sizes k of a grid.

    Where training the whole grid is dear, sizes are trained in waves, smallest first, until every delta has a size
    that is accepted: what `Search.choose` then says of these deltas is what it would say of the whole grid.

    Args:
        base: the probe on all candidates.
        base_scores: its scores.
        sizes: the grid, ascending.
        deltas: percents of the base's dev score that may be given up.
        features: the data.
        config: how probes are trained; `selection.search` says whether to stop early.
        tried: told how many sizes were tried after each wave.
    """
    ranking = base.columns[rank_neurons(base.weights).order]
    reference = overall(base_scores, "dev")
    scores: dict[int, Scored] = {}
    probes: dict[int, Probe] = {}
    for wave in waves(sizes) if stops_early(sizes, features, config) else [list(sizes)]:
        trained, scored = fit_and_score(prefix_family(ranking, wave, features.n_neurons), features, config)
        scores |= dict(zip(wave, scored, strict=True))
        probes |= {size: trained.probe(i) for i, size in enumerate(wave)}
        tried(len(wave))
        best = [overall(entry, "dev") for entry in scores.values()]
        if all(any(accepted(score, reference, delta) for score in best) for delta in deltas):
            break
    return Search(ranking, base_scores, scores, probes)


def waves(sizes: Sequence[int]) -> list[list[int]]:
    """The sizes in waves, each of about as many columns as all waves before it together."""
    found: list[list[int]] = []
    spent, mine = 0, 0
    for size in sizes:
        if not found or mine > max(spent, sum(sizes) / 16):
            spent, mine = spent + mine, 0
            found.append([])
        found[-1].append(size)
        mine += size
    return found


def stops_early(sizes: Sequence[int], features: Features, config: StudyConfig) -> bool:
    """Whether the search stops at the first wave with an accepted size."""
    if config.selection.search != "auto":
        return config.selection.search == "early"
    products = 4 * sum(sizes) * features.n_outputs * len(features.targets["train"]) * config.probe.epochs
    return products > AUTO_OPERATIONS
