"""When the results of a study need not be made again."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from helpers import made_up_results, made_up_scores

from jaxred.activations.store import Store
from jaxred.config import ClusteringConfig, ProbeConfig, SelectionConfig, StudyConfig
from jaxred.io import digests
from jaxred.probing.features import Features
from jaxred.runs import stages
from jaxred.runs.workdir import Workdir
from jaxred.studies.results import ClusterSweepResult

CONFIG = StudyConfig()
FEATURES = Features({}, {}, (), 1, 1, None)


class Study:
    """A study of a stage, that counts how often it is worked on."""

    def __init__(self, folder):
        self.workdir, self.n_done = Workdir(folder), 0

    def once(self, config, load, progress):
        self.n_done += 1
        content = {"n_layers": self.n_done, "oracle": made_up_scores.scores(0.8)}
        return stages.Ran(made_up_results.result("cluster_sweep", content), {}, FEATURES)

    def run(self, config=CONFIG, encoder="tiny", splits=("train", "test")):
        store = Store.__new__(Store)  # without files
        store.ledger = SimpleNamespace(identity={"encoder": encoder}, notes={"tokens": 7})
        stores = dict.fromkeys(splits, store)
        sections, first = ("task", "probe"), lambda runs: runs[0]
        result = stages._kept_or_run(ClusterSweepResult, sections, stores, config, self.workdir, self.once, first)
        return result.n_layers


def write_probes(folder, probes, scaling):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_text("0.25 0.125")


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "save_probes", write_probes)
    monkeypatch.setattr(stages, "split_of", lambda stores, task: None)
    monkeypatch.setattr(stages, "run_each", lambda stores, config, scratch, work: [work(config, None)])
    monkeypatch.setitem(stages.ORIGINALS, "cluster_sweep", ("original", lambda content, split: str(content.n_layers)))
    return Study(tmp_path)


def test_results_are_kept_and_say_what_they_are_of(study):
    assert study.run() == study.run() == study.n_done == 1
    result = study.workdir.load(ClusterSweepResult)
    assert result.extraction == {"train": {"tokens": 7}, "test": {"tokens": 7}}
    assert study.workdir.result("original").read_text() == "1"
    assert study.workdir.probes("cluster_sweep").is_dir()


@pytest.mark.parametrize(
    ("changes", "n_done"),
    [
        ({"encoder": "large"}, 2),
        ({"splits": ("train", "dev", "test")}, 2),
        ({"config": replace(CONFIG, probe=ProbeConfig(l1=0.5))}, 2),
        ({"config": replace(CONFIG, repeats=2)}, 2),
        (
            {
                "config": replace(
                    CONFIG, clustering=ClusteringConfig(seed=5), selection=SelectionConfig(fractions=(1.0,))
                )
            },
            1,
        ),
    ],
)
def test_what_decides_them_makes_them_again_and_nothing_else_does(study, changes, n_done):
    study.run()
    assert study.run(**changes) == study.n_done == n_done


@pytest.mark.parametrize("damage", [b"2", b"", None])
def test_the_file_in_the_originals_format_is_made_again_from_the_results(study, damage, caplog):
    study.run()
    file = study.workdir.result("original")
    file.unlink() if damage is None else file.write_bytes(damage)
    assert study.run() == 1
    assert file.read_text() == "1"
    assert f"{file} " in caplog.text
    assert "made again from" in caplog.text


def test_results_of_an_older_version_are_made_again(study):
    study.run()
    file = study.workdir.result("cluster_sweep")
    old = {name: value for name, value in json.loads(file.read_text()).items() if name != "digest"}
    file.write_text(json.dumps({**old, "format": 1}))
    assert study.run() == 2


@pytest.mark.parametrize(
    "damaged", ["results/cluster_sweep.json", "probes/cluster_sweep/weights", "digests/cluster_sweep.json"]
)
@pytest.mark.parametrize("how", ["removed", "cut", "flipped"])
def test_what_is_damaged_is_named_and_made_again(study, damaged, how, caplog):
    study.run()
    file = study.workdir.path / damaged
    before = file.read_bytes()
    if how == "removed":
        file.unlink()
    else:
        file.write_bytes(before[:-3] if how == "cut" else before[:-9] + bytes([before[-9] ^ 1]) + before[-8:])
    assert study.run() == 2
    assert (damaged.startswith("results") and how == "removed") or f"{file} " in caplog.text
    assert study.run() == 2


@pytest.mark.parametrize(
    ("module", "step", "n_done"),
    [(stages, "save_probes", 3), (stages, "save_result", 3), (digests, "save_result", 3), (stages, "write_text", 2)],
)
def test_what_was_killed_half_way_is_never_taken_for_whole(study, monkeypatch, module, step, n_done):
    """Also where a study of other settings had left all its files."""
    other = replace(CONFIG, probe=ProbeConfig(l1=0.5))
    study.run()

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, step, killed)
        with pytest.raises(KeyboardInterrupt):
            study.run(other)
    assert study.run(other) == n_done
    assert study.workdir.result("original").read_text() == str(n_done)
