"""Two models' runs on the same rows."""

import csv
import json

import numpy as np
import pytest
from helpers import small_study
from helpers.tiny_encoder import modified

from jaxred.config import ClusteringConfig, SourceConfig, StudyConfig, TaskConfig
from jaxred.errors import UserError
from jaxred.report import tables
from jaxred.runs import report, study
from jaxred.statistics.clustering import adjusted_rand_index, cluster_tree
from jaxred.studies.results import TwoModels

N_ROWS = 400
THRESHOLDS = (0.2, 0.5, 0.8)
SHAPES = {"bert": (3, 8), "tuned": (3, 8), "small": (2, 5)}


def activations(name):
    """Layer 1 of any model has neurons of layer 1 of bert; layer 0 of small is constant."""
    seed = list(SHAPES).index(name)
    x = np.random.default_rng(seed).normal(size=(N_ROWS, *SHAPES[name]))
    if name != "bert":
        x[:, 1] = -2 * activations("bert")[:, 1, : SHAPES[name][1]] + 0.2 * x[:, 1]
    if name == "small":
        x[:, 0] = 1
    return x.astype(np.float32)


def config_of(*folders):
    source = SourceConfig(models=tuple(map(str, folders)))
    clustering = ClusteringConfig(sweep_thresholds=THRESHOLDS, window_threshold=0.5)
    return StudyConfig(task=TaskConfig(name=""), source=source, clustering=clustering)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {name: small_study.finished_run(folder / name, activations(name), encoder=name) for name in SHAPES}


def compare(runs, one, other, folder):
    done = study.run_stages(config_of(runs[one], runs[other]), str(folder), False, ("redundancy",))
    return done, json.loads(done.result("models").read_text())


@pytest.fixture(scope="module")
def found(runs, tmp_path_factory):
    """Two models of one shape."""
    return compare(runs, "bert", "tuned", tmp_path_factory.mktemp("found"))


def training(name):
    return activations(name)[small_study.training_rows(N_ROWS)].astype(np.float64)


def cka(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def test_cka_is_between_the_layers_of_one_and_those_of_the_other(found):
    _, content = found
    one, other = training("bert"), training("tuned")
    expected = [[cka(one[:, a], other[:, b]) for b in range(3)] for a in range(3)]
    np.testing.assert_allclose(content["cka"], expected, rtol=0, atol=1e-5)
    assert content["most_alike"][1] == 1
    assert content["n_rows"] == len(one)
    assert 0 < content["halves_move_cka_by"] < 0.2
    assert np.array(content["cka_debiased"])[0, 0] < content["cka"][0][0]  # independent layers look alike by chance
    np.testing.assert_allclose(content["models"][1]["cka"][0][1], cka(other[:, 0], other[:, 1]), atol=1e-5)


def test_shared_clusters_have_neurons_of_both(found):
    _, content = found
    both = np.concatenate([training(name).reshape(-1, 24) for name in ("bert", "tuned")], axis=1)
    tree = cluster_tree(np.corrcoef(both.T).astype(np.float32))
    for entry in content["thresholds"]:
        labels = tree.cut(entry["threshold"])
        common = set(labels[:24]) & set(labels[24:])
        assert (entry["n_clusters"], entry["n_shared"]) == (labels.max(), len(common))
        shares = [np.mean([label in common for label in mine]) for mine in (labels[:24], labels[24:])]
        assert entry["shared_share_of_neurons"] == pytest.approx(shares)
    assert content["thresholds"][0]["n_shared"] == 8  # the neurons of layer 1, pair by pair


def test_models_of_one_shape_have_their_clusterings_compared(found):
    _, content = found
    trees = [
        cluster_tree(np.corrcoef(training(name).reshape(-1, 24).T).astype(np.float32)) for name in ("bert", "tuned")
    ]
    for entry in content["thresholds"]:
        one, other = (tree.cut(entry["threshold"]) for tree in trees)
        assert entry["agreement"] == pytest.approx(adjusted_rand_index(one, other))


def test_models_of_other_shapes_are_compared_as_well(runs, tmp_path):
    folder, content = compare(runs, "small", "bert", tmp_path)
    assert np.array(content["cka"]).shape == (2, 3)
    assert content["cka"][0] == [None] * 3
    assert content["most_alike"] == [None, 1]
    one, other = training("small"), training("bert")
    assert content["cka"][1][1] == pytest.approx(cka(one[:, 1], other[:, 1]), abs=1e-5)
    assert content["thresholds"][0]["n_shared"] == 5
    assert content["thresholds"][0]["shared_share_of_neurons"] == pytest.approx([5 / 10, 5 / 24])
    assert "agreement" not in content["thresholds"][0]
    text = tables.printed(folder.load(TwoModels))
    assert "(–: constant layer)" in text
    assert "neurons of small" in text
    report.write(folder)
    html = folder.report.read_text()
    assert "Two models on the same rows" in html
    assert html.count("data:image/png") == 2
    with open(folder.result("models").with_name("models_cka.csv")) as file:
        lines = list(csv.DictReader(file))
    assert (lines[0]["cka"], len(lines)) == ("", 6)
    assert float(lines[4]["cka"]) == content["cka"][1][1]


def test_what_is_there_is_kept_and_what_is_lost_is_made_again_from_the_moments(found, runs, monkeypatch):
    folder, content = found
    before = modified(folder.path)
    compare(runs, "bert", "tuned", folder.path)
    assert modified(folder.path) == before
    folder.result("models").unlink()
    monkeypatch.setattr(
        "jaxred.statistics.streaming.from_store", lambda *arguments: pytest.fail("the stores were read again")
    )
    assert compare(runs, "bert", "tuned", folder.path)[1] == content


def test_other_text_and_another_number_of_runs_are_refused(runs, tmp_path):
    other = small_study.finished_run(tmp_path / "other", activations("tuned"), source="another")
    with pytest.raises(UserError, match="are not of the same text"):
        compare({**runs, "other": other}, "bert", "other", tmp_path / "run")
    config = config_of(*runs.values())
    with pytest.raises(UserError, match="names 3 runs: name two"):
        study.run_stages(config, str(tmp_path / "three"), False, ("redundancy",))
