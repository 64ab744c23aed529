"""Several tasks' runs put together, against each task alone and against all rows at once."""

import csv
import json

import numpy as np
import pytest
from helpers import small_study
from helpers.tiny_encoder import modified

from jaxred.config import ClusteringConfig, SourceConfig, StudyConfig, TaskConfig
from jaxred.errors import UserError
from jaxred.report import figures, tables
from jaxred.runs import report, study
from jaxred.statistics.clustering import adjusted_rand_index, cluster_tree, window_histogram
from jaxred.statistics.shared_clusters import same_clusters
from jaxred.studies.redundancy import Analysis
from jaxred.studies.results import GeneralRedundancy, SeveralTasks
from jaxred.studies.several_tasks import several_tasks

N_LAYERS, HIDDEN = 3, 8
N_ROWS = {"sst2": 300, "rte": 200, "mrpc": 250}
THRESHOLDS = (-1.0, 0.2, 0.5, 0.8)


def activations(name):
    """Layer 2 repeats layer 1, of the tasks differently well; the tasks' means differ."""
    seed = list(N_ROWS).index(name)
    x = np.random.default_rng(seed).normal(size=(N_ROWS[name], N_LAYERS, HIDDEN))
    x[:, 2] = x[:, 1] + (0.3 + 0.4 * seed) * x[:, 2]
    x += seed
    x[:, 0, 3] = 7
    return x.astype(np.float32)


def config_of(*folders, name="tasks", **clustering):
    settings = {"sweep_thresholds": THRESHOLDS, "window_threshold": 0.5, **clustering}
    source = SourceConfig(**{name: tuple(map(str, folders))})
    return StudyConfig(task=TaskConfig(name=""), source=source, clustering=ClusteringConfig(**settings))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [small_study.finished_run(folder / name, activations(name)) for name in N_ROWS]


@pytest.fixture(scope="module")
def found(runs, tmp_path_factory):
    """The results' folder, and the results."""
    folder = study.run_stages(config_of(*runs), str(tmp_path_factory.mktemp("both") / "run"), False, ("redundancy",))
    return folder, json.loads(folder.result("tasks").read_text())


def rows_of(name):
    return activations(name).reshape(N_ROWS[name], -1)[small_study.training_rows(N_ROWS[name])].astype(np.float64)


def tree_of(rows):
    correlation = np.corrcoef(np.delete(rows, 3, axis=1).T)
    correlation = np.insert(np.insert(correlation, 3, 0, axis=0), 3, 0, axis=1)  # the constant neuron
    np.fill_diagonal(correlation, 1)
    return cluster_tree(correlation.astype(np.float32))


def test_every_task_has_its_curve_in_the_order_given_and_windows_are_summed(found):
    _, content = found
    assert [task["name"] for task in content["tasks"]] == list(N_ROWS)
    windows = np.zeros(N_LAYERS, int)
    for task in content["tasks"]:
        rows = rows_of(task["name"])
        tree = tree_of(rows)
        assert task["n_rows"] == len(rows)
        assert [entry["n_clusters"] for entry in task["thresholds"]] == [tree.cut(t).max() for t in THRESHOLDS[1:]]
        windows += window_histogram(tree.cut(0.5), HIDDEN)
    assert content["windows"] == windows.tolist()
    for i, entry in enumerate(content["mean"]):
        shares = [task["thresholds"][i]["redundant_share"] for task in content["tasks"]]
        assert entry["redundant_share"]["runs"] == shares
        assert entry["redundant_share"]["mean"] == pytest.approx(np.mean(shares))


def test_pooled_is_what_all_rows_at_once_give(found):
    pooled = found[1]["pooled"]
    rows = np.concatenate([rows_of(name) for name in N_ROWS])
    tree = tree_of(rows)
    assert pooled["n_rows"] == len(rows)
    assert [entry["n_clusters"] for entry in pooled["thresholds"]] == [tree.cut(t).max() for t in THRESHOLDS[1:]]
    centred = [layer - layer.mean(0) for layer in np.split(rows, N_LAYERS, axis=1)]
    for a in range(N_LAYERS):
        for b in range(N_LAYERS):
            norms = [np.linalg.norm(x.T @ x) for x in (centred[a], centred[b])]
            expected = np.linalg.norm(centred[a].T @ centred[b]) ** 2 / np.prod(norms)
            assert pooled["cka"][a][b] == pytest.approx(expected, abs=1e-5)


def test_pairs_of_tasks_are_compared_at_every_threshold(found):
    _, content = found
    assert [pair["tasks"] for pair in content["pairs"]] == [["sst2", "rte"], ["sst2", "mrpc"], ["rte", "mrpc"]]
    cka = {task["name"]: np.array(task["cka"]) for task in content["tasks"]}
    for pair in content["pairs"]:
        trees = [tree_of(rows_of(name)) for name in pair["tasks"]]
        for entry, threshold in zip(pair["thresholds"], THRESHOLDS[1:], strict=True):
            one, other = (tree.cut(threshold) for tree in trees)
            assert entry["agreement"] == pytest.approx(adjusted_rand_index(one, other))
            assert {key: entry[key] for key in entry if "same" in key or "several" in key} == pytest.approx(
                same_clusters(one, other)._asdict()
            )
        moved = np.abs(cka[pair["tasks"][0]] - cka[pair["tasks"][1]])
        assert pair["cka_differs_by"] == pytest.approx(moved.max())
    assert content["pairs"][1]["thresholds"][0] != content["pairs"][2]["thresholds"][0]


