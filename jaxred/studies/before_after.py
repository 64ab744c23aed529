"""What the same pipeline finds in an encoder before and after fine-tuning, set by set."""

from typing import Any

import numpy as np

from jaxred.studies.results import (
    BeforeAfter,
    LayerMeasures,
    MeasureOfBoth,
    OfHalves,
    PipelineResult,
    SetOfBoth,
    SetOfOne,
)

BEST_LAYER = "Best layer alone"  # the rule that takes the layer that is best on dev by itself


def before_and_after(
    before: PipelineResult, after: PipelineResult, measures: tuple[LayerMeasures, LayerMeasures] | None = None
) -> BeforeAfter:
    """Sets that one rule selects in both, next to each other.

    Args:
        before: of the pretrained encoder.
        after: of the same encoder fine-tuned, on the same task with the same rules.
        measures: of the layers of both, where they were measured.
    """
    sides = [_sets(result) for result in (before, after)]
    constant = after.task.constant
    return BeforeAfter(
        task=after.task.name,
        metric=after.task.metric,
        sets=[SetOfBoth(*rule, sides[0][rule], sides[1][rule]) for rule in sides[1] if rule in sides[0]],
        layers={"before": _layers(before), "after": _layers(after)},
        constant=None if constant is None else constant.scores["test"],
        measures={} if measures is None else _measures(*measures),
    )


def _measures(before: LayerMeasures, after: LayerMeasures) -> dict[str, MeasureOfBoth]:
    """The measures of layers, and those of a layer and the one before it, that both have."""
    sides = []
    for found in (before, after):
        to_predecessor = {name: _to_predecessor(values) for name, values in found.by_pair.items()}
        sides.append({**found.by_layer, **to_predecessor})
    return {name: MeasureOfBoth(sides[0][name], sides[1][name]) for name in sides[1] if name in sides[0]}


def _to_predecessor(values: OfHalves) -> OfHalves:
    def diagonal(pairs: np.ndarray) -> np.ndarray:
        return np.concatenate([[np.nan], np.diagonal(pairs, 1)])

    return OfHalves(diagonal(values.whole), [diagonal(half) for half in values.halves])


def _layers(pipeline: PipelineResult) -> list[float]:
    if pipeline.repeats is not None:
        return [scores.test.mean for scores in pipeline.repeats.independent]
    return [scores.overall("test") for scores in pipeline.independent]


def _sets(pipeline: PipelineResult) -> dict[tuple[str, str, str], SetOfOne]:
    """By rule, delta and clustering."""
    rows = [row for row in pipeline.rows() if row["set"] != "incremental"]
    best = max((row for row in rows if row["set"] == "independent"), key=lambda row: row["dev"])
    chosen = [row for row in rows if row["set"] != "independent"]
    n_neurons = pipeline.encoder.n_neurons
    sets = {_rule(chosen[0]): chosen[0], (BEST_LAYER, "", ""): best}
    sets |= {_rule(row): row for row in chosen[1:]}
    return {
        rule: SetOfOne(
            top_layer=float(row["top_layer"]),
            n_neurons=float(row["n_neurons"]),
            share=row["n_neurons"] / n_neurons,
            dev=row["dev"],
            test=row["test"],
            interval=(row["test_low"], row["test_high"]),
            finding=bool(row.get("finding", int(row["beats_constant"]) == pipeline.n_runs)),
        )
        for rule, row in sets.items()
    }


def _rule(row: dict[str, Any]) -> tuple[str, str, str]:
    """The rule that selected a row of a pipeline's table, its delta, and its clustering."""
    if row["set"] == "oracle":
        return "Oracle", "", ""
    if row["set"] == "LayerSelector":
        return "LayerSelector", f"{row['delta_layers']:g}", ""
    threshold = "no clustering" if row["threshold"] is None else f"clustering {row['threshold']:g}"
    return "LS + CCFS", f"{row['delta_layers']:g}/{row['delta_neurons']:g}", threshold
