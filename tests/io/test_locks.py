import errno
import os
import subprocess
import sys
import threading
import time

import pytest
from helpers import processes
from helpers.tiny_encoder import contents, sentences, write_task

from jaxred.errors import UserError
from jaxred.io import locks
from jaxred.io.locks import LOCK_FILE, lock
from jaxred.runs.workdir import locked

HOLD = """
import sys, time
from pathlib import Path
from jaxred.io.locks import lock
with lock(Path(sys.argv[1]), shared="shared" in sys.argv):
    Path(sys.argv[1], ".own.txt.abcd1234.jaxred").write_text("half") if "leave" in sys.argv else None
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """Starts processes that hold a folder's lock until they are told to go on."""
    started = []

    def start(folder, *how):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(processes.ROOT), *sys.path])}
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder), *how],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def let_go(process):
    process.communicate("\n", timeout=60)


def test_another_process_is_rejected_in_a_sentence_that_names_the_first(tmp_path, holder):
    first = holder(tmp_path, "an argument")
    with pytest.raises(UserError) as caught, lock(tmp_path):
        pass
    text = str(caught.value)
    for words in (f"{tmp_path} is in use by another process", f"pid {first.pid} on ", "'an argument'", "since 20"):
        assert words in text
    assert text.count("\n") == 0
    let_go(first)
    with lock(tmp_path):
        assert (tmp_path / LOCK_FILE).exists()
    assert not list(tmp_path.iterdir())


def test_a_killed_process_keeps_no_lock_and_what_it_left_is_removed_but_no_file_of_a_user(tmp_path, holder):
    users = (".own.txt.original", ".own.txt.abcd1234", ".other.txt.abcd1234.jaxred", "own.jaxred", ".jaxred")
    for name in users:
        (tmp_path / name).write_text("mine")
    first = holder(tmp_path, "leave")
    first.kill()
    first.wait()
    assert (tmp_path / LOCK_FILE).exists()
    with lock(tmp_path, leftovers=["own.*"]):
        pass
    assert sorted(contents(tmp_path)) == sorted(users)


def test_a_lock_is_waited_for(tmp_path, holder, caplog):
    first = holder(tmp_path)
    threading.Timer(0.5, let_go, [first]).start()
    begin = time.monotonic()
    with caplog.at_level("WARNING", "jaxred"), lock(tmp_path, wait=True):
        assert time.monotonic() - begin > 0.4
        assert first.wait(10) == 0
    assert f"in use by another process, pid {first.pid}" in caplog.text
    assert caplog.text.count("waiting for it") == 1


def test_readers_share_a_lock_and_writers_wait_for_all_of_them(tmp_path, holder):
    first, second = holder(tmp_path, "shared"), holder(tmp_path, "shared")
    with lock(tmp_path, shared=True):
        pass
    for process in (first, second):
        with pytest.raises(UserError, match="in use by another process"), lock(tmp_path):
            pass
        let_go(process)
    with lock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_one_process_takes_a_lock_again_by_any_way_to_the_folder(tmp_path, holder, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    with lock(tmp_path / "run"), lock(tmp_path / "link"), locked("run"):
        assert (tmp_path / "run" / LOCK_FILE).exists()
    assert not (tmp_path / "run").exists()  # nothing came to lie in it


def test_a_folder_that_only_was_locked_looks_untouched(tmp_path):
    os.utime(tmp_path, ns=(5, 5 * 10**9))
    with lock(tmp_path):
        pass
    assert tmp_path.stat().st_mtime_ns == 5 * 10**9
    with lock(tmp_path):
        (tmp_path / "file").write_text("new")
    assert tmp_path.stat().st_mtime_ns > 5 * 10**9


def test_an_error_lets_the_lock_go(tmp_path, holder):
    with pytest.raises(KeyboardInterrupt), lock(tmp_path / "run"):
        raise KeyboardInterrupt
    let_go(holder(tmp_path / "run"))


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_work_goes_on_and_that_is_said(tmp_path, monkeypatch, caplog, error):
    def fail(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(locks.fcntl, "flock", fail)
    with caplog.at_level("WARNING", "jaxred"), lock(tmp_path):
        (tmp_path / "file").write_text("text")
    assert "cannot be locked" in caplog.text
    assert (tmp_path / "file").read_text() == "text"


def test_two_processes_that_take_turns_quickly_never_hold_a_lock_together(tmp_path):
    """Removing a lock's file must not let in a process that still has the old one open."""
    program = (
        "import sys; from pathlib import Path; from jaxred.io.locks import lock; import jaxred.io.locks as m\n"
        "m.POLL_SECONDS = 0.0005; here = Path(sys.argv[1])\n"
        "for _ in range(150):\n"
        "    with lock(here / 'run', wait=True):\n"
        "        n = int((here / 'n').read_text()); (here / 'n').write_text(str(n + 1))\n"
    )
    (tmp_path / "n").write_text("0")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(processes.ROOT), *sys.path])}
    command = [sys.executable, "-c", program, str(tmp_path)]
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    assert (tmp_path / "n").read_text() == "450"


# What is locked -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["study", "extract", "pipeline", "cluster_sweep", "minimal_neurons", "redundancy", "report"]
)
def test_every_launcher_is_rejected_where_another_works(name, tmp_path):
    with locked(tmp_path / "run"):
        done = processes.launch(name, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert f"error: {tmp_path / 'run'} is in use by another process, pid {os.getpid()} on " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_sweep_is_rejected_where_another_works(tmp_path):
    (tmp_path / "sweep.py").write_text(
        "from jaxred.sweeps.grid import Sweep\ndef get_config():\n    return Sweep(axes={'probe.l1': (0.0, 1e-5)})\n"
    )
    with locked(tmp_path / "runs"):
        done = processes.launch("study", f"--config={tmp_path / 'sweep.py'}", f"--workdir={tmp_path / 'runs'}")
    assert done.returncode == 2
    assert f"{tmp_path / 'runs'} is in use by another process" in done.stderr


def test_written_examples_are_rejected_where_another_writes_them(tmp_path):
    task = write_task(tmp_path / "task", {split: sentences(12) for split in ("train", "dev", "test")})
    flags = ("--config=configs/parallel.py", f"--config.task.data_dir={task}", f"--output={tmp_path / 'out'}")
    with lock(tmp_path / "out"):
        done = processes.launch("convert", *flags)
    assert done.returncode == 2
    assert f"{tmp_path / 'out'} is in use by another process" in done.stderr
    assert processes.launch("convert", *flags).returncode == 0
