"""Sweeps: their runs and names, what the runs share, and what is left when something goes wrong."""

import csv
import json
import re
from dataclasses import replace

import pytest
from helpers import tiny_encoder
from helpers.tiny_encoder import contents, modified
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred import models
from jaxred.config import StudyConfig, TaskConfig
from jaxred.errors import UserError
from jaxred.runs import study
from jaxred.runs.workdir import Workdir
from jaxred.sweeps import grid, runner
from jaxred.sweeps.grid import Sweep


def names(**axes):
    return [run.name for run in grid.runs(Sweep(axes={name.replace("__", "."): v for name, v in axes.items()}))]


def test_runs_are_the_product_and_the_last_axis_is_fastest():
    base = Sweep(task=TaskConfig(limit_instances=50), axes={"probe.l1": (0, 1e-5), "probe.seed": (42, 43)})
    runs = grid.runs(base)
    assert [run.name for run in runs] == ["l1=0-seed=42", "l1=0-seed=43", "l1=1e-05-seed=42", "l1=1e-05-seed=43"]
    assert [(run.config.probe.l1, run.config.probe.seed) for run in runs] == [(0, 42), (0, 43), (1e-5, 42), (1e-5, 43)]
    assert all(type(run.config) is StudyConfig and run.config.task.limit_instances == 50 for run in runs)
    assert isinstance(runs[0].config.probe.l1, float)
    assert base.probe.l1 == 1e-5
    assert runs[2].values == {"probe.l1": 1e-5, "probe.seed": 43 - 1}


def test_fields_that_belong_together_are_one_axis_with_labels():
    task = {
        "sst2": {"task.name": "sst2"},
        "stsb": {"task.name": "stsb", "task.kind": "regression", "task.metric": "pearson"},
    }
    runs = grid.runs(Sweep(axes={"task": task, "probe.l1": (1e-5,)}))
    assert [run.name for run in runs] == ["sst2-l1=1e-05", "stsb-l1=1e-05"]
    assert [(r.config.task.name, r.config.task.metric) for r in runs] == [("sst2", "accuracy"), ("stsb", "pearson")]


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ({"probe__seed": (1,), "clustering__seed": (2,)}, ["probe.seed=1-clustering.seed=2"]),
        ({"clustering__thresholds": ((-1, 0.3), (0.5,))}, ["thresholds=-1+0.3", "thresholds=0.5"]),
        ({"selection__deltas": (((3, 1), (2, 1)),)}, ["deltas=3_1+2_1"]),
        ({"encoder__n_layers": (-1, 2)}, ["n_layers=-1", "n_layers=2"]),
        ({"probe__standardize": (True, False)}, ["standardize=True", "standardize=False"]),
    ],
)
def test_names_are_read_at_a_glance(axes, expected):
    assert names(**axes) == expected


def test_what_no_file_system_takes_is_replaced_and_told_apart():
    found = names(encoder__path=("/a/b c", "/a/b_c", "..", "", "x" * 300, "é"))
    assert len(set(found)) == 6
    assert found[0].startswith("path=a_b_c~")
    labels = names(model={"../up": {"encoder.path": "a"}, "-rf": {"encoder.path": "b"}, "ok-1": {"encoder.path": "c"}})
    assert labels[2] == "ok-1"
    assert all(re.fullmatch(r"[A-Za-z0-9][\w.~=+-]*", name, re.ASCII) and len(name) < 200 for name in found + labels)


