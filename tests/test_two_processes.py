"""Pairs of processes that work on one workdir at once, over all stages, in both orders and at any time, leave one whole
result. JAXRED_PAIRS says how many pairs; the suite runs a few.
"""

import itertools
import os
import random
import re
import shutil
import threading
import time

import pytest
from helpers import processes
from helpers.tiny_encoder import contents, sentences, write_task

N_PAIRS = int(os.environ.get("JAXRED_PAIRS", "4"))
STAGES = ("extract", "redundancy", "pipeline", "cluster_sweep", "minimal_neurons", "study")
POOLINGS = ("cls", "mean")


@pytest.fixture(scope="module")
def run(encoder_folder, tmp_path_factory):
    """Runs a launcher on a workdir with a pooling."""
    texts = {split: sentences(60, seed) for seed, split in enumerate(("train", "dev", "test"))}
    task = write_task(tmp_path_factory.mktemp("task") / "task", texts)

    def launch(stage, pooling, workdir, *more):
        return processes.launch(
            stage,
            "--config=configs/parallel.py",
            f"--config.task.data_dir={task}",
            f"--config.encoder.path={encoder_folder}",
            f"--config.extraction.pooling={pooling}",
            "--config.extraction.max_length=8",
            "--config.extraction.window_rows=4",
            "--config.probe.epochs=2",
            f"--workdir={workdir}",
            *more,
        )

    return launch


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory):
    """What a process alone leaves, and how long it takes."""
    known = {}

    def find(stage, pooling):
        if (stage, pooling) not in known:
            workdir = tmp_path_factory.mktemp("alone") / "run"
            begin = time.monotonic()
            done = run(stage, pooling, workdir)
            assert done.returncode == 0, done.stderr
            known[stage, pooling] = whole(workdir), time.monotonic() - begin
        return known[stage, pooling]

    return find


def whole(workdir):
    """What does not hold the time at which it was made; digests are of files that do."""
    found = {
        name: digest
        for name, digest in contents(workdir).items()
        if name.split("/")[0] not in ("probes", "moments", "figures", "digests")
    }
    if "report.html" in found:
        found["report.html"] = re.sub("Written by .*", "", (workdir / "report.html").read_text())
    return found


def pairs():
    chosen = [(f, s, *poolings) for f, s in itertools.product(STAGES, STAGES) for poolings in
              (POOLINGS, POOLINGS[::-1], ("cls", "cls"))]  # fmt: skip
    random.Random(0).shuffle(chosen)
    return [(i, *chosen[i % len(chosen)]) for i in range(N_PAIRS)]


@pytest.mark.parametrize(("number", "first", "second", "its_pooling", "other_pooling"), pairs())
def test_a_pair_leaves_one_whole_result(run, undisturbed, tmp_path, number, first, second, its_pooling, other_pooling):
    workdir, done = tmp_path / "run", {}
    works = [(first, its_pooling), (second, other_pooling)]

    def work(i, delay):
        time.sleep(delay)
        done[i] = run(*works[i], workdir, "--overwrite")

    longest = undisturbed(first, its_pooling)[1]
    threads = [threading.Thread(target=work, args=(i, i * random.Random(number).uniform(0, longest))) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in done.values():
        assert process.returncode in (0, 2), process.stderr
        if process.returncode == 2:
            assert "run is in use by another process, pid " in process.stderr.splitlines()[-1]
    won = [i for i in (0, 1) if done[i].returncode == 0]
    assert won
    expected = [undisturbed(*works[i])[0] for i in won]
    left = whole(workdir)
    possible = [*expected]
    if len(won) == 2 and its_pooling == other_pooling:  # one after the other: the results of both stages
        possible = [expected[0] | expected[1]]
        if "study" in (first, second):  # whose report shows the other stage too, where it came second
            possible += [{**possible[0], "report.html": left.get("report.html")}]
    assert any(left == found for found in possible), sorted(set(left.items()) ^ set(possible[-1].items()))
    last = next(i for i in won[::-1] if left == expected[i] or len(won) == 2)
    again = run(*works[last], workdir)
    assert again.returncode == 0, again.stderr
    assert "waiting" not in again.stderr
    shutil.rmtree(workdir)
