"""What a model can do without: its own head's score with growing sets of neurons and layers removed.

Neurons are removed in the order in which they may go, the first of an order first; of a probe's ranking that is its
reverse. All sets are scored on the same rows and the same resamples, so that differences are paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from jaxred.ablation import interventions
from jaxred.ablation.batches import Batch
from jaxred.ablation.forward import Ablation
from jaxred.ablation.scoring import Scored, answers, perplexities, scored
from jaxred.probing.metrics import best_constant, score
from jaxred.probing.resampling import N_RESAMPLES, draw, interval
from jaxred.studies.results import Ablated, AblationResult, CanGo, ProbeAt

SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
LOSSES = (1.0, 3.0)  # percent of the whole model's score
RANDOM = "random"
PERPLEXITY = "perplexity"  # the metric of language models, of which less is better


@dataclass(frozen=True)
class TestRows:
    """What is scored."""

    __test__ = False  # pytest takes it for a test

    batches: list[Batch]
    targets: Shaped[np.ndarray, " row"]  # class ids or scores
    n_classes: int  # 0 for regression, and for language models
    metric: str
    task: str = ""
    sentences: Int[np.ndarray, " row"] | None = None  # of each row, where rows are words


@dataclass(frozen=True)
class _Entry:
    """One point of a curve: the sets that it is the mean of."""

    order: str
    n_removed: int
    share: float
    sets: list[int]


def ablate(
    ablation: Ablation,
    test: TestRows,
    orders: Mapping[str, Int[np.ndarray, " neuron"]],
    layer_orders: Mapping[str, Sequence[int]] | None = None,
    minimal: Int[np.ndarray, " minimal"] | None = None,
    shares: Sequence[float] = SHARES,
    n_draws: int = 5,
    seed: int = 0,
    probe: Sequence[ProbeAt] = (),
    encoder: str = "",
) -> AblationResult:
    """Removes neurons by each order and at random, the minimal set and its complement, and layers.

    Args:
        ablation: the model and what takes a removed neuron's place.
        test: the rows that are scored.
        orders: columns (layer * hidden size + index) of all neurons, those that go first at the start.
        layer_orders: transformer layers from 1, those that go first at the start; "from the top" is always there.
        minimal: the columns of the minimal set.
        shares: of all neurons that are removed.
        n_draws: random orders, and random sets of the minimal set's size.
        seed: of the random ones.
        probe: what probes score that were trained again on some of the neurons, to be shown beside the model.
        encoder: how the result calls the model.
    """
    n_layers, hidden = ablation.shape
    n_neurons, random = n_layers * hidden, np.random.default_rng(seed)
    sets: list[interventions.Interventions] = []
    n_sets = 0

    def add(part: interventions.Interventions) -> list[int]:
        nonlocal n_sets
        sets.append(part)
        n_sets += len(part)
        return list(range(n_sets - len(part), n_sets))

    (whole,) = add(interventions.remove_neurons([np.zeros(0, int)], n_layers, hidden))
    sizes = sorted({round(share * n_neurons) for share in shares})
    draws = [random.permutation(n_neurons) for _ in range(n_draws)]
    neurons = []
    for name, several in {**{name: [np.asarray(each)] for name, each in orders.items()}, RANDOM: draws}.items():
        for size in sizes if several else ():
            gone = interventions.remove_neurons([order[:size] for order in several], n_layers, hidden)
            neurons.append(_Entry(name, size, size / n_neurons, add(gone)))
    kept = []
    if minimal is not None:
        rest = np.setdiff1d(np.arange(n_neurons), minimal)
        for name, columns in (("all but the minimal set", rest), ("the minimal set", np.asarray(minimal))):
            own = add(interventions.remove_neurons([columns], n_layers, hidden))
            others = add(interventions.remove_neurons([each[: len(columns)] for each in draws], n_layers, hidden))
            kept.append(_Entry(name, len(columns), len(columns) / n_neurons, own))
            kept += [_Entry(f"{RANDOM}, as many", len(columns), len(columns) / n_neurons, others)] if others else []
    top = n_layers - 1
    layers = [
        _Entry(f"layer {layer} alone", 1, 1 / top, add(interventions.skip_layers([[layer]], n_layers, hidden)))
        for layer in range(1, n_layers)
    ]
    for name, order in {"from the top": list(range(top, 0, -1)), **(layer_orders or {})}.items():
        for count in range(top + 1):
            gone = interventions.skip_layers([list(order)[:count]], n_layers, hidden)
            layers.append(_Entry(name, count, count / max(top, 1), add(gone)))
    predictions = answers(ablation, test.batches, interventions.together(*sets), test.n_classes == 0)
    resamples = draw(len(test.targets), N_RESAMPLES["test"], test.sentences)
    less_is_better = test.metric == PERPLEXITY
    if less_is_better:
        found = perplexities(predictions, resamples)
    else:
        found = scored(test.metric, predictions, test.targets, test.n_classes, resamples)
    low, high = interval(found.resampled[:, whole])
    constant = _constant(test)
    finding = constant is None or (high < constant if less_is_better else low > constant)
    cumulative = [entry for entry in layers if not entry.order.endswith(" alone")]
    return AblationResult(
        task=test.task,
        metric=test.metric,
        value=ablation.value,
        n_layers=n_layers,
        hidden_size=hidden,
        n_rows=len(test.targets),
        whole=float(found.scores[whole]),
        whole_interval=(low, high),
        constant=constant,
        finding=finding,
        neurons=[_ablated(entry, found, whole) for entry in neurons],
        sets=[_ablated(entry, found, whole) for entry in kept],
        layers=[_ablated(entry, found, whole) for entry in layers],
        can_go=_can_go(neurons, found, whole, less_is_better) if finding else [],
        layers_can_go=_can_go(cumulative, found, whole, less_is_better) if finding else [],
        probe=list(probe),
        encoder=encoder,
    )


def _constant(test: TestRows) -> float | None:
    """The best constant answer's score on the rows; None for scores, where a correlation with a constant is 0.

    Of a language model it is the perplexity of always giving the tokens' own shares.
    """
    if test.metric == PERPLEXITY:
        shares = np.bincount(test.targets) / len(test.targets)
        return float(np.exp(-np.sum(shares[shares > 0] * np.log(shares[shares > 0]))))
    if test.n_classes == 0:
        return None
    answer = best_constant(test.metric, test.targets, test.n_classes)
    return score(test.metric, np.full(len(test.targets), answer), test.targets, test.n_classes)


def _ablated(entry: _Entry, found: Scored, whole: int) -> Ablated:
    resampled, own = found.resampled[:, entry.sets], found.scores[entry.sets]
    low, high = interval(resampled.ravel())
    below, above = interval((resampled - found.resampled[:, [whole]]).ravel())
    several = len(own) > 1
    return Ablated(
        order=entry.order,
        n_removed=entry.n_removed,
        share=entry.share,
        score=float(own.mean()),
        interval=(low, high),
        difference=(below, above),
        n_draws=len(own),
        spread=float(own.std(ddof=1)) if several else None,
    )


def _can_go(entries: Sequence[_Entry], found: Scored, whole: int, less_is_better: bool = False) -> list[CanGo]:
    table = []
    for name in dict.fromkeys(entry.order for entry in entries):
        curve = sorted((entry for entry in entries if entry.order == name), key=lambda entry: entry.share)
        shares, columns = np.array([entry.share for entry in curve]), np.array([entry.sets for entry in curve])
        for loss in LOSSES:
            mean = found.scores[columns].mean(1)
            each = [
                largest_share(
                    shares, found.resampled[:, columns[:, i]], found.resampled[:, whole], loss, less_is_better
                )
                for i in range(columns.shape[1])
            ]
            own = largest_share(shares, mean[None], found.scores[[whole]], loss, less_is_better)
            low, high = interval(np.concatenate(each))
            table.append(CanGo(order=name, loss=loss, share=float(own[0]), interval=(low, high)))
    return table


def largest_share(
    shares: Float[np.ndarray, " share"],
    scores: Float[np.ndarray, "resample share"],
    whole: Float[np.ndarray, " resample"],
    loss: float,
    less_is_better: bool = False,
) -> Float[np.ndarray, " resample"]:
    """The largest share up to which every score keeps (1 - loss / 100) of the whole's; 0 where none does.

    Args:
        shares: from the least up.
        scores: with each share removed.
        whole: with nothing removed.
        loss: percent of the whole's score that may be lost.
        less_is_better: of perplexities, which may grow by so many percent.
    """
    if less_is_better:
        keeps = scores <= whole[:, None] * (1 + loss / 100) + 1e-12
    else:
        keeps = scores >= whole[:, None] * (1 - loss / 100) - 1e-12
    n_kept = np.cumprod(keeps, axis=1).sum(1)
    return np.where(n_kept > 0, shares[np.maximum(n_kept - 1, 0)], 0.0)
