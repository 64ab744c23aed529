"""When the results of a study need not be made again."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from jaxred.activations.store import Store
from jaxred.config import ClusteringConfig, ProbeConfig, SelectionConfig, StudyConfig
from jaxred.io.result_files import load_result
from jaxred.runs import kept
from jaxred.runs.workdir import Workdir

CONFIG = StudyConfig()


class Study:
    """A study of a stage, that counts how often it is worked on."""

    def __init__(self, folder):
        self.workdir, self.n_done = Workdir(folder), 0

    def work(self):
        self.n_done += 1
        return {"found": self.n_done}, {}, SimpleNamespace(scaling=None, data_split=None)

    def run(self, config=CONFIG, encoder="tiny", splits=("train", "test")):
        store = Store.__new__(Store)  # without files
        store.ledger = SimpleNamespace(identity={"encoder": encoder}, notes={"tokens": 7})
        stores = dict.fromkeys(splits, store)
        return kept.kept_or_run("cluster_sweep", ("task", "probe"), stores, config, self.workdir, self.work)


def write_probes(folder, probes, scaling):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_text("0.25 0.125")


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "save_probes", write_probes)
    monkeypatch.setattr(kept, "split_of", lambda stores, config: None)
    monkeypatch.setitem(kept.ORIGINALS, "cluster_sweep", ("original", lambda content, split: str(content["found"])))
    return Study(tmp_path)


def test_results_are_kept_and_say_what_they_are_of(study):
    first = study.run()
    assert study.run() == first == load_result(study.workdir.result("cluster_sweep"))
    assert study.n_done == first["found"] == 1
    assert first["extraction"] == {"train": {"tokens": 7}, "test": {"tokens": 7}}
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
def test_what_decides_them_makes_them_anew_and_nothing_else_does(study, changes, n_done):
    study.run()
    assert study.run(**changes)["found"] == study.n_done == n_done


@pytest.mark.parametrize("damage", [b"2", b"", None])
def test_the_file_in_the_originals_format_is_made_again_from_the_results(study, damage, caplog):
    study.run()
    file = study.workdir.result("original")
    file.unlink() if damage is None else file.write_bytes(damage)
    assert study.run()["found"] == 1
    assert file.read_text() == "1"
    assert f"{file} " in caplog.text
    assert "made again from" in caplog.text


def test_a_file_that_the_results_do_not_make_again_as_it_was_has_the_study_run_again(study, monkeypatch):
    study.run()
    study.workdir.result("original").unlink()
    monkeypatch.setitem(kept.ORIGINALS, "cluster_sweep", ("original", lambda content, split: "of a newer version"))
    assert study.run()["found"] == 2
    assert study.workdir.result("original").read_text() == "of a newer version"


def test_results_of_an_older_version_are_made_again(study):
    study.run()
    file = study.workdir.result("cluster_sweep")
    old = {name: value for name, value in json.loads(file.read_text()).items() if name != "digest"}
    file.write_text(json.dumps({**old, "format": 1}))
    assert study.run()["found"] == 2


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
    assert study.run()["found"] == 2
    assert (damaged.startswith("results") and how == "removed") or f"{file} " in caplog.text
    assert study.run()["found"] == 2


@pytest.mark.parametrize("step", ["save_probes", "write_text", "save_result"])
def test_what_was_killed_half_way_is_never_taken_for_whole(study, monkeypatch, step):
    """Also where a study of other settings had left all its files."""
    other = replace(CONFIG, probe=ProbeConfig(l1=0.5))
    study.run()

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kept, step, killed)
        with pytest.raises(KeyboardInterrupt):
            study.run(other)
    assert study.run(other)["found"] == 3
    assert study.workdir.result("original").read_text() == "3"
