import csv
import io

import numpy as np
import pytest

from jaxred.config import ClusteringConfig
from jaxred.io.tables import as_csv
from jaxred.report.csv_tables import curve_table, redundancy_tables, windows_table
from jaxred.statistics.clustering import adjusted_rand_index, cluster_tree
from jaxred.statistics.moments import Moments
from jaxred.statistics.streaming import Accumulator
from jaxred.studies.redundancy import general_redundancy
from jaxred.studies.results import GeneralRedundancy

N_LAYERS, HIDDEN = 3, 8
CONFIG = ClusteringConfig(sweep_thresholds=(-1.0, 0.1, 0.5, 0.9), window_threshold=0.5)


def halves(n_rows=600, seed=0):
    """Layer 2 repeats layer 1, neuron 3 is constant, neuron 12 large."""
    x = np.random.default_rng(seed).normal(size=(n_rows, N_LAYERS * HIDDEN))
    x[:, 16:] = x[:, 8:16] + 0.3 * x[:, 16:]
    x[:, 3], x[:, 12] = 2, 40 * x[:, 12]
    accumulator = Accumulator(x.mean(0), N_LAYERS, 2)
    accumulator.add(x[: n_rows // 2].astype(np.float32), 0)
    accumulator.add(x[n_rows // 2 :].astype(np.float32), 1)
    return x.astype(np.float32), accumulator.sums()


@pytest.fixture(scope="module")
def found():
    x, sums = halves()
    return x, sums, general_redundancy(sums, CONFIG).result.to_json()


def test_the_curve_is_that_of_all_rows(found):
    x, _, content = found
    correlation = np.nan_to_num(np.corrcoef(x.T.astype(np.float64)))
    np.fill_diagonal(correlation, 1)
    tree = cluster_tree(correlation)
    assert [entry["threshold"] for entry in content["thresholds"]] == [0.1, 0.5, 0.9]
    for entry in content["thresholds"]:
        labels = tree.cut(entry["threshold"])
        assert entry["n_clusters"] == labels.max()
        assert entry["redundant_share"] == pytest.approx(1 - labels.max() / 24)
    assert content["n_rows"] == 600
    assert sum(content["windows"]) == tree.cut(0.5).max()


def test_halves_give_the_spread_of_the_curve_and_their_agreement(found):
    _, sums, content = found
    trees = [cluster_tree(Moments.of(half).correlation()) for half in sums]
    for entry in content["thresholds"]:
        first, second = (tree.cut(entry["threshold"]) for tree in trees)
        assert entry["redundant_share_of_halves"] == [1 - first.max() / 24, 1 - second.max() / 24]
        assert entry["agreement_of_halves"] == pytest.approx(adjusted_rand_index(first, second))
    assert content["thresholds"][1]["agreement_of_halves"] > 0.9


def test_neurons_that_stand_out_are_named_by_layer_and_index(found):
    _, _, content = found
    assert content["constant_neurons"] == [(0, 3)]
    assert content["outlier_neurons"] == [(1, 4)]
    assert content["nearly_constant_neurons"] == []
    assert {tuple(neuron) for pair in content["twins"][:8] for neuron in pair["neurons"]} == {
        (layer, index) for layer in (1, 2) for index in range(8)
    }
    assert all(pair["r"] > 0.9 for pair in content["twins"][:8])


def test_outliers_are_said_to_move_cka(found):
    content = found[2]
    moved = np.nanmax(np.abs(content["cka"] - content["cka_without_outliers"]))
    assert content["outliers_move_cka_by"] == moved > 0.01
    np.testing.assert_allclose(np.diagonal(content["cka_debiased"]), 1, atol=1e-6)


def test_halves_too_small_say_nothing():
    _, sums = halves(600)
    _, (tiny, _) = halves(2)
    content = general_redundancy([sums[0], sums[0]], CONFIG).result.to_json()
    assert content["thresholds"][0]["agreement_of_halves"] == 1
    one_row = type(tiny)(sums[0].shift, tiny.rows, tiny.products)
    content = general_redundancy([sums[0], one_row], CONFIG).result.to_json()
    assert "agreement_of_halves" not in content["thresholds"][0]


def test_the_csv_has_a_line_a_threshold(found):
    lines = list(csv.DictReader(io.StringIO(as_csv(curve_table({"": GeneralRedundancy.from_json(found[2])})))))
    assert [float(line["threshold"]) for line in lines] == [0.1, 0.5, 0.9]
    assert float(lines[0]["redundant_share_first_half"]) == found[2]["thresholds"][0]["redundant_share_of_halves"][0]
    assert [int(line["n_clusters"]) for line in lines] == [entry["n_clusters"] for entry in found[2]["thresholds"]]
    assert "task" not in lines[0]


def test_windows_are_counted_at_every_threshold_and_at_their_own(found):
    content = found[2]
    other = {**content, "window_threshold": 0.2, "windows": np.array([5, 0, 1])}
    named = {"one": content, "other": other}
    lines = windows_table({name: GeneralRedundancy.from_json(mine) for name, mine in named.items()})
    assert lines[0] == ["task", "threshold", "window", "n_clusters"]
    counts = {(line[0], line[1]): [] for line in lines[1:]}
    for task, threshold, window, count in lines[1:]:
        counts[task, threshold].append(count)
        assert window == len(counts[task, threshold])
    assert [threshold for task, threshold in counts if task == "one"] == [0.1, 0.5, 0.9]
    assert [threshold for task, threshold in counts if task == "other"] == [0.1, 0.2, 0.5, 0.9]
    assert counts["other", 0.2] == [5, 0, 1]
    for entry in content["thresholds"]:
        assert counts["one", entry["threshold"]] == entry["windows"].tolist()
        assert entry["windows"].sum() == entry["n_clusters"]
        assert entry["windows"][1:].sum() == entry["n_across_layers"]


def test_the_csv_of_cka_has_a_line_a_pair_of_layers(found):
    content = found[2]
    lines = list(csv.DictReader(io.StringIO(as_csv(redundancy_tables(GeneralRedundancy.from_json(content))["_cka"]))))
    assert len(lines) == N_LAYERS**2
    for name in ("cka", "cka_debiased", "cka_without_outliers"):
        matrix = np.array([float(line[name]) for line in lines]).reshape(N_LAYERS, N_LAYERS)
        np.testing.assert_allclose(matrix, content[name], rtol=1e-15)
    assert [(line["layer"], line["other_layer"]) for line in lines[:4]] == [
        ("0", "0"),
        ("0", "1"),
        ("0", "2"),
        ("1", "0"),
    ]
