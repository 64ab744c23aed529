"""The cluster sweep against SciPy and NumPy."""

import json

import numpy as np
import pytest
from helpers import small_study
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from jaxred.data.split import DataSplit
from jaxred.original.all_results import cluster_sweep_results
from jaxred.probing.features import SPLITS
from jaxred.probing.metrics import OVERALL
from jaxred.studies.cluster_sweep import cluster_sweep
from jaxred.studies.results import ClusterSweepResult

THRESHOLDS = (-1.0, 0.0, 0.2, 0.9, 1.0)


@pytest.fixture(scope="module")
def features():
    return small_study.made_up_task()


def sweep(features, thresholds=THRESHOLDS, rule="random", distance="absolute"):
    config = small_study.study_config()
    config.clustering.sweep_thresholds = thresholds
    config.clustering.representative = rule
    config.clustering.distance = distance
    correlation = small_study.correlation_of(features)
    result, probes = cluster_sweep(features, correlation, config.probe, config.clustering)
    return result.to_json(), probes


@pytest.fixture(scope="module")
def found(features):
    return sweep(features)


def labels_of(features, threshold, distance="absolute"):
    r = np.corrcoef(np.asarray(features.matrices["train"], np.float64).T)
    apart = 1 - (np.abs(r) if distance == "absolute" else r)
    return fcluster(linkage(squareform(apart, checks=False), "average"), threshold, "distance")


def test_no_clustering_is_the_oracle_and_not_among_the_thresholds(found):
    content, probes = found
    assert [entry["threshold"] for entry in content["thresholds"]] == [0.0, 0.2, 0.9, 1.0]
    assert list(probes) == [
        "no-clustering", "clustering-0.00", "clustering-0.20", "clustering-0.90", "clustering-1.00",
    ]  # fmt: skip
    assert probes["no-clustering"].columns.tolist() == list(range(small_study.N_NEURONS))


def test_clusters_are_scipys_and_one_neuron_of_each_is_kept(features, found):
    for entry in found[0]["thresholds"]:
        labels = labels_of(features, entry["threshold"])
        np.testing.assert_array_equal(entry["clusters"], labels)
        assert labels[entry["neurons"]].tolist() == list(range(1, labels.max() + 1))
        assert entry["n_clusters"] == labels.max()
    counts = [entry["n_clusters"] for entry in found[0]["thresholds"]]
    assert counts[0] == small_study.N_NEURONS > counts[1] > counts[2] > counts[3] == 1


def test_probes_see_the_neurons_kept_and_score_what_is_said(features, found):
    content, probes = found
    entries = {"no-clustering": content["oracle"]}
    for entry in content["thresholds"]:
        name = f"clustering-{entry['threshold']:.2f}"
        assert sorted(probes[name].columns) == sorted(entry["neurons"])
        entries[name] = entry["scores"]
    for name, scores in entries.items():
        probe = probes[name]
        for split in SPLITS:
            outputs = np.asarray(features.matrices[split])[:, probe.columns] @ probe.weights + probe.bias
            assert scores[split][OVERALL] == pytest.approx(np.mean(outputs.argmax(1) == features.targets[split]))
        assert content["training"][name]["losses"].shape == (4,)


def test_medoids_of_signed_clusters_are_the_members_most_like_the_others(features):
    content, _ = sweep(features, (0.7,), "medoid", "signed")
    (entry,) = content["thresholds"]
    labels = labels_of(features, 0.7, "signed")
    np.testing.assert_array_equal(entry["clusters"], labels)
    r = np.abs(np.corrcoef(np.asarray(features.matrices["train"], np.float64).T))
    assert not np.array_equal(labels, labels_of(features, 0.7))
    for cluster, neuron in enumerate(entry["neurons"], 1):
        members = np.flatnonzero(labels == cluster)
        likeness = r[np.ix_(members, members)].mean(1)
        assert likeness[members == neuron] == pytest.approx(likeness.max(), rel=1e-6)


def test_highest_variance_keeps_the_members_that_vary_most_over_the_training_rows(features):
    content, _ = sweep(features, (0.7,), "highest_variance")
    (entry,) = content["thresholds"]
    variance = np.asarray(features.matrices["train"], np.float64).var(0)
    labels = labels_of(features, 0.7)
    for cluster, neuron in enumerate(entry["neurons"], 1):
        assert neuron in np.flatnonzero(labels == cluster)
        assert variance[neuron] == variance[labels == cluster].max()


def test_all_results_is_as_the_original_writes_it(found):
    content, _ = found
    results = json.loads(
        cluster_sweep_results(ClusterSweepResult.from_json(content), DataSplit([2, 0, 1], [2, 0], [1]))
    )
    assert list(results) == ["data_split", "baseline", "selection"]
    assert results["data_split"] == {"all_idx": [2, 0, 1], "train_idx": [2, 0], "dev_idx": [1]}
    assert results["baseline"]["name"] == "baseline"
    assert list(results["selection"]) == ["no-clustering", *(f"clustering-{t:.2f}" for t in THRESHOLDS[1:])]
    assert list(results["selection"]["no-clustering"]) == ["base_results"]
    for entry, inner in zip(content["thresholds"], list(results["selection"].values())[1:], strict=True):
        assert inner == {
            "clustering_threshold": entry["threshold"],
            "clusters": entry["clusters"].tolist(),
            "independent_neurons": entry["neurons"].tolist(),
            "base_results": {
                "name": "neuron-selection-base", **{f"{split}_scores": entry["scores"][split] for split in SPLITS}
            },
        }  # fmt: skip
    assert "data_split" not in json.loads(cluster_sweep_results(ClusterSweepResult.from_json(content), None))


def test_without_thresholds_there_is_the_oracle_alone(features):
    content, probes = sweep(features, ())
    assert content["thresholds"] == []
    assert list(probes) == ["no-clustering"]
    assert content["task"]["rows"] == small_study.N_ROWS
