"""The original's own runs, from its own experiment files (the shared folder's golden/original_runs)."""

import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from helpers.shared import SHARED

from jaxred.activations.store import Store
from jaxred.config import ProbeConfig
from jaxred.original import experiment
from jaxred.probing.families import layer_family
from jaxred.probing.features import load_features
from jaxred.probing.metrics import OVERALL
from jaxred.runs import repeats, study
from jaxred.statistics.clustering import cluster_tree
from jaxred.statistics.moments import Moments
from jaxred.statistics.streaming import from_blocks
from jaxred.studies.cluster_sweep import cluster_sweep, together
from jaxred.studies.minimal_neurons import minimal_neurons
from jaxred.studies.minimal_neurons import together as minimal_neurons_together
from jaxred.studies.scoring import fit_and_score

REPEATS = 20


@pytest.fixture(scope="module", params=["sentences", "words"])
def originals(request, tmp_path_factory):
    """A folder with an experiment file of the original and its results, and the file's name."""
    archive = SHARED / "golden" / "original_runs" / "runs.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive.name} is not there: set JAXRED_SHARED")
    folder = tmp_path_factory.mktemp("runs")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder, request.param


def run(originals, stage):
    """What a stage finds for an experiment file, what the original found, the features and the configuration."""
    folder, name = originals
    named = experiment.load(folder / f"{name}.json")
    config = experiment.study_config(named)
    workdir = study.run_stages(config, str(folder / stage), True, (stage,))
    results = json.loads((named.output_directory / "all_results.json").read_text())
    expected = json.loads((folder / f"out_{name}_{stage}" / "all_results.json").read_text())
    stores = {split: Store(workdir.activations(split)) for split in named.splits}
    return results, expected, load_features(stores, config.task, config.probe), config


@pytest.fixture(scope="module")
def original_run(originals):
    return run(originals, "pipeline")[:3]


@pytest.fixture(scope="module")
def original_sweep(originals):
    return run(originals, "cluster_sweep")


@pytest.fixture(scope="module")
def original_search(originals):
    return run(originals, "minimal_neurons")


@pytest.mark.shared
def test_the_originals_split_is_met_exactly(original_run):
    results, expected, _ = original_run
    assert results.get("data_split") == expected.get("data_split")


@pytest.mark.shared
def test_the_originals_clusters_are_met_up_to_renaming(original_run):
    """Of the layers that the original selected, whatever layers this run's random numbers selected."""
    results, expected, features = original_run
    correlation = Moments.of(from_blocks([np.asarray(features.matrices["train"])])).correlation()

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
    runs = [fit_and_score(family, features, ProbeConfig(seed=seed))[1] for seed in range(20)]
    theirs = [*expected["independent_layerwise"], *expected["incremental_layerwise"]]
    for split in ("train", "dev", "test"):
        scores = np.array([[entry.overall(split) for entry in run] for run in runs])
        original = np.array([entry[f"{split}_scores"][OVERALL] for entry in theirs])
        assert np.all(np.abs(original - scores.mean(0)) <= 3 * scores.std(0))


# The cluster sweep


@pytest.mark.shared
def test_the_sweeps_split_keys_and_clusters_are_met(original_sweep):
    results, expected, _, _ = original_sweep
    assert results.get("data_split") == expected.get("data_split")
    assert list(results["selection"]) == list(expected["selection"])
    for name, theirs in expected["selection"].items():
        ours = results["selection"][name]
        assert list(ours) == list(theirs)
        assert ours["base_results"]["name"] == theirs["base_results"]["name"]
        if "clusters" in theirs:
            pairs = set(zip(ours["clusters"], theirs["clusters"], strict=True))
            assert len(pairs) == len(set(ours["clusters"])) == len(set(theirs["clusters"]))
            assert len(ours["independent_neurons"]) == len(theirs["independent_neurons"])


@pytest.mark.shared
def test_the_sweeps_scores_lie_within_the_spread_over_seeds(original_sweep):
    _, expected, features, config = original_sweep
    correlation = Moments.of(from_blocks([np.asarray(features.matrices["train"])])).correlation()
    configs = repeats.configs(replace(config, repeats=REPEATS))
    result = together([cluster_sweep(features, correlation, one.probe, one.clustering)[0] for one in configs])
    ours = [result.repeats.oracle, *result.repeats.thresholds]
    for spread, theirs in zip(ours, expected["selection"].values(), strict=True):
        for split in ("train", "dev", "test"):
            score = theirs["base_results"][f"{split}_scores"][OVERALL]
            assert abs(score - getattr(spread, split).mean) <= 3 * getattr(spread, split).sd


# Regression


@pytest.mark.shared
@pytest.mark.parametrize("metric", ["pearson", "spearman", "pearson_and_spearman"])
def test_the_originals_scores_are_learnt_by_every_metric(originals, metric):
    folder, name = originals
    if name == "words":
        pytest.skip("the original has scores of sentences alone")
    content = json.loads((folder / "sentences.json").read_text())
    changes = {"train_labels": "train.score", "test_labels": "test.score", "model_type": "regression"}
    changes |= {"metric": metric, "output_directory": f"out_{metric}", "performance_deltas": [[5, 2]]}
    (folder / f"{metric}.json").write_text(json.dumps({**content, **changes}))
    config = experiment.study_config(experiment.load(folder / f"{metric}.json"))
    study.run_stages(config, str(folder / metric), False, ("pipeline",))
    results = json.loads((folder / f"out_{metric}" / "all_results.json").read_text())
    assert results["baseline"]["test_scores"][OVERALL] > 0.5
    assert list(results["selection"]) == ["selection-5-2"]


# The minimal neurons


@pytest.mark.shared
def test_the_searchs_split_keys_and_sizes_are_met(original_search):
    results, expected, _, _ = original_search
    assert results.get("data_split") == expected.get("data_split")
    ours, theirs = results["selection"]["no-clustering"], expected["selection"]["no-clustering"]
    assert list(results["selection"]) == list(expected["selection"])

    def fixed(inner):
        return [key for key in inner if not key.startswith("selected-")]

    def sizes(inner):
        return [int(key.removeprefix("selected-")) for key in inner if key.startswith("selected-")]

    assert fixed(ours) == fixed(theirs)
    common = min(len(sizes(ours)), len(sizes(theirs)))
    assert sizes(ours)[:common] == sizes(theirs)[:common]  # each stops at the size that it accepts
    assert ours["base_results"]["name"] == theirs["base_results"]["name"]
    assert ours["minimal_neuron_set"] == ours["ordering"][: ours["minimal_neuron_set_size"]]


@pytest.mark.shared
def test_the_searchs_size_and_scores_lie_within_the_spread_over_seeds(original_search):
    _, expected, features, config = original_search
    theirs = expected["selection"]["no-clustering"]
    configs = repeats.configs(replace(config, repeats=REPEATS))
    result = minimal_neurons_together([minimal_neurons(features, one.probe, one.selection)[0] for one in configs])
    runs = result.repeats.n_minimal.runs
    assert min(runs) <= theirs["minimal_neuron_set_size"] <= max(runs)
    for split in ("train", "dev", "test"):
        spread = getattr(result.repeats.oracle, split)
        score = theirs["base_results"][f"{split}_scores"][OVERALL]
        assert abs(score - spread.mean) <= 3 * spread.sd
