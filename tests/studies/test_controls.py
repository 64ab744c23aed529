from dataclasses import replace

import numpy as np
import pytest
from helpers.small_study import N_LAYERS, correlation_of, made_up_task, study_config

from jaxred.activations.matrix import FeatureMatrix
from jaxred.data.split import train_dev_split
from jaxred.probing import Probe
from jaxred.probing.code_length import shuffled
from jaxred.probing.controls import of_types, permuted
from jaxred.probing.features import SPLITS, Features
from jaxred.report.tables.controls import controls_table
from jaxred.studies import controls as module
from jaxred.studies.controls import controls, expected_layer
from jaxred.studies.pipeline import pipeline
from jaxred.studies.results import ControlsResult
from jaxred.studies.results.controls import ROWS, WORD_TYPES


def run(features, targets, kind, config):
    found, probes = pipeline(
        features, lambda: correlation_of(features), config.probe, config.clustering, config.selection
    )
    return found, controls(features, found, probes, targets, kind, 1, config.probe)


@pytest.fixture(scope="module")
def sentences():
    features = made_up_task(signal=2.0)
    targets = {split: permuted(features.targets[split], 1, i) for i, split in enumerate(SPLITS)}
    return features, *run(features, targets, ROWS, study_config())


def test_scores_are_the_pipelines_own(sentences):
    _, found, result = sentences
    for kind, entries in (("layer", found.independent), ("layers", found.incremental)):
        for entry, scores in zip(result.of(kind), entries, strict=True):
            assert entry.score == {split: scores.overall(split) for split in SPLITS}
            assert entry.interval == scores.interval
    for choice in found.selection:
        entry = result.named(choice.minimal_probe)
        assert entry is not None
        assert entry.score["test"] == choice.minimal_scores.overall("test")
        assert entry.n_neurons == choice.n_minimal or entry.kind != "minimal"


def test_a_layer_that_knows_is_selective_informative_and_compresses_and_noise_is_not(sentences):
    _, _, result = sentences
    noise, knows, _ = result.of("layer")
    assert knows.selectivity.interval[0] > 0.2
    assert not knows.control_as_good
    assert knows.information is not None
    assert knows.information > 0.5
    assert knows.compression is not None
    assert knows.compression > 1.2
    assert noise.control_as_good
    assert noise.information_interval is not None
    assert noise.information_interval[0] < 0.05
    assert noise.compression is not None
    assert noise.compression < 1.05
    for entry in result.probes:
        assert entry.selectivity.difference == pytest.approx(entry.score["test"] - entry.control["test"], abs=1e-12)


def test_the_expected_layer_is_that_of_the_planted_layer(sentences):
    _, found, result = sentences
    scores = [entry.overall("test") for entry in found.incremental]
    gains = np.diff(scores)
    layer = result.expected_layer["test"]
    assert layer.finding
    assert layer.layer == pytest.approx(sum(i * gain for i, gain in enumerate(gains, 1)) / gains.sum(), rel=1e-9)
    assert layer.layer == pytest.approx(1, abs=0.3)
    assert layer.interval is not None
    assert layer.interval[0] <= layer.layer <= layer.interval[1]


def test_no_layer_is_expected_where_nothing_is_gained(sentences):
    features, found, _ = sentences
    del features
    falling = [
        replace(entry, test={"__OVERALL__": 0.5}, draws={"test": np.full(9, 0.5)}) for entry in found.incremental
    ]
    layer = expected_layer(falling, "test")
    assert layer.layer is None
    assert not layer.finding


def test_results_are_read_as_they_were_written(sentences):
    result = sentences[2]
    assert ControlsResult.from_json(result.to_json()) == result
    assert len(result.rows()) == len(result.probes)
    assert "Selectivity" in controls_table(result)


def test_word_types_are_memorised_and_the_minimal_set_is_marked():
    """Each type has its own vector, and labels are of types: a probe learns the control task as well as the task."""
    rng = np.random.default_rng(3)
    n_types = 12
    vectors = rng.normal(size=(n_types, N_LAYERS * 24)).astype(np.float32) * 2
    of_type = rng.integers(0, 2, n_types)
    train_targets = None
    words, targets, matrices = {}, {}, {}
    for split, n in (("train", 240), ("dev", 80), ("test", 80)):
        types = rng.integers(0, n_types, n)
        words[split] = [f"type-{i}" for i in types]
        targets[split] = of_type[types].astype(np.int32)
        matrices[split] = FeatureMatrix.from_rows(vectors[types], 32)
    train_targets = targets["train"]
    features = Features(matrices, targets, ("no", "yes"), N_LAYERS, 24, None)
    control = {split: of_types(words[split], train_targets, 2) for split in SPLITS}
    _, result = run(features, control, WORD_TYPES, study_config())
    oracle = result.of("layers")[-1]
    assert oracle.control["test"] > 0.9
    assert oracle.control_as_good
    assert any(entry.control_as_good for entry in result.of("minimal"))
    assert "control as good" in controls_table(result)


def test_scores_have_no_code_and_no_information():
    features = made_up_task(signal=2.0)
    rng = np.random.default_rng(0)
    targets = {
        split: (2.0 * values + 0.1 * rng.normal(size=len(values))).astype(np.float32)
        for split, values in features.targets.items()
    }
    features = replace(features, targets=targets, classes=(), metric="pearson")
    control = {split: permuted(targets[split], 1, i) for i, split in enumerate(SPLITS)}
    _, result = run(features, control, ROWS, study_config())
    assert result.entropy is None
    assert {entry.code for entry in result.probes} == {None}
    assert {entry.information for entry in result.probes} == {None}
    assert result.of("layer")[1].selectivity.interval[0] > 0
    assert "no code" in controls_table(result)


def test_codes_are_of_shuffled_rows_unless_the_split_has_shuffled_them(sentences, monkeypatch):
    features, found, _ = sentences
    features = replace(features, sentences={"train": np.arange(160) // 4})
    seen = []

    def code(family, matrix, targets, n_classes, config):
        del n_classes, config
        seen.append((np.asarray(matrix), targets))
        return np.ones(family.n_probes)

    monkeypatch.setattr(module, "online_code", code)
    probes, config = sentences[1].training.keys(), study_config()
    zero = Probe(np.arange(24), np.zeros((24, 2), np.float32), np.zeros(2, np.float32), np.zeros(0, np.float32))
    for split in (None, train_dev_split(200, 0.2, 1)):
        own = replace(features, data_split=split)
        controls(own, found, dict.fromkeys(probes, zero), features.targets, ROWS, 7, config.probe)
    rows, targets = np.asarray(features.matrices["train"]), features.targets["train"]
    order = shuffled(160, 7, features.sentences["train"])
    for (seen_rows, seen_targets), expected in zip(seen, (order, np.arange(160)), strict=True):
        np.testing.assert_array_equal(seen_rows, rows[expected])
        np.testing.assert_array_equal(seen_targets, targets[expected])
