"""Measures of layers without labels, from the kept moments and one more pass over the rows.

Each has the same number for two halves of the sentences next to it, which says how far to trust it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import kendalltau
from threadpoolctl import threadpool_limits

from jaxred.activations.in_memory import HiddenStates
from jaxred.activations.store import Store
from jaxred.statistics.cosines import CosineSums, cosine_sums, together
from jaxred.statistics.moments import Moments, Sums
from jaxred.statistics.neighbours import N_NEIGHBOURS, N_SAMPLED, mutual_knn, sampled, two_nn
from jaxred.statistics.procrustes import procrustes
from jaxred.statistics.spectrum import effective_rank, participation_ratio, spectra
from jaxred.statistics.streaming import N_HALVES, halves
from jaxred.studies.results import AgreementOfOrders, Block, DropOrder, LayerMeasures, OfHalves

if TYPE_CHECKING:
    from jaxred.activations.token_changes import TokenChanges

FROM_THE_TOP = "from the top"
OVER_TOKENS = "block_influence_of_tokens"


class RowPass(NamedTuple):
    """What a pass over the rows leaves."""

    cosines: list[CosineSums]  # by half
    sample: list[Float[np.ndarray, "_row layer neuron"]]  # by half


def pass_over(
    store: Store | HiddenStates, rows: np.ndarray | None = None, progress: Callable[[int], Any] = lambda n: None
) -> RowPass:
    """Cosines of all rows and a sample of rows, for two halves of the sentences, those of the moments.

    Args:
        store: the activations.
        rows: which rows; all by default.
        progress: called with the number of rows that were read.
    """
    chosen = np.ones(store.n_rows, bool) if rows is None else np.isin(np.arange(store.n_rows), rows)
    half = halves(store.sentence_index())
    picked = np.isin(np.arange(store.n_rows), sampled(np.flatnonzero(chosen), N_SAMPLED))
    sums = [CosineSums.none(store.n_layers) for _ in range(N_HALVES)]
    sample: list[list[np.ndarray]] = [[np.empty((0, store.n_layers, store.hidden_size), np.float32)] for _ in sums]
    for window, block in store.windows():
        for part in range(N_HALVES):
            own = half[window] == part
            sums[part] += cosine_sums(block[chosen[window] & own])
            sample[part].append(block[picked[window] & own])
        progress(len(block))
    return RowPass(sums, [np.concatenate(blocks) for blocks in sample])


def layer_measures(
    moment_sums: Sequence[Sums], row_pass: RowPass, tokens: "TokenChanges | None" = None
) -> LayerMeasures:
    """All measures of all rows, and of each half.

    Args:
        moment_sums: sums over two halves of the rows.
        row_pass: of the same rows and halves.
        tokens: the changes of all tokens of some sentences, where there is text.

    Raises:
        UserError: with fewer than 2 rows.
    """
    whole = Moments.of(moment_sums[0] + moment_sums[1])
    parts = [Moments.of(half) for half in moment_sums] if min(half.n_rows for half in moment_sums) >= 2 else []
    # One thread: eigenvalues of a few hundred columns in two take 15 times as long where another process computes.
    with threadpool_limits(1, user_api="blas"):
        of_moments = [_of_moments(moments) for moments in (whole, *parts)]
        of_cosines = [_of_cosines(sums) for sums in (together(row_pass.cosines), *row_pass.cosines[: len(parts)])]
        rows = np.concatenate(row_pass.sample)
        of_sample = [_of_sample(sample) for sample in (rows, *row_pass.sample[: len(parts)])]
    measures = [a | b | c for a, b, c in zip(of_moments, of_cosines, of_sample, strict=True)]
    named = {name: OfHalves(measures[0][name], [half[name] for half in measures[1:]]) for name in measures[0]}
    by_layer = {name: values for name, values in named.items() if values.whole.ndim == 1}
    if tokens is not None:
        by_layer = {OVER_TOKENS: _over_tokens(tokens), **by_layer}
    by_pair = {name: values for name, values in named.items() if values.whole.ndim == 2}
    costs = {name: _costs(name, measures) for name in ("block_influence", *by_pair)}
    if tokens is not None:
        costs[OVER_TOKENS] = [each[1:] for each in (by_layer[OVER_TOKENS].whole, *by_layer[OVER_TOKENS].halves)]
    costs[FROM_THE_TOP] = [-np.arange(whole.n_layers, dtype=float)[1:]]
    return LayerMeasures(
        n_rows=whole.n_rows,
        n_sampled=len(rows),
        n_sentences=0 if tokens is None else tokens.n_sentences,
        n_neighbours=N_NEIGHBOURS,
        n_layers=whole.n_layers,
        by_layer=by_layer,
        by_pair=by_pair,
        orders=[DropOrder(name, drop_order(cost[0]), _tau(*cost[1:3])) for name, cost in costs.items()],
        blocks=blocks(by_pair["angular_distance"]),
        agreements=agreements({name: cost[0] for name, cost in costs.items()}),
    )


def _over_tokens(tokens: "TokenChanges") -> OfHalves:
    """Block Influence of each layer over all tokens; of the embeddings there is none."""
    weights = tokens.n_tokens / tokens.n_tokens.sum()
    whole = weights @ np.nan_to_num(tokens.block_influence)
    return OfHalves(_from_layer_1(whole), [_from_layer_1(half) for half in tokens.block_influence])


def _from_layer_1(values: Float[np.ndarray, " block"]) -> Float[np.ndarray, " layer"]:
    return np.concatenate([[np.nan], values])


def _of_moments(moments: Moments) -> dict[str, np.ndarray]:
    eigenvalues = spectra(moments)
    return {
        "effective_rank": effective_rank(eigenvalues),
        "participation_ratio": participation_ratio(eigenvalues),
        "cka": moments.cka(),
        "procrustes": procrustes(moments),
    }


def _of_cosines(sums: CosineSums) -> dict[str, np.ndarray]:
    return {"block_influence": sums.block_influence(), "angular_distance": sums.angular_distance()}


def _of_sample(rows: Float[np.ndarray, "row layer neuron"]) -> dict[str, np.ndarray]:
    dimensions = [two_nn(rows[:, layer]) for layer in range(rows.shape[1])]
    return {"intrinsic_dimension": np.array(dimensions), "mutual_knn": mutual_knn(rows)}


def _costs(name: str, measures: Sequence[dict[str, np.ndarray]]) -> list[np.ndarray]:
    """How much each layer from 1 on changes, by a measure, of all rows and of each half; alike layers cost little."""
    if name == "block_influence":
        return [values[name][1:] for values in measures]
    sign = -1 if name in ("cka", "mutual_knn") else 1
    return [sign * np.diagonal(values[name], 1) for values in measures]


def drop_order(costs: Float[np.ndarray, " layer"]) -> list[int]:
    """The layers, 1 and on, in the order of their costs; of equal ones the later first; without those that are NaN."""
    layers = [layer for layer in range(len(costs), 0, -1) if not np.isnan(costs[layer - 1])]
    return sorted(layers, key=lambda layer: costs[layer - 1])


def blocks(angular: OfHalves) -> list[Block]:
    """For every number of layers, the block with the least angular distance (Gromov et al. 2024)."""
    found = []
    for n in range(1, len(angular.whole)):
        distances = np.diagonal(angular.whole, n)
        if not np.isnan(distances).all():
            start = int(np.nanargmin(distances))
            of_halves = [float(half[start, start + n]) for half in angular.halves]
            found.append(Block(n, start + 1, start + n, float(distances[start]), of_halves))
    return found


def agreements(costs: dict[str, Float[np.ndarray, " layer"]]) -> list[AgreementOfOrders]:
    """Of every pair of orders, over the layers that both have."""
    names, found = list(costs), []
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            both = ~np.isnan(costs[name]) & ~np.isnan(costs[other])
            n = int(both.sum())
            if n >= 2:
                first, second = (drop_order(costs[each][both]) for each in (name, other))
                shares = [len({*first[:s]} & {*second[:s]}) / s for s in range(1, n)]
                tau = _tau(costs[name][both], costs[other][both])
                found.append(AgreementOfOrders([name, other], tau, float(np.mean(shares)), 0.5))
    return found


def _tau(*costs: np.ndarray) -> float:
    """Kendall's tau of two lists of costs, over what is defined in both; NaN where it is not defined."""
    if len(costs) < 2:
        return float("nan")
    both = ~np.isnan(costs[0]) & ~np.isnan(costs[1])
    return float(np.asarray(kendalltau(costs[0][both], costs[1][both]))[0]) if both.sum() >= 2 else float("nan")
