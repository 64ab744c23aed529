"""Rules on scores that pick layers and neurons; nothing is trained here.

The paper's rule (Dalvi et al. 2020, section 6) accepts what scores *more* than the reference * (1 - delta / 100), to
the letter of the original. Another rule is a function in `RULES` and a name in `config.RULES`; docs/adding-a-rule.md
shows one.
"""

from collections.abc import Callable, Mapping, Sequence

Accepts = Callable[[float, float, float], bool]  # of (dev score, reference, delta): whether the score is enough

CCFS_FRACTIONS = (
    *(0.001, 0.002, 0.003, 0.004, 0.005),
    *(0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.10),
    *(0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50),
    *(0.60, 0.70, 0.80, 0.90),
)  # of all neurons of the network: the 27 sizes of a minimal set that the original tries

MINIMAL_FRACTIONS = (
    *(thousandths / 1000 for thousandths in range(1, 101)),
    *(0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.60, 0.70, 0.80, 0.90),
)  # the 112 sizes that the original tries out of all neurons


def accepted(score: float, reference: float, delta: float) -> bool:
    """Whether a score gives up less than delta percent of the reference."""
    return score > reference * (1 - delta / 100)


def one_standard_error(standard_error: float) -> Accepts:
    """The one-standard-error rule: accepts a score within one standard error of the reference, whatever the delta.

    Breiman et al. (1984), section 3.4.3: of all models whose score is no worse than the best one's by more than its
    standard error, take the smallest.
    """
    return lambda score, reference, delta: score >= reference - standard_error


# By name, what makes the rule, given the standard error of the reference's dev score.
RULES: dict[str, Callable[[float], Accepts]] = {
    "delta": lambda standard_error: accepted,
    "one_standard_error": one_standard_error,
}


def select_layer(incremental: Sequence[float], oracle: float, delta: float, accepts: Accepts = accepted) -> int:
    """LayerSelector: the smallest layer l so that layers 0..l do almost as well as all of them; else the last layer.

    Args:
        incremental: the dev score of layers 0..l, for every l.
        oracle: the dev score of all layers.
        delta: percent of the oracle's score that may be given up.
        accepts: the rule.
    """
    last = len(incremental) - 1
    return next((layer for layer, score in enumerate(incremental) if accepts(score, oracle, delta)), last)


def minimal_set_sizes(n_neurons: int, n_candidates: int, fractions: Sequence[float] = CCFS_FRACTIONS) -> list[int]:
    """The sizes that a search for a minimal neuron set tries, smallest first.

    Args:
        n_neurons: all neurons of the network, of which the sizes are fractions.
        n_candidates: neurons in the set being searched; larger sizes are skipped.
        fractions: of `n_neurons`, ascending.
    """
    return sorted({size for size in (int(q * n_neurons) for q in fractions) if size <= n_candidates})


def minimal_set_size(
    scores: Mapping[int, float], base: float, delta: float, n_candidates: int, accepts: Accepts = accepted
) -> int:
    """The smallest size whose retrained probe does almost as well as the whole set; else the size of the whole set.

    Args:
        scores: the dev score by size.
        base: the dev score of the whole set.
        delta: percent of the base's score that may be given up.
        n_candidates: neurons in the whole set.
        accepts: the rule.
    """
    return next((size for size in sorted(scores) if accepts(scores[size], base, delta)), n_candidates)
