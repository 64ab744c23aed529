"""The command `jaxred`: its commands, their help, and how configurations are named."""

import dataclasses
import subprocess
import sys
import time

import pytest
from helpers.processes import ROOT, run_program

from jaxred import __version__
from jaxred.cli import help as command_help
from jaxred.cli import packaged
from jaxred.cli.command import COMMANDS
from jaxred.config import StudyConfig

RUN = "import sys; from jaxred.cli.command import main; main(sys.argv[1:])"


def jaxred(*arguments):
    """What the command does, in a process that has imported everything before."""
    return run_program(RUN, *arguments)


def fields(section, prefix="config"):
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}.{field.name}")
        else:
            yield f"{prefix}.{field.name}", value


def test_every_launcher_is_a_command():
    assert sorted(COMMANDS) == sorted(packaged.launchers())
    for name, path in packaged.launchers().items():
        assert path == ROOT / "launch" / f"{name.replace('-', '_')}.py"


def test_help_lists_the_commands_at_once_without_jax():
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jaxred", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert time.monotonic() - begin < 1
    assert done.returncode == 0
    for name, path in packaged.launchers().items():
        assert f"\n  {name} " in done.stdout
        assert " ".join(packaged.summary(path).split()[:6]) in done.stdout
    for name in packaged.configs():
        assert name in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"jax", "numpy", "absl", "flax", "jaxred.cli.app"}


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ((), 0, ["usage: jaxred COMMAND"]),
        (("help",), 0, ["usage: jaxred COMMAND"]),
        (("--version",), 0, [f"jaxred {__version__}\n"]),
        (("stdy",), 2, ["error: jaxred has no command 'stdy': did you mean study?"]),
        (("cluster_swep",), 2, ["did you mean cluster-sweep?"]),
        (("xyz",), 2, ["choose one of study, finetune, extract, pipeline"]),
        (("--config=demo",), 2, ["The first argument must be a command", "jaxred study --config=demo"]),
        (("study", "--config=demoo"), 2, ["--config=demoo is no packaged", "did you mean demo?", "sweeps/glue"]),
        (("study", "--config=none.py"), 2, ["--config=none.py", "names no file: give one, or one of demo, "]),
        (("study", "--config=glue:sst9"), 2, ["sst9 is not known: choose one of"]),
        (("study", "--config", "sweeps/glue"), 2, ["Pass --workdir=FOLDER"]),
        (("study", "--config.probe.l9=1"), 2, ["config.probe has no field 'l9'"]),
        (("study", "--config.repeats=0", "--workdir=WORKDIR"), 2, ["error: config.repeats=0 is not possible"]),
        (("report", "--workdir=WORKDIR"), 2, ["holds no results: run jaxred study --workdir="]),
        (("convert", "--config=demoo", "--output=x"), 2, ["did you mean demo?"]),
    ],
)
def test_what_is_typed_is_answered_in_a_sentence(arguments, status, words, tmp_path):
    done = jaxred(*(argument.replace("WORKDIR", str(tmp_path)) for argument in arguments))
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in (done.stderr if status else done.stdout)


@pytest.mark.parametrize("arguments", [("study", "--help"), ("help", "study")])
def test_the_help_of_a_command_has_every_flag_and_every_field_with_default_and_text(arguments):
    done = jaxred(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: jaxred study")
    assert "jaxred study --config=glue:sst2 --config.task.data_dir=glue_data" in done.stdout
    assert "launch/" not in done.stdout
    for flag in ("--config", "--workdir", "--[no]overwrite", "--[no]verify"):
        assert f"\n  {flag}\n" in done.stdout
    lines = done.stdout.splitlines()
    for name, default in fields(StudyConfig()):
        assert f"  --{name}={default}" in lines
        below = lines[lines.index(f"  --{name}={default}") + 1]
        assert below.startswith("      ")
        assert below.strip()
    assert max(map(len, lines)) <= 120


def test_a_launchers_help_is_the_same_under_its_own_name():
    done = subprocess.run(
        [sys.executable, "launch/study.py", "--help"], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python launch/study.py")
    assert "python launch/study.py --config=configs/demo.py --workdir=runs/demo" in done.stdout
    assert "  --config.probe.l1=1e-05\n      The weight of the sum of absolute weights.\n" in done.stdout


def test_a_command_that_reads_one_section_shows_that_one():
    done = jaxred("convert", "--help")
    assert "--config.task.data_dir=" in done.stdout
    assert "--config.probe" not in done.stdout
    assert "\n  --input\n" in done.stdout
    assert "--config.task" not in jaxred("convert-checkpoint", "--help").stdout


def test_every_field_is_documented():
    sections = [
        StudyConfig,
        *(type(value) for value in vars(StudyConfig()).values() if dataclasses.is_dataclass(value)),
    ]
    for section in sections:
        docs = command_help.field_docs(section)
        for field in dataclasses.fields(section):
            documented = docs[field.name] or (field.type.__doc__ if dataclasses.is_dataclass(field.type) else "")
            assert documented, field.name


def test_configurations_are_named_by_their_files():
    names = packaged.configs()
    assert {"demo", "glue", "sweeps/glue"} <= set(names)
    assert sorted(names.values()) == sorted((ROOT / "configs").rglob("[!_]*.py"))