VALUES = {
    "probe.l1": st.floats(0, 1, allow_nan=False),
    "probe.epochs": st.integers(1, 10**6),
    "encoder.path": st.text(max_size=80),
    "clustering.thresholds": st.lists(st.floats(0, 1), max_size=3).map(tuple),
}


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({name: st.lists(v, min_size=1, max_size=4, unique=True) for name, v in VALUES.items()}))
def test_names_are_unique_safe_and_do_not_depend_on_the_other_values(axes):
    folded = [path.casefold() for path in axes["encoder.path"]]
    try:
        runs = grid.runs(Sweep(axes=axes))
    except UserError:  # where a file system would take two for one
        assert len(set(folded)) < len(folded)
        return
    assert len({run.name.casefold() for run in runs}) == len(runs)
    for run in runs:
        assert re.fullmatch(r"[A-Za-z0-9][\w.~=+-]*", run.name, re.ASCII)
        assert len(run.name) <= 200
    last = runs[-1]
    (alone,) = grid.runs(Sweep(axes={name: (value,) for name, value in last.values.items()}))
    assert (alone.name, alone.config) == (last.name, last.config)


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (
            {"task.nmae": ("sst2",)},
            ["'task.nmae' is not a field", "allowed are task.name, task.kind", "mean task.name"],
        ),
        ({"l1": (0.1,)}, ["'l1' is not a field", "task.name", "probe.l1"]),
        ({"probe": (0.1,)}, ["'probe' is not a field", "probe.l1"]),
        ({"task": {"a": {"task.nmae": "a"}}}, ["Sweep axis 'task', 'a'", "'task.nmae' is not a field"]),
        ({"probe.l1": ("1e-5",)}, ["probe.l1 must be of type float, not '1e-5'"]),
        ({"probe.epochs": (1.5,)}, ["probe.epochs must be of type int, not 1.5"]),
        ({"probe.seed": (True,)}, ["probe.seed must be of type int, not True"]),
        ({"clustering.thresholds": (-1, 0.3)}, ["clustering.thresholds is a tuple", "such as (-1,)"]),
        ({"probe.l1": 0.1}, ["0.1: it must be a tuple of values"]),
        ({"probe.l1": ()}, ["'probe.l1' has no values"]),
        ({"probe.l1": (0, 0.0)}, ["'probe.l1' has the value 0.0 more than once"]),
        ({"task": {"a": "sst2"}}, ["must be a dict of fields to values, not 'sst2'"]),
        ({"task": {1: {}}}, ["label 1"]),
        ({}, ["The sweep has no axes"]),
        ({"probe.l1": (0.1,), "x": {"a": {"probe.l1": 0.2}}}, ["both set probe.l1"]),
        ({"x": {"activations": {}}}, ["'activations' is taken"]),
        ({"x": {"a": {}, "A": {}}}, ["'a' is taken"]),
        ({"x": {"a": {}, "a-b": {}}, "y": {"b-c": {}, "c": {}}}, ["'a-b-c' is taken"]),
    ],
)
def test_an_impossible_sweep_is_told_in_a_sentence(axes, words):
    with pytest.raises(UserError) as caught:
        grid.runs(Sweep(axes=axes))
    for word in words:
        assert word in str(caught.value)


def test_a_flag_cannot_set_what_an_axis_sets():
    with pytest.raises(UserError, match=r"`config\.probe\.l1` cannot be given: the sweep's axis 'probe\.l1' sets"):
        grid.runs(Sweep(axes={"probe.l1": (0.1,)}), ["task.name", "probe.l1"])


@pytest.fixture(scope="module")
def base(encoder_folder, tmp_path_factory):
    """A sweep without axes: 60 sentences under the tiny encoder."""
    folder = tmp_path_factory.mktemp("task")
    texts = tiny_encoder.sentences(60)
    tiny_encoder.write_task(folder, {"train": texts[:40], "test": texts[40:]})
    config = tiny_encoder.study_config(encoder_folder, folder)
    probe = replace(config.probe, epochs=1)
    selection = replace(config.selection, deltas=((1.0, 1.0),))
    clustering = replace(config.clustering, thresholds=(-1.0,))
    return Sweep(config.task, config.encoder, config.extraction, probe, clustering, selection)


@pytest.fixture
def encoders_loaded(monkeypatch):
    calls = []
    load = models.load_encoder
    monkeypatch.setattr(models, "load_encoder", lambda *a: calls.append(a) or load(*a))
    return calls


def pipeline(config, workdir, overwrite):
    print("a run's own table")
    return study.run_stages(config, workdir, overwrite, ("pipeline",))


def redundancy(config, workdir, overwrite):
    return study.run_stages(config, workdir, overwrite, ("redundancy",))


def extraction(config, workdir, overwrite):
    return study.run_stages(config, workdir, overwrite, ())


