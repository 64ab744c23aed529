import json
import re

import pytest
from helpers.tiny_encoder import contents, modified

from jaxred.config import ClusteringConfig, ProbeConfig, SourceConfig, StudyConfig, TaskConfig, to_dict
from jaxred.errors import UserError
from jaxred.runs.workdir import Workdir


def saved(folder):
    content = json.loads((folder / "config.json").read_text())
    content.pop("digest", None)  # older versions wrote none
    return content


def test_a_new_folder_is_made_and_keeps_the_configuration(tmp_path):
    folder = tmp_path / "runs" / "new"
    config = StudyConfig()
    workdir = Workdir.claim(folder, config)
    assert workdir.path == folder
    assert saved(folder) == json.loads(json.dumps(to_dict(config))) == workdir.saved_config()
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_an_empty_folder_is_a_new_one(tmp_path):
    assert Workdir(tmp_path).saved_config() is None
    Workdir.claim(tmp_path, StudyConfig())
    assert saved(tmp_path)["probe"]["l1"] == 1e-5


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_same_configuration_again_changes_nothing(tmp_path, overwrite):
    Workdir.claim(tmp_path, StudyConfig())
    before = modified(tmp_path)
    Workdir.claim(tmp_path, StudyConfig(), overwrite)
    assert modified(tmp_path) == before


def test_another_configuration_is_refused_naming_every_field(tmp_path):
    Workdir.claim(tmp_path, StudyConfig())
    (tmp_path / "report.html").write_text("report")
    before = contents(tmp_path)
    other = StudyConfig(probe=ProbeConfig(l1=0.1, epochs=3))
    with pytest.raises(UserError, match="another configuration") as caught:
        Workdir.claim(tmp_path, other)
    for words in (
        str(tmp_path),
        "probe.l1 was 1e-05 and is now 0.1",
        "probe.epochs was 10 and is now 3",
        "overwrite=True",
    ):
        assert words in str(caught.value)
    assert "probe.l2" not in str(caught.value)
    assert contents(tmp_path) == before


