"""Two processes of `jax.distributed` extract one store; one that is lost is made up for by the next run."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.addresses import free_address
from helpers.tiny_encoder import contents, extract, row_error, sentences, study_config, write_task

from jaxred.activations.store import Store, read_ledger
from jaxred.runs.workdir import Workdir

ROOT = Path(__file__).parents[2]
N_KILLS = int(os.environ.get("JAXRED_KILLS_OF_TWO", "1"))
STAGES_OF_WORK = 0.05  # seconds a window takes at least, so that a process is found at work


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return write_task(
        tmp_path_factory.mktemp("task"), {"train": sentences(50, 5, (1, 6)), "test": sentences(9, 6, (1, 6))}
    )


@pytest.fixture(scope="module")
def config(encoder_folder, task):
    return study_config(encoder_folder, task, window_rows=2)


PROGRAM = f"""
import sys, time
sys.path.insert(0, {str(ROOT / "tests")!r})
from jaxred.activations.store import StoreWriter
real = StoreWriter.flush
StoreWriter.flush = lambda self: (time.sleep({STAGES_OF_WORK}), real(self))[1]
import runpy
sys.argv = ["launch/extract.py", *sys.argv[1:]]
runpy.run_path({str(ROOT / "launch" / "extract.py")!r}, run_name="__main__")
"""


@pytest.fixture
def start(encoder_folder, task):
    """Starts one of two processes of the launcher."""
    running = []

    def run(workdir, address, number, *more):
        flags = [
            "--config=configs/parallel.py",
            f"--config.task.data_dir={task}",
            f"--config.encoder.path={encoder_folder}",
            "--config.extraction.max_length=8",
            "--config.extraction.token_budget=128",
            "--config.extraction.window_rows=2",
            f"--workdir={workdir}",
            f"--coordinator={address}",
            "--n_processes=2",
            f"--process={number}",
            *more,
        ]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *flags], cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE
            )
        )
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.wait()


def test_two_processes_make_the_store_of_one(tmp_path, start, config, undisturbed):
    address = free_address()
    both = [start(tmp_path / "run", address, number) for number in (0, 1)]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    found, expected = (contents(place / "activations") for place in (tmp_path / "run", undisturbed))
    assert found == expected
    shares = [sum(map(int, re.findall(r"extract train: 100%.*?(\d+)/\d+ ", text)[-1:])) for text in said]
    assert sum(shares) == 50, said
    assert min(shares) > 10, said  # both have worked
    assert Store(tmp_path / "run" / "activations" / "train").ledger.notes == _notes(undisturbed)


def _notes(workdir):
    return Store(workdir / "activations" / "train").ledger.notes


def _marks(store):
    return sum(path.name.isdecimal() for path in (store / "finished").glob("*"))


@pytest.mark.parametrize("number", range(N_KILLS))
def test_what_a_lost_process_had_is_done_by_the_next_run(tmp_path, start, config, undisturbed, number):
    draw, train = random.Random(number), tmp_path / "run" / "activations" / "train"
    address = free_address()
    both = [start(tmp_path / "run", address, each) for each in (0, 1)]
    until = time.monotonic() + 200
    while not _marks(train) and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(draw.uniform(0, 30 * STAGES_OF_WORK) if number else 0)
    lost = both[draw.randrange(2)]
    lost.kill()
    lost.communicate()
    assert number or lost.returncode == -signal.SIGKILL
    other = next(process for process in both if process is not lost)
    other.kill()  # which JAX would do after a while
    other.communicate()
    present = read_ledger(train)
    assert present is not None
    n_marked = _marks(train)
    assert number or (n_marked and not present.finished)
    before = {path: path.stat().st_mtime_ns for path in (train / "hidden_states" / "c").rglob("*/0")}
    extract(config, Workdir(tmp_path / "run").stores)
    kept = sum(path.stat().st_mtime_ns == written for path, written in before.items())
    assert kept >= n_marked * present.n_layers
    assert contents(tmp_path / "run" / "activations") == contents(undisturbed / "activations")


def test_damaged_windows_are_mended_by_two_of_eight_devices_each(tmp_path, start, config, undisturbed, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8")
    extract(config, Workdir(tmp_path / "run").stores)
    for window in (3, 4, 7):
        (tmp_path / "run" / "activations" / "train" / "hidden_states" / "c" / str(window) / "1" / "0").unlink()
    address = free_address()
    both = [start(tmp_path / "run", address, number) for number in (0, 1)]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    for split in ("train", "test"):
        one, other = (Store(place / "activations" / split).matrix() for place in (tmp_path / "run", undisturbed))
        assert row_error(one, other) < 1e-6


def test_flags_that_say_too_little(tmp_path, start):
    process = start(tmp_path / "run", "", 0)
    assert "--coordinator, --process and --n_processes go together" in process.communicate(timeout=100)[1]
    assert process.returncode == 2
    process = start(tmp_path / "run", "localhost:1", 2)
    assert "--process=2 is not possible with --n_processes=2" in process.communicate(timeout=100)[1]
    process = start(tmp_path / "run", "localhost:1", 0, "--distributed")
    assert "leave out --coordinator" in process.communicate(timeout=100)[1]
    assert not (tmp_path / "run").exists()