def rows(folder):
    with open(folder / "sweep.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_runs_share_activations_and_moments_and_end_in_one_table(base, tmp_path, encoders_loaded, capsys):
    axes = {"probe.l1": (1e-3,), "clustering.seed": (1, 2)}
    runner.run(pipeline, replace(base, axes=axes), str(tmp_path))
    assert len(encoders_loaded) == 1
    assert len(list((tmp_path / "activations").iterdir())) == len(list((tmp_path / "moments").iterdir())) == 1
    assert not list(tmp_path.glob("*/activations/train"))[1:]
    table = rows(tmp_path)
    assert [row["run"] for row in table] == ["l1=0.001-seed=1", "l1=0.001-seed=2"]
    assert list(table[0])[:5] == ["run", "probe.l1", "clustering.seed", "metric", "oracle_dev"]
    for row in table:
        saved = json.loads((tmp_path / row["run"] / "results" / "pipeline.json").read_text())
        assert float(row["oracle_test"]) == saved["oracle"]["test"]["__OVERALL__"]
        (chosen,) = saved["selection"]
        assert int(row["minimal_neurons"]) == chosen["n_minimal"]
        assert float(row["share"]) == pytest.approx(chosen["n_minimal"] / 36)
        assert float(row["minimal_dev"]) == chosen["minimal_scores"]["dev"]["__OVERALL__"]
    printed = capsys.readouterr().out
    assert (tmp_path / "sweep.md").read_text() in printed
    assert "a run's own table" not in printed
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert "redundant" not in printed

    before = modified(tmp_path)
    runner.run(pipeline, replace(base, axes=axes), str(tmp_path))
    assert modified(tmp_path) == before
    assert capsys.readouterr().out == printed

    runner.run(pipeline, replace(base, axes={**axes, "clustering.seed": (2,)}), str(tmp_path))  # axes may change
    assert [row["clustering.seed"] for row in rows(tmp_path)] == ["2"]
    assert len(encoders_loaded) == 1
    runs = {name: at for name, at in before.items() if name.startswith("l1=")}
    assert {name: at for name, at in modified(tmp_path).items() if name.startswith("l1=")} == runs


def test_a_run_of_a_sweep_has_the_results_of_a_run_of_its_own(base, tmp_path):
    runner.run(redundancy, replace(base, axes={"probe.l1": (1e-3,)}), str(tmp_path / "sweep"))
    (run,) = grid.runs(replace(base, axes={"probe.l1": (1e-3,)}))
    redundancy(run.config, str(tmp_path / "alone"), False)
    found = [
        json.loads((f / "results" / "redundancy.json").read_text())
        for f in (tmp_path / "sweep" / "l1=0.001", tmp_path / "alone")
    ]
    assert found[0] == found[1]


def test_what_decides_activations_is_not_shared(base, tmp_path, encoders_loaded):
    axes = {"extraction.pooling": ("cls", "mean"), "task.dev_fraction": (0.1, 0.2)}
    runner.run(extraction, replace(base, axes=axes), str(tmp_path))
    assert len(encoders_loaded) == len(list((tmp_path / "activations").iterdir())) == 2
    moments = {Workdir.claim(tmp_path / r.name, r.config).moments for r in grid.runs(replace(base, axes=axes))}
    assert len(moments) == 4
    sample = replace(base, task=replace(base.task, limit_instances=20), axes={"task.split_seed": (1, 2)})
    runner.run(extraction, sample, str(tmp_path / "sampled"))
    assert len(list((tmp_path / "sampled" / "activations").iterdir())) == 2


def test_a_run_alone_finds_the_activations_and_with_other_settings_harms_none(base, tmp_path, encoders_loaded):
    runner.run(extraction, replace(base, axes={"probe.l1": (0.0, 1e-3)}), str(tmp_path))
    before = contents(tmp_path / "activations")
    (run, _) = grid.runs(replace(base, axes={"probe.l1": (0.0, 1e-3)}))
    extraction(run.config, str(tmp_path / run.name), False)
    assert len(encoders_loaded) == 1
    other = replace(run.config, extraction=replace(run.config.extraction, pooling="mean"))
    extraction(other, str(tmp_path / run.name), True)
    assert len(encoders_loaded) == 2
    now = contents(tmp_path / "activations")
    assert {name: now[name] for name in before} == before


def test_a_killed_sweep_goes_on_where_it_stopped(base, tmp_path, encoders_loaded):
    swept = replace(base, axes={"probe.seed": (1, 2, 3)})
    done = []

    def dies(config, workdir, overwrite):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(config.probe.seed)
        return redundancy(config, workdir, overwrite)

    with pytest.raises(KeyboardInterrupt):
        runner.run(dies, swept, str(tmp_path))
    assert [bool(row["redundant_share"]) for row in rows(tmp_path)] == [True, True, False]
    finished = [f"seed={seed}" for seed in done]
    before = {name: modified(tmp_path / name) for name in finished}
    runner.run(redundancy, swept, str(tmp_path))
    assert {name: modified(tmp_path / name) for name in finished} == before
    assert len(encoders_loaded) == 1
    assert all(row["redundant_share"] for row in rows(tmp_path))


def test_a_run_that_fails_is_named_and_the_others_run(base, tmp_path, capsys):
    good = {"task.data_dir": base.task.data_dir}
    swept = replace(base, axes={"task": {"none": {"task.data_dir": "nowhere"}, "good": good}, "probe.seed": (1, 2)})
    with pytest.raises(UserError, match="2 of 4 runs failed; the others are done") as caught:
        runner.run(redundancy, swept, str(tmp_path))
    assert "none-seed=1: config.task.data_dir='nowhere' does not exist" in str(caught.value)
    assert "good" not in str(caught.value)
    table = rows(tmp_path)
    assert [bool(row["redundant_share"]) for row in table] == [False, False, True, True]
    assert ["nowhere" in row["error"] for row in table] == [True, True, False, False]
    assert "Failed: none-seed=2: " in (tmp_path / "sweep.md").read_text()
    assert "good" in capsys.readouterr().out

    mended = replace(base, axes={"task": {"none": good, "good": good}, "probe.seed": (1, 2)})
    runner.run(redundancy, mended, str(tmp_path))
    assert all(row["redundant_share"] for row in rows(tmp_path))
    assert "error" not in rows(tmp_path)[0]


def test_another_base_is_refused_once_work_is_there(base, tmp_path):
    swept = replace(base, axes={"probe.l1": (0.0, 1e-3)})
    wrong = replace(swept, task=replace(base.task, data_dir="nowhere"))
    with pytest.raises(UserError, match="2 of 2 runs failed"):
        runner.run(extraction, wrong, str(tmp_path))
    runner.run(redundancy, swept, str(tmp_path))  # the wrong one has left nothing
    before = contents(tmp_path)
    other = replace(swept, probe=replace(base.probe, epochs=2))
    with pytest.raises(UserError, match=r"another base configuration: probe\.epochs was 1 and is now 2"):
        runner.run(redundancy, other, str(tmp_path))
    assert contents(tmp_path) == before
    runner.run(redundancy, other, str(tmp_path), overwrite=True)
    after = contents(tmp_path)
    assert {k: v for k, v in after.items() if k.startswith("activations")} == {
        k: v for k, v in before.items() if k.startswith("activations")
    }
    assert after != before


def test_a_sweep_that_an_older_version_saved_is_known(base, tmp_path):
    swept = replace(base, axes={"probe.l1": (0.0,)})
    runner.run(redundancy, swept, str(tmp_path))
    file = tmp_path / "sweep.json"
    old = json.loads(file.read_text())
    del old["digest"], old["base"]["source"]
    file.write_text(json.dumps(old))
    before = modified(tmp_path)
    runner.run(redundancy, swept, str(tmp_path))
    assert modified(tmp_path) == before
    old["base"]["newer"] = 1
    file.write_text(json.dumps(old))
    with pytest.raises(UserError, match=r"sweep.json: config.newer is not known: .* Delete it"):
        runner.run(redundancy, swept, str(tmp_path))


def test_the_table_has_no_results_of_another_configuration(base, tmp_path):
    """One stage is run, then another with --overwrite: what the first has found is not of the second's base."""
    swept = replace(base, axes={"clustering.seed": (1,)})
    runner.run(pipeline, swept, str(tmp_path))
    assert rows(tmp_path)[0]["minimal_neurons"]
    runner.run(redundancy, replace(swept, probe=replace(base.probe, epochs=2)), str(tmp_path), overwrite=True)
    (row,) = rows(tmp_path)
    assert row["redundant_share"]
    assert "minimal_neurons" not in row
    assert "oracle_dev" not in row


def test_folders_of_runs_and_of_sweeps_are_told_apart(base, tmp_path):
    swept = replace(base, axes={"probe.l1": (0.0,)})
    (run,) = grid.runs(swept)
    extraction(run.config, str(tmp_path / "run"), False)
    with pytest.raises(UserError, match="holds a single run"):
        runner.run(extraction, swept, str(tmp_path / "run"))
    runner.run(extraction, swept, str(tmp_path / "sweep"))
    with pytest.raises(UserError, match="holds a sweep: choose another `workdir`"):
        extraction(run.config, str(tmp_path / "sweep"), False)
    with pytest.raises(UserError, match="Pass `workdir=FOLDER`"):
        runner.run(extraction, swept, "")
    (tmp_path / "file").write_text("text")
    with pytest.raises(UserError, match="is a file"):
        runner.run(extraction, swept, str(tmp_path / "file"))
    (tmp_path / "sweep" / "sweep.json").write_text("{")
    with pytest.raises(UserError, match=r"Cannot read .*sweep\.json"):
        runner.run(extraction, swept, str(tmp_path / "sweep"))


def test_the_table_has_the_columns_of_the_stages_that_ran(base, tmp_path):
    swept = replace(base, axes={"clustering.distance": ("absolute", "signed")})

    runner.run(redundancy, swept, str(tmp_path))
    header = ["run", "clustering.distance", "metric", "clusters", "redundant_share"]
    assert list(rows(tmp_path)[0]) == header

    def cluster_sweep(config, workdir, overwrite):
        study.run_stages(config, workdir, overwrite, ("cluster_sweep",))

    runner.run(cluster_sweep, swept, str(tmp_path))
    assert {"oracle_dev", "clustered_test", "redundant_share"} <= set(rows(tmp_path)[0])
    (tmp_path / "distance=signed" / "results" / "redundancy.json").write_text("{")
    runner.run(cluster_sweep, swept, str(tmp_path))
    assert [bool(row["redundant_share"]) for row in rows(tmp_path)] == [True, False]
