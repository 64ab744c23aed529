"""The wheel and the source distribution: what they hold, and that an installed jaxred runs from any folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from helpers.processes import ROOT

from jaxred.data.movie_reviews import load_movie_reviews

pytestmark = pytest.mark.packaging
SOURCES = ("jaxred", "launch", "configs", "tests", "benchmarks", "docs")
FILES = ("setup.py", "MANIFEST.in", "pyproject.toml", "README.md", "LICENSE")


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def clean_environment():
    """The variables without those by which the checkout would be found."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """A wheel that was built from the source distribution, and that distribution."""
    pytest.importorskip("build")
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    built = run(sys.executable, "-m", "build", "--no-isolation", source, env=clean_environment())
    assert "is absent from the `packages` configuration" not in built.stdout + built.stderr
    (wheel,) = (source / "dist").glob("*.whl")
    (archive,) = (source / "dist").glob("*.tar.gz")
    return wheel, archive


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory):
    """The `bin` folder of a new environment with the wheel, and with what jaxred needs from the present one."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", vars=paths))
    (site / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files are not read: no jaxred
    scripts = Path(sysconfig.get_path("scripts", vars=paths))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", scripts / "python"]
    run(*pip, "install", "--no-deps", "--no-index", distributions[0], env=clean_environment())
    return scripts


def test_the_wheel_has_the_package_with_launchers_and_configurations_and_nothing_else(distributions):
    names = zipfile.ZipFile(distributions[0]).namelist()
    assert {name.split("/")[0] for name in names} == {
        "jaxred",
        Path(distributions[0]).name.split("-py3")[0] + ".dist-info",
    }
    for folder, packaged in (("launch", "jaxred/launch"), ("configs", "jaxred/configs")):
        files = {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob("*.py")}
        assert {name.removeprefix(f"{packaged}/") for name in names if name.startswith(f"{packaged}/")} == files
    tracked = {p.relative_to(ROOT).as_posix() for p in (ROOT / "jaxred").rglob("*") if p.is_file()}
    assert {name for name in tracked if "__pycache__" not in name} <= set(names)


def test_the_source_distribution_builds_the_same_wheel(distributions):
    with tarfile.open(distributions[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {*FILES, "launch/study.py", "configs/sweeps/glue.py", "jaxred/py.typed"} <= names
    assert not any(name.startswith(("tests", "benchmarks")) for name in names)


@pytest.mark.minilm
@pytest.mark.usefixtures("minilm_folder")
def test_an_installed_jaxred_runs_the_demo_from_any_folder(installed, tmp_path):
    options = {"cwd": tmp_path, "env": clean_environment()}
    imported = run(installed / "python", "-c", "import jaxred; print(jaxred.__file__)", **options)
    assert imported.stdout.startswith(str(installed.parent))
    done = run(
        installed / "jaxred",
        "study",
        "--config=demo",
        "--config.task.limit_instances=200",
        "--config.extraction.max_length=8",  # few tokens, layers and probes, so that it takes seconds
        "--config.encoder.n_layers=1",
        "--config.probe.epochs=2",
        "--config.clustering.thresholds=(-1.0,)",
        "--config.clustering.sweep_thresholds=()",
        "--config.selection.deltas=((1.0, 1.0),)",
        "--config.selection.fractions=(0.1, 0.5)",
        "--workdir=run",
        **options,
    )
    assert "| Oracle" in done.stdout
    assert (tmp_path / "run" / "report.html").exists()
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["task"]["limit_instances"] == 200
    assert saved["extraction"]["pooling"] == "mean"  # the packaged configuration's
    # The set of neurons need not be a finding after so little training; the oracle's model is asked for by name.
    export = "export", "--workdir=run", "--output=small", "--set=oracle", "--nomeasure"
    assert "Written: " in run(installed / "jaxred", *export, **options).stdout
    test = load_movie_reviews("classification").splits["test"]
    lines = ["text,label", *('"{}",{}'.format(row.text.replace('"', '""'), row.label) for row in test)]
    (tmp_path / "test.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.move(tmp_path / "small", tmp_path / "moved")
    predicted = run(
        installed / "jaxred", "predict", "--model=moved", "--input=test.csv", "--output=labels.csv", **options
    )
    score = json.loads((tmp_path / "run" / "results" / "pipeline.json").read_text())["oracle"]["test"]["__OVERALL__"]
    assert f"{score:.4f}" in predicted.stdout
