"""Controls of the pipeline's probes: what of their scores is in the representation, and what in the probe.

Every probe on a layer, on a prefix of layers and on a minimal set is trained again on the targets of a control task
and, for its online code, on portions of the rows; all of them from the same matrices. The pipeline's own probes are
taken as they are.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxred.config import ProbeConfig
from jaxred.probing import Probe
from jaxred.probing.code_length import online_code, portion_ends, shuffled, uniform_code
from jaxred.probing.families import Family, subset_family
from jaxred.probing.features import SPLITS, Features
from jaxred.probing.information import entropy, surprisals, usable_information
from jaxred.probing.outputs import matrix_outputs
from jaxred.probing.resampling import interval
from jaxred.studies.results import ControlledProbe, ControlsResult, ExpectedLayer, PipelineResult, ProbeScores
from jaxred.studies.scoring import constant_answer, constant_score, difference, fit_and_score, score_all


def controls(
    features: Features,
    pipeline: PipelineResult,
    probes: Mapping[str, Probe],
    control_targets: dict[str, np.ndarray],
    control: str,
    seed: int,
    probe: ProbeConfig,
    scratch: Path | None = None,
) -> ControlsResult:
    """The controls of a pipeline (of its first repeat).

    Args:
        features: the data that the pipeline saw.
        pipeline: its result.
        probes: its probes, by name.
        control_targets: the targets of the control task, by split.
        control: the kind of control task.
        seed: that its targets were drawn with; of the order of the rows in codes, too.
        probe: how probes are trained.
        scratch: a folder for a matrix that does not fit in memory.
    """
    names = _names(pipeline)
    own = [probes[name] for name in names]
    outputs = {split: [_outputs(each, features, split) for each in own] for split in SPLITS}
    scored = score_all({split: _predictions(values, features) for split, values in outputs.items()}, features)
    controlled = replace(features, targets=control_targets)
    family = replace(subset_family([each.columns for each in own], features.n_neurons), names=tuple(names))
    of_control = fit_and_score(family, controlled, probe)[1]

    n_classes, train = len(features.classes), features.targets["train"]
    bits, uncertainty, uniform = np.zeros(0), 0.0, 0.0
    if n_classes:
        uncertainty, uniform = entropy(train, n_classes), uniform_code(len(train), n_classes)
        bits = _code(family, features, probe, seed, scratch)
    entries = []
    for i, (name, kind) in enumerate(names.items()):
        information, ends = None, None
        if n_classes:
            of_rows = surprisals(outputs["test"][i], features.targets["test"])
            information, ends = usable_information(uncertainty, of_rows, features.resamples["test"])
        entries.append(
            ControlledProbe(
                kind=kind,
                probe=name,
                top_layer=int(own[i].columns.max(initial=0)) // features.hidden_size,
                n_neurons=len(own[i].columns),
                score={split: scored[i].overall(split) for split in SPLITS},
                interval=scored[i].interval,
                finding=_is_finding(pipeline, name, kind, scored[i]),
                control={split: of_control[i].overall(split) for split in SPLITS},
                selectivity=difference([scored[i]], [of_control[i]]),
                information=information,
                information_interval=ends,
                code=float(bits[i]) / 1000 if n_classes else None,
                compression=uniform / float(bits[i]) if n_classes and bits[i] > 0 else None,
            )
        )
    prefixes = [scored[i] for i, kind in enumerate(names.values()) if kind == "layers"]
    constant = constant_answer(controlled)
    return ControlsResult(
        task=pipeline.task,
        control=control,
        seed=seed,
        n_repeats=pipeline.n_runs,
        constant_control=None if constant is None else constant_score(constant, "test", controlled),
        entropy=uncertainty if n_classes else None,
        uniform_code=uniform / 1000 if n_classes else None,
        portions=portion_ends(len(train)) if n_classes else [],
        probes=entries,
        expected_layer={split: expected_layer(prefixes, split) for split in ("dev", "test")},
    )


def expected_layer(prefixes: list[ProbeScores], split: str) -> ExpectedLayer:
    """Sum of l * D_l / sum of D_l, D_l being what layer l adds to the score of the layers below it (Tenney 2019).

    Args:
        prefixes: of the probes on layers 0..l, with their draws.
        split: dev or test.
    """
    scores = np.array([entry.overall(split) for entry in prefixes])
    draws = np.stack([entry.draws[split] for entry in prefixes], axis=1)
    gains = draws[:, -1] - draws[:, 0]
    low, high = interval(gains)
    if scores[-1] <= scores[0]:
        return ExpectedLayer(None, None, float(scores[-1] - scores[0]), (low, high))
    rising = gains > 0  # of the others the layer is not defined
    ends = interval(_centre(draws[rising])) if rising.any() else None
    pair = None if ends is None else (ends[0], ends[1])
    return ExpectedLayer(float(_centre(scores[None])[0]), pair, float(scores[-1] - scores[0]), (low, high))


def _centre(scores: Float[np.ndarray, "draw layer"]) -> Float[np.ndarray, " draw"]:
    gains = np.diff(scores, axis=1)
    return (gains @ np.arange(1, scores.shape[1])) / gains.sum(1)


def _code(
    family: Family, features: Features, probe: ProbeConfig, seed: int, scratch: Path | None
) -> Float[np.ndarray, " probe"]:
    """Codes of the training labels in bits, of rows in random order: where dev was held out of train they are."""
    matrix, targets = features.matrices["train"], features.targets["train"]
    if features.data_split is None:
        order = shuffled(len(targets), seed, features.sentences.get("train"))
        matrix, targets = matrix.taken(order, scratch), targets[order]
    return online_code(family, matrix, targets, len(features.classes), probe)


def _names(pipeline: PipelineResult) -> dict[str, str]:
    """The kind of every probe that is controlled, by its name, each once."""
    layers = range(len(pipeline.incremental))
    names = {f"layer-{layer}": "layer" for layer in layers} | {f"layers-0-{layer}": "layers" for layer in layers}
    for choice in pipeline.selection:
        names.setdefault(choice.minimal_probe, "minimal")
    return names


def _is_finding(pipeline: PipelineResult, name: str, kind: str, scores: ProbeScores) -> bool:
    if kind != "minimal":
        return scores.beats_constant
    return all(choice.finding for choice in pipeline.selection if choice.minimal_probe == name)


def _outputs(probe: Probe, features: Features, split: str) -> Float[np.ndarray, "row output"]:
    return matrix_outputs(probe.columns, probe.weights, probe.bias, features.matrices[split])


def _predictions(outputs: list[np.ndarray], features: Features) -> np.ndarray:
    """Class ids or scores [row, probe]."""
    if features.classes:
        return np.stack([values.argmax(1) for values in outputs], axis=1).astype(np.int32)
    return np.concatenate(outputs, axis=1).astype(np.float32)