def test_tables_figures_and_report_show_them(found):
    folder, content = found
    text = tables.printed(folder.load(SeveralTasks))
    assert "| threshold | " in text
    assert "all rows pooled" in text
    assert "Rows: sst2 240, rte 160, mrpc 200" in text
    assert f"| 1      | {content['tasks'][0]['windows'][0]:>4} |" in text
    with open(folder.result("tasks").with_suffix(".csv")) as file:
        lines = list(csv.DictReader(file))
    assert {line["task"] for line in lines} == {*N_ROWS, "all rows pooled"}
    assert len(lines) == 4 * 3
    with open(folder.result("tasks").with_name("tasks_pairs.csv")) as file:
        pairs = list(csv.DictReader(file))
    assert float(pairs[0]["agreement"]) == content["pairs"][0]["thresholds"][0]["agreement"]
    report.write(folder)
    html = folder.report.read_text()
    assert "Several tasks together" in html
    assert html.count("data:image/png") == 3
    assert {path.stem for path in folder.figures.iterdir()} == {"tasks_curves", "tasks_windows", "tasks_agreement"}
    many = {**content, "tasks": content["tasks"] * 4, "pairs": content["pairs"] * 4}
    figures.draw(
        folder.figures, {"tasks": SeveralTasks.from_json(many)}
    )  # more than there are colours that are told apart


def test_a_second_run_keeps_everything_and_other_clusterings_are_another_configuration(found, runs):
    folder, _ = found
    before = modified(folder.path)
    study.run_stages(config_of(*runs), str(folder.path), False, ("redundancy",))
    assert modified(folder.path) == before
    with pytest.raises(UserError, match=r"clustering\.linkage was 'average' and is now 'single'"):
        study.run_stages(config_of(*runs, linkage="single"), str(folder.path), False, ("redundancy",))


def test_a_lost_table_is_made_again(found, runs):
    folder, content = found
    for name in ("tasks.csv", "tasks_windows.csv", "tasks_pairs.csv"):
        table = folder.result("tasks").with_name(name)
        before = table.read_text()
        table.unlink()
        study.run_stages(config_of(*runs), str(folder.path), False, ("redundancy",))
        assert table.read_text() == before
    assert json.loads(folder.result("tasks").read_text()) == content


def test_rows_of_other_encoders_are_not_pooled(runs, tmp_path):
    tuned = small_study.finished_run(tmp_path / "tuned", activations("rte"), encoder="b")
    folder = study.run_stages(config_of(runs[0], tuned), str(tmp_path / "run"), False, ("redundancy",))
    content = json.loads(folder.result("tasks").read_text())
    assert content["pooled"] is None
    assert content["why_not_pooled"] == "sst2 and tuned are of another encoder"
    assert content["windows"]
    text = tables.printed(folder.load(SeveralTasks))
    assert "Rows are not pooled: sst2 and tuned are of another encoder." in text
    report.write(folder)


def test_a_sweep_stands_for_its_runs(tmp_path):
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "sweep.json").write_text(json.dumps({"base": {}, "axes": {}, "runs": ["a", "b"]}))
    for run, name in (("a", "rte"), ("b", "sst2")):
        small_study.finished_run(sweep / run, activations(name), name)
    folder = study.run_stages(config_of(sweep), str(tmp_path / "run"), False, ("redundancy",))
    content = json.loads(folder.result("tasks").read_text())
    assert [(task["name"], task["n_rows"]) for task in content["tasks"]] == [("a", 160), ("b", 240)]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (["sst2"], r"must name at least two workdirs .*--config=configs/tasks.py:runs/one,runs/other"),
        (["sst2", "nowhere"], "nowhere is not the folder of a run"),
        (["sst2", "./sst2"], "more than once"),
        (["sst2", "narrow"], "3 layers x 4 neurons and .*sst2 of 3 x 8.*configs/models.py"),
        (["sst2", "empty"], "empty holds no activations"),
        (["sst2", "together"], "puts other runs together"),
    ],
)
def test_runs_that_cannot_be_put_together_are_refused(named, said, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs[0].parent)
    small_study.finished_run(tmp_path / "narrow", activations("rte")[:, :, :4])
    for name, config in (("empty", StudyConfig()), ("together", config_of("a", "b"))):
        small_study.Workdir.claim(tmp_path / name, config)
    folders = [name if "sst2" in name else tmp_path / name for name in named]
    with pytest.raises(UserError, match=said):
        study.run_stages(config_of(*folders), str(tmp_path / "run"), False, ("redundancy",))
    assert not (tmp_path / "run" / "results").exists()


@pytest.mark.parametrize("name", ["tasks", "models"])
def test_other_launchers_refuse_them(name, tmp_path):
    with pytest.raises(UserError, match=f"config.source.{name} puts other runs together"):
        study.run_stages(config_of("a", "b", name=name), str(tmp_path), False, ("pipeline",))


def test_layers_that_are_constant_say_nothing_of_cka():
    cka = np.full((2, 2), np.nan)
    named = {key: [] for key in ("twins", "constant_neurons", "nearly_constant_neurons", "outlier_neurons")}
    result = GeneralRedundancy(
        n_rows=9, n_layers=2, hidden_size=1, cka=cka, cka_debiased=cka, cka_without_outliers=cka,
        outliers_move_cka_by=0.0, thresholds=[], window_threshold=0.5, windows=np.array([2, 0]), **named,
    )  # fmt: skip
    analysis = Analysis(result, {0.5: np.array([1, 2])})
    (pair,) = several_tasks({"a": analysis, "b": analysis}, ClusteringConfig(sweep_thresholds=())).pairs
    assert pair.cka_differs_by is None
