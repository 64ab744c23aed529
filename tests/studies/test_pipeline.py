import json

import numpy as np
import pytest

from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ClusteringConfig, ProbeConfig, SelectionConfig, StudyConfig
from jaxred.original.all_results import pipeline_results
from jaxred.probing.features import Features
from jaxred.probing.metrics import OVERALL
from jaxred.statistics.moments import Moments
from jaxred.statistics.streaming import from_blocks
from jaxred.studies.pipeline import pipeline
from jaxred.studies.results import PipelineResult


def run(features, config):
    correlation = Moments.of(from_blocks([np.asarray(features.matrices["train"])])).correlation()
    return pipeline(features, lambda: correlation, config.probe, config.clustering, config.selection)


@pytest.fixture(scope="module")
def synthetic():
    """4 layers of 10 neurons; layer 1 knows the class, layer 2 copies layer 1, layers 0 and 3 are noise."""
    rng = np.random.default_rng(0)
    targets = {
        name: rng.integers(0, 2, n).astype(np.int32) for name, n in (("train", 600), ("dev", 200), ("test", 200))
    }
    matrices = {}
    for name, classes in targets.items():
        layers = [rng.normal(size=(len(classes), 10)) for _ in range(4)]
        layers[1] += np.where(classes, 2.5, -2.5)[:, None] * np.linspace(0.2, 1, 10)
        layers[2] = layers[1] * 3 + 0.01 * layers[2]
        matrices[name] = FeatureMatrix.from_rows(np.concatenate(layers, axis=1).astype(np.float32), 32)
    features = Features(matrices, targets, ("no", "yes"), 4, 10, None)
    config = StudyConfig(
        probe=ProbeConfig(batch_size=32, learning_rate=1e-2),
        clustering=ClusteringConfig(thresholds=(-1.0, 0.3, 0.9)),
        selection=SelectionConfig(deltas=((3.0, 1.0), (1.0, 0.0))),
    )
    result, probes = run(features, config)
    return features, config, result.to_json(), probes


def test_layer_selector_finds_the_layer_that_knows(synthetic):
    _, _, content, _ = synthetic
    assert {entry["top_layer"] for entry in content["layer_selection"]} == {1}
    assert content["independent"][0]["dev"][OVERALL] < 0.65 < content["independent"][1]["dev"][OVERALL]


def test_the_oracle_is_all_layers_and_the_unclustered_base_is_the_selected_prefix(synthetic):
    _, _, content, _ = synthetic
    assert content["oracle"] == content["incremental"][-1]
    for chosen in content["selection"]:
        if chosen["clusters"] is None:
            assert chosen["base"] == content["incremental"][chosen["top_layer"]]


def test_every_delta_meets_every_threshold_on_the_unfiltered_neurons(synthetic):
    """Trap 3 of the original: its second threshold clusters the first one's survivors."""
    _, config, content, _ = synthetic
    seen = [(c["delta_layers"], c["delta_neurons"], c["threshold"]) for c in content["selection"]]
    assert seen == [(*deltas, t) for deltas in config.selection.deltas for t in config.clustering.thresholds]
    for chosen in content["selection"]:
        if chosen["clusters"] is not None:
            assert len(chosen["clusters"]) == 20
            assert len(chosen["candidates"]) == max(chosen["clusters"])


def test_minimal_sets_are_prefixes_of_a_ranking_of_the_candidates(synthetic):
    features, _, content, _ = synthetic
    for chosen in content["selection"]:
        assert sorted(chosen["ranking"]) == sorted(chosen["candidates"])
        kept = [layer * features.hidden_size + index for layer, index in chosen["minimal_neurons"]]
        assert kept == list(chosen["ranking"][: chosen["n_minimal"]])
        assert len(kept) < 20 or chosen["delta_neurons"] == 0


def test_saved_probes_give_the_scores_that_were_reported(synthetic):
    features, _, content, probes = synthetic
    for chosen in content["selection"]:
        probe = probes[chosen["minimal_probe"]]
        outputs = np.asarray(features.matrices["test"])[:, probe.columns] @ probe.weights + probe.bias
        accuracy = np.mean(outputs.argmax(1) == features.targets["test"])
        assert accuracy == pytest.approx(chosen["minimal_scores"]["test"][OVERALL], abs=1e-9)


def test_all_results_lists_positions_among_the_candidates_and_the_sizes_tried(synthetic):
    _, _, content, _ = synthetic
    results = json.loads(pipeline_results(PipelineResult.from_json(content), None))
    inner = results["selection"]["selection-3-1"]["neuron_selection"]["clustering-0.30"]
    chosen = next(c for c in content["selection"] if c["threshold"] == 0.3 and c["delta_layers"] == 3)
    assert [inner["independent_neurons"][i] for i in inner["ordering"]] == list(chosen["ranking"])
    assert len(inner["minimal_neuron_set"]) == inner["minimal_neuron_set_size"] == chosen["n_minimal"]
    tried = [int(key.removeprefix("selected-")) for key in inner if key.startswith("selected-")]
    assert chosen["n_minimal"] in tried
    assert all(k <= chosen["n_minimal"] or k == chosen["n_candidates"] for k in tried)
    assert "data_split" not in results


def test_regression_runs_with_every_correlation_metric():
    rng = np.random.default_rng(1)
    matrices = {
        name: rng.normal(size=(n, 24)).astype(np.float32) for name, n in (("train", 300), ("dev", 60), ("test", 60))
    }
    targets = {name: (x[:, 8:12].sum(1) * 0.3).astype(np.float32) for name, x in matrices.items()}
    matrices = {name: FeatureMatrix.from_rows(x, ProbeConfig().batch_size) for name, x in matrices.items()}
    for metric in ("pearson", "spearman", "pearson_and_spearman"):
        features = Features(matrices, targets, (), 3, 8, None, metric=metric)
        result, _ = run(features, StudyConfig(probe=ProbeConfig(learning_rate=0.03)))
        assert result.oracle.overall("test") > 0.9
        assert result.independent[0].overall("test") < 0.5