def test_a_folder_older_than_a_setting_was_run_at_its_default(tmp_path):
    Workdir.claim(tmp_path, StudyConfig())
    (tmp_path / "report.html").write_text("report")
    old = saved(tmp_path)
    del old["clustering"]["linkage"], old["repeats"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    with pytest.raises(UserError, match=r"configuration: clustering\.linkage was 'average' and is now 'single'"):
        Workdir.claim(tmp_path, StudyConfig(clustering=ClusteringConfig(linkage="single")))
    Workdir.claim(tmp_path, StudyConfig())


def test_a_folder_whose_source_was_saved_as_a_task_is_kept_and_opened(tmp_path):
    config = StudyConfig(task=TaskConfig(name=""), source=SourceConfig(stores="my_stores"))
    Workdir.claim(tmp_path, config)
    (tmp_path / "report.html").write_text("report")
    old = saved(tmp_path)
    del old["source"]
    old["task"] |= {"name": "stores", "data_dir": "my_stores"}
    (tmp_path / "config.json").write_text(json.dumps(old))
    before = modified(tmp_path)
    Workdir.claim(tmp_path, config)
    assert Workdir.open(tmp_path)[1] == config
    assert modified(tmp_path) == before
    with pytest.raises(UserError, match=r"source\.stores was 'my_stores' and is now 'others'"):
        Workdir.claim(tmp_path, StudyConfig(task=TaskConfig(name=""), source=SourceConfig(stores="others")))


MADE = ("results/pipeline.json", "results/redundancy.csv", "probes/pipeline/0", "figures/a.png", "report.html")


def fill(folder):
    """A folder with everything that a run leaves, and a file of the user's."""
    for name in (*MADE, "activations/file", "moments/train.npz", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("numbers")


def test_overwrite_takes_the_folder_and_keeps_all_but_what_was_found(tmp_path):
    Workdir.claim(tmp_path, StudyConfig())
    fill(tmp_path)
    other = StudyConfig(probe=ProbeConfig(l1=0.1))
    Workdir.claim(tmp_path, other, overwrite=True)
    assert saved(tmp_path)["probe"]["l1"] == 0.1
    assert sorted(contents(tmp_path)) == ["activations/file", "config.json", "moments/train.npz", "notes.txt"]
    fill(tmp_path)
    before = contents(tmp_path)
    Workdir.claim(tmp_path, other, overwrite=True)  # of the same configuration
    Workdir.claim(tmp_path, other)
    assert contents(tmp_path) == before
    with pytest.raises(UserError, match=r"probe\.l1 was 0\.1 and is now 1e-05"):
        Workdir.claim(tmp_path, StudyConfig())


def test_a_folder_whose_results_cannot_be_removed_stays_the_others(tmp_path, monkeypatch):
    Workdir.claim(tmp_path, StudyConfig())
    fill(tmp_path)
    monkeypatch.setattr("jaxred.runs.workdir.shutil.rmtree", lambda *args, **kwargs: None)
    with pytest.raises(UserError, match=r"results holds results of another run and cannot be removed"):
        Workdir.claim(tmp_path, StudyConfig(probe=ProbeConfig(l1=0.1)), overwrite=True)
    assert saved(tmp_path)["probe"]["l1"] == 1e-5


@pytest.mark.parametrize("found", ["results", "probes", "figures", "report.html"])
def test_a_run_that_found_nothing_does_not_hold_the_folder(tmp_path, found):
    Workdir.claim(tmp_path, StudyConfig())
    assert not Workdir(tmp_path).holds_results()
    Workdir.claim(tmp_path, StudyConfig(probe=ProbeConfig(l1=0.1)))
    assert saved(tmp_path)["probe"]["l1"] == 0.1
    (tmp_path / "activations").mkdir()  # what they are of, they say themselves
    (tmp_path / "moments").mkdir()
    assert not Workdir(tmp_path).holds_results()
    (tmp_path / found).mkdir()
    assert Workdir(tmp_path).holds_results()
    with pytest.raises(UserError, match=r"probe\.l1 was 0\.1 and is now 1e-05"):
        Workdir.claim(tmp_path, StudyConfig())
    assert not Workdir(tmp_path / "nowhere").holds_results()


def test_an_impossible_configuration_claims_nothing(tmp_path):
    with pytest.raises(UserError, match=r"config\.task\.kind='ranking'"):
        Workdir.claim(tmp_path / "new", StudyConfig(task=TaskConfig(kind="ranking")))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ["", "{", '{"probe": ', "\xff\xfe\xff"])
def test_a_damaged_configuration_is_told(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"Cannot read .*config\.json \(.+\): delete it, or choose another `workdir`"):
        Workdir.claim(tmp_path, StudyConfig())
    assert (tmp_path / "config.json").read_bytes() == text.encode("latin-1")


@pytest.mark.parametrize("content", [[], 3, None, "text"])
def test_a_configuration_of_something_else_is_told(tmp_path, content):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"config\.json is not a configuration saved by jaxred"):
        Workdir.claim(tmp_path, StudyConfig())


@pytest.mark.parametrize("beside", [[], ["model.safetensors"]])
def test_a_config_json_of_another_program_is_not_replaced(tmp_path, beside):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    for name in beside:
        (tmp_path / name).write_text("weights")
    with pytest.raises(UserError, match=r"config\.json|model_type"):
        Workdir.claim(tmp_path, StudyConfig())
    assert saved(tmp_path) == {"model_type": "bert"}


def test_a_file_cannot_be_a_workdir(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(
        UserError, match=re.escape(f"workdir={str(tmp_path / 'file')!r} is a file; it must be a folder")
    ):
        Workdir.claim(tmp_path / "file", StudyConfig())
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "file" / "below"))):
        Workdir.claim(tmp_path / "file" / "below", StudyConfig())
    assert (tmp_path / "file").read_text() == "text"


def test_no_workdir_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="Pass `workdir=FOLDER`"):
        Workdir.claim("", StudyConfig())
    assert not list(tmp_path.iterdir())


