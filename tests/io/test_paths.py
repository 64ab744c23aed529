"""Places as people name them, in every flag and field."""

import shlex
from pathlib import Path

import pytest
from absl import flags

from jaxred.activations.files.conversion import Options, convert
from jaxred.cli import app
from jaxred.cli.flag_names import as_flags
from jaxred.config import EncoderConfig, SourceConfig, StudyConfig, TaskConfig
from jaxred.data import load_task
from jaxred.errors import UserError
from jaxred.io.paths import is_url, local
from jaxred.models import pretrained
from jaxred.original import experiment
from jaxred.original.importing import open_stores
from jaxred.runs.finished import open_runs
from jaxred.runs.workdir import Workdir
from jaxred.sweeps import runner
from jaxred.sweeps.grid import Sweep

URLS = ["s3://bucket/x", "gs://bucket/x", "file:///x", "http://host/x", "hf://a/b", "s3:/bucket/x"]


def _together(place):
    return open_runs(StudyConfig(task=TaskConfig(name=""), source=SourceConfig(tasks=("runs/one", place))))


PLACES = {
    "workdir": lambda place: Workdir.claim(place, StudyConfig()),
    "sweep": lambda place: runner.run(lambda *_: None, Sweep(axes={"probe.seed": (1,)}), place),
    "data_dir": lambda place: load_task(TaskConfig(name="parallel", data_dir=place)),
    "words": lambda place: load_task(TaskConfig(name="ud_pos", data_dir=place)),
    "stores": lambda place: open_stores(StudyConfig(task=TaskConfig(name=""), source=SourceConfig(stores=place))),
    "together": _together,
    "experiment": lambda place: experiment.load(place),
    "encoder": lambda place: pretrained.resolve(EncoderConfig(path=place).path),
    "input": lambda place: convert(Options(input=f"{place}.npz", output="out")),
    "output": lambda place: convert(Options(input="store", output=f"{place}.json")),
    "examples": lambda place: convert(Options(output=place), StudyConfig(task=TaskConfig())),
    "text": lambda place: convert(Options(input="in.npz", output="out", text=place)),
    "labels": lambda place: convert(Options(input="in.npz", output="out", labels=place)),
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, and another that is the current one."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("kind", PLACES)
def test_a_url_is_rejected_where_a_place_on_disk_is_meant_and_nothing_is_made(kind, url, home):
    with pytest.raises(UserError, match="is a URL, but only a place on this machine's disks"):
        PLACES[kind](url)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("kind", PLACES)
def test_the_home_of_nobody_is_told(kind, home):
    with pytest.raises(UserError, match="no home folder of that name"):
        PLACES[kind]("~nobody-of-that-name/x")
    assert not list(Path().iterdir())


@pytest.mark.parametrize("kind", ["workdir", "sweep", "examples"])
def test_what_is_made_in_the_home_folder_is_there_and_not_in_a_folder_of_that_sign(kind, home):
    PLACES[kind]("~/made/x")
    assert list((home / "made").iterdir())
    assert not list(Path().iterdir())


@pytest.mark.parametrize("kind", sorted({*PLACES} - {"workdir", "sweep", "examples"}))
def test_what_is_read_is_looked_for_in_the_home_folder(kind, home, monkeypatch):
    looked = []
    files, original = "activations.files.conversion", ("original.importing", "original.experiment")
    for module in (files, *original, "data", "runs.finished", "models.pretrained"):
        monkeypatch.setattr(
            f"jaxred.{module}.local", lambda place, name: looked.append(local(place, name)) or looked[-1]
        )
    with pytest.raises(UserError):
        PLACES[kind]("~/none/x")
    assert any(str(place).startswith(str(home / "none" / "x")) for place in looked)
    assert not list(Path().iterdir())


def test_an_encoder_in_the_home_folder_is_found(home):
    (home / "enc").mkdir()
    assert pretrained.resolve("~/enc") == home / "enc"


@pytest.mark.parametrize("argv", [["--config=~/mine.py:arg"], ["--config", "~/mine.py:arg"]])
def test_a_configuration_in_the_home_folder_is_found(argv, home):
    (home / "mine.py").touch()
    assert app._with_config(["launch", *argv, "--overwrite"]) == [
        "launch",
        f"--config={home}/mine.py:arg",
        "--overwrite",
    ]
    assert flags.FLAGS is not None


@pytest.mark.parametrize("name", ["nul\0", "byte\udcff", "x" * 300])
def test_names_that_no_file_can_have_are_told(name, home):
    with pytest.raises(UserError, match="workdir="):
        Workdir(name)


@pytest.mark.parametrize(
    "name", ["a b", "ü", "it's", "a$b", "a#b?c", "a%20b", "a|b", "a{b}", "[a]*", "-x", "C:/x", "a:b"]
)
def test_odd_names_are_names_and_advice_quotes_them(name):
    assert not is_url(name)
    assert local(name, "workdir") == Path(name)
    assert shlex.split(as_flags(f"run it with workdir={name!r}"))[-1] == f"--workdir={name}"
