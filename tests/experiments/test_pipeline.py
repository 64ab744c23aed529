import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from jaxred.clustering import cluster_tree
from jaxred.config import ClusteringConfig, ProbeConfig, SelectionConfig, StudyConfig, TaskConfig
from jaxred.experiments import study
from jaxred.experiments.pipeline import _pipeline
from jaxred.experiments.scoring import fit_and_score
from jaxred.features import Features, load_features
from jaxred.formats import experiment
from jaxred.formats.all_results import pipeline_results
from jaxred.metrics import OVERALL, overall
from jaxred.moments import from_blocks
from jaxred.probing import layer_family
from jaxred.progress import progress_bar
from jaxred.store import Store

SHARED = Path(os.environ.get("JAXRED_SHARED", Path(__file__).parents[3] / "shared"))


def run(features, config):
    correlation = from_blocks([np.asarray(features.matrices["train"])]).correlation()
    probes = {}
    content = _pipeline(features, correlation, config, probes, progress_bar(0, "pipeline", "probes"))
    return content, probes


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
        matrices[name] = np.concatenate(layers, axis=1).astype(np.float32)
    features = Features(matrices, targets, ("no", "yes"), 4, 10, None)
    config = StudyConfig(
        probe=ProbeConfig(batch_size=32, learning_rate=1e-2),
        clustering=ClusteringConfig(thresholds=(-1.0, 0.3, 0.9)),
        selection=SelectionConfig(deltas=((3.0, 1.0), (1.0, 0.0))),
    )
    return features, config, *run(features, config)


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
    results = json.loads(pipeline_results(content, None))
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
    features = Features(matrices, targets, (), 3, 8, None)
    for metric in ("pearson", "spearman", "pearson_and_spearman"):
        config = StudyConfig(task=TaskConfig(kind="regression", metric=metric), probe=ProbeConfig(learning_rate=0.03))
        content, _ = run(features, config)
        assert content["oracle"]["test"][OVERALL] > 0.9
        assert content["independent"][0]["test"][OVERALL] < 0.5


@pytest.fixture(scope="module", params=["sentences", "words"])
def original_run(request, tmp_path_factory):
    """What the pipeline finds for an experiment file of the original, what the original found, and the features."""
    archive = SHARED / "golden" / "original_runs" / "runs.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive.name} is not there: set JAXRED_SHARED")
    folder = tmp_path_factory.mktemp("runs")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    named = experiment.load(folder / f"{request.param}.json")
    config = experiment.study_config(named)
    workdir = study.run_stages(config, str(folder / "run"), False, ("pipeline",))
    results = json.loads((named.output_directory / "all_results.json").read_text())
    expected = json.loads((folder / f"out_{request.param}_pipeline" / "all_results.json").read_text())
    stores = {split: Store(workdir.activations(split)) for split in named.splits}
    return results, expected, load_features(stores, config)


@pytest.mark.shared
def test_the_originals_split_is_met_exactly(original_run):
    results, expected, _ = original_run
    assert results.get("data_split") == expected.get("data_split")


@pytest.mark.shared
def test_the_originals_clusters_are_met_up_to_renaming(original_run):
    """Of the layers that the original selected, whatever layers this run's random numbers selected."""
    results, expected, features = original_run
    correlation = from_blocks([features.matrices["train"]]).correlation()

    def clusters(top_layer):
        n_columns = (top_layer + 1) * features.hidden_size
        return cluster_tree(correlation[:n_columns, :n_columns], "absolute").cut(0.3).tolist()

    for deltas, entry in expected["selection"].items():
        ours = clusters(entry["selected_top_layer"]["selected_top_layer"])
        theirs = entry["neuron_selection"]["clustering-0.30"]["clusters"]
        assert len(set(zip(ours, theirs, strict=True))) == len(set(ours)) == len(set(theirs))
        mine = results["selection"][deltas]
        assert mine["neuron_selection"]["clustering-0.30"]["clusters"] == clusters(
            mine["selected_top_layer"]["selected_top_layer"]
        )


@pytest.mark.shared
def test_the_originals_keys_are_met(original_run):
    results, expected, _ = original_run
    assert list(results) == list(expected)
    assert set(results["baseline"]) == set(expected["baseline"])
    assert set(results["baseline"]["test_scores"]) == set(expected["baseline"]["test_scores"])
    for part in ("independent_layerwise", "incremental_layerwise"):
        assert [entry["name"] for entry in results[part]] == [entry["name"] for entry in expected[part]]
    assert list(results["selection"]) == list(expected["selection"])
    for deltas, entry in expected["selection"].items():
        mine = results["selection"][deltas]
        assert set(mine["selected_top_layer"]) == set(entry["selected_top_layer"])
        for name, inner in entry["neuron_selection"].items():
            fixed = {key for key in inner if not key.startswith("selected-")}
            assert {key for key in mine["neuron_selection"][name] if not key.startswith("selected-")} == fixed


@pytest.mark.shared
def test_the_originals_scores_lie_within_the_spread_over_seeds(original_run):
    """Both start from other random numbers, so the original is one more draw: within 3 deviations of the mean."""
    _, expected, features = original_run
    family = layer_family(features.n_layers, features.hidden_size)
    runs = [fit_and_score(family, features, StudyConfig(probe=ProbeConfig(seed=seed)))[1] for seed in range(20)]
    theirs = [*expected["independent_layerwise"], *expected["incremental_layerwise"]]
    for split in ("train", "dev", "test"):
        scores = np.array([[overall(entry, split) for entry in run] for run in runs])
        original = np.array([entry[f"{split}_scores"][OVERALL] for entry in theirs])
        assert np.all(np.abs(original - scores.mean(0)) <= 3 * scores.std(0))