def test_everything_lies_in_the_folder(tmp_path):
    workdir = Workdir(str(tmp_path))
    assert workdir.activations("train") == tmp_path / "activations" / "train"
    assert workdir.moments == tmp_path / "moments" / "train.npz"
    assert workdir.result("pipeline") == tmp_path / "results" / "pipeline.json"
    assert workdir.probes("layers") == tmp_path / "probes" / "layers"
    assert workdir.figures == tmp_path / "figures"
    assert workdir.report == tmp_path / "report.html"


def test_a_folder_is_opened_with_its_configuration_and_left_as_it_is(tmp_path):
    config = StudyConfig(task=TaskConfig(name="sst2", data_dir="somewhere"), probe=ProbeConfig(l1=0.25))
    Workdir.claim(tmp_path, config)
    before = modified(tmp_path)
    workdir, found = Workdir.open(tmp_path)
    assert found == config
    assert workdir.activations("train") == tmp_path / "activations" / "train"
    assert modified(tmp_path) == before


def test_a_run_of_a_sweep_is_opened_with_what_it_shares(tmp_path):
    (tmp_path / "sweep.json").write_text("{}")
    claimed = Workdir.claim(tmp_path / "run", StudyConfig())
    opened = Workdir.open(tmp_path / "run")[0]
    assert (opened.stores, opened.moments) == (claimed.stores, claimed.moments)
    assert opened.stores.parent == tmp_path / "activations"


def test_a_folder_that_is_no_runs_is_not_opened(tmp_path):
    with pytest.raises(UserError, match="is not the folder of a run"):
        Workdir.open(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"task": {"nmae": "sst2"}, "encoder": {}, "probe": {}}))
    with pytest.raises(UserError, match=r"config\.task\.nmae is not known"):
        Workdir.open(tmp_path)


def test_results_of_other_activations_are_removed_only_where_told(tmp_path):
    workdir = Workdir.claim(tmp_path, StudyConfig())
    fill(tmp_path)
    workdir.claim_results("one", overwrite=False)  # of results that are older than the note
    workdir.enter_results("one")
    before = contents(tmp_path)
    workdir.claim_results("one", overwrite=True)
    with pytest.raises(UserError, match="holds results of other activations"):
        workdir.claim_results("other", overwrite=False)
    assert contents(tmp_path) == before
    workdir.claim_results("other", overwrite=True)
    assert sorted(contents(tmp_path)) == ["activations/file", "config.json", "moments/train.npz", "notes.txt"]
    workdir.claim_results("other", overwrite=False)


def test_the_note_of_the_activations_is_written_once(tmp_path):
    workdir = Workdir.claim(tmp_path, StudyConfig())
    workdir.enter_results("one")
    written = (tmp_path / "results" / "activations").stat().st_mtime_ns
    workdir.enter_results("one")
    assert (tmp_path / "results" / "activations").stat().st_mtime_ns == written


def test_no_flipped_bit_is_read_as_another_configuration(tmp_path):
    Workdir.claim(tmp_path, StudyConfig())
    file, config = tmp_path / "config.json", Workdir(tmp_path).saved_config()
    whole, found, said = file.read_bytes(), [], []
    for bit in range(3, 8 * len(whole), 11):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        try:
            found.append(Workdir(tmp_path).saved_config())
        except UserError as error:
            said.append(str(error))
    assert all(content == config for content in found)
    assert all(str(file) in sentence for sentence in said)


@pytest.mark.parametrize("text", ["", "0123", "0" * 32 + " 0", "0" * 31, "\xff"])
def test_a_damaged_note_of_activations_is_told(tmp_path, text):
    workdir = Workdir(tmp_path)
    workdir.enter_results("0" * 32)
    workdir.claim_results("0" * 32, overwrite=False)
    (tmp_path / "results" / "activations").write_text(text)
    with pytest.raises(UserError, match=r"results/activations is damaged: .* Delete it if they are of the same ones"):
        workdir.claim_results("0" * 32, overwrite=False)
    (tmp_path / "results" / "activations").write_text("0" * 32 + "\n")  # as older versions wrote it
    workdir.claim_results("0" * 32, overwrite=False)
