"""An extraction that is killed, at any moment, is gone on with by the next run, to the same bytes. JAXRED_KILLS says at
how many random moments; the suite tries a few.
"""

import dataclasses
import os
import random
import signal
import time

import pytest
from helpers import processes, tiny_encoder
from helpers.dying_storage import not_gone_on_with, states
from helpers.tiny_encoder import contents, extract, sentences, study_config, write_task

from jaxred.activations import extract as module
from jaxred.activations import windows
from jaxred.activations.encode import encode_fn
from jaxred.activations.store import Store, read_ledger
from jaxred.runs.workdir import Workdir

N_KILLS = int(os.environ.get("JAXRED_KILLS", "3"))


@pytest.fixture(scope="module")
def config(encoder_folder, tmp_path_factory):
    texts = {"train": sentences(18), "test": sentences(6, seed=1)}
    return study_config(encoder_folder, write_task(tmp_path_factory.mktemp("task"), texts))


def test_an_extraction_that_dies_at_any_change_of_the_storage_is_gone_on_with(
    tmp_path, config, undisturbed, encoder, tokenizer, monkeypatch
):
    encode = encode_fn(encoder, config.extraction.pooling, config.extraction.dtype)
    monkeypatch.setattr("jaxred.activations.encode.encode_fn", lambda *_, **__: encode)
    monkeypatch.setattr("jaxred.models.load_encoder", lambda *_: encoder)
    monkeypatch.setattr(module, "Tokenizer", lambda *_: tokenizer)
    workdir, expected = tmp_path / "workdir", contents(undisturbed)
    left = states(monkeypatch, lambda: extract(config, Workdir(workdir).stores), workdir, tmp_path / "states")
    assert len(left) >= 2 + 2 * 5 + 2 * 2  # the ledgers, and every window and its entry
    assert not not_gone_on_with(left, lambda state: extract(config, Workdir(state).stores), expected)


@pytest.mark.parametrize("kind", ["sentences", "words"])
def test_an_extraction_killed_within_a_window_loses_no_more_than_seconds(
    tmp_path, encoder_folder, compilations, monkeypatch, kind
):
    """All rows are one window; every batch takes a while, and is kept after no time."""
    if kind == "sentences":
        task = write_task(tmp_path / "task", {"train": sentences(60, 5), "test": sentences(10, 6)})
        config = study_config(encoder_folder, task, window_rows=4096)
    else:
        texts = {split: sentences(n, n, (3, 6)) for split, n in (("train", 60), ("test", 10))}
        labels = {
            split: [" ".join("ab"[i % 2] for i in range(len(t.split()))) for t in v] for split, v in texts.items()
        }
        task = write_task(tmp_path / "task", texts, labels)
        config = study_config(encoder_folder, task, window_rows=4096)
        config = dataclasses.replace(config, task=dataclasses.replace(config.task, name="parallel_words"))
    extract(config, Workdir(tmp_path / "undisturbed").stores)
    workdir = tmp_path / "workdir"
    process = processes.start(tiny_encoder.run_extraction, config, workdir, compilations, 0.1)
    until, kept = time.monotonic() + 120, _train(workdir) / "unfinished"
    while len(list(kept.glob("0-*"))) < 3 and process.is_alive() and time.monotonic() < until:
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert _windows(_train(workdir)) == 0
    encoded = []
    real = windows.fetched
    monkeypatch.setattr(windows, "fetched", lambda *given: (encoded.append(len(r)) or (r, v) for r, v in real(*given)))
    extract(config, Workdir(workdir).stores)
    assert contents(workdir) == contents(tmp_path / "undisturbed")
    n_rows = sum(Store(workdir / "activations" / split).n_rows for split in ("train", "test"))
    assert 0 < sum(encoded) <= n_rows - 3 * 8


def _train(workdir):
    return workdir / "activations" / "train"


def _windows(folder):
    ledger = read_ledger(folder)
    return -1 if ledger is None else ledger.windows_finished


MOMENTS = {
    "at creation": lambda workdir: _train(workdir).exists(),
    "as the ledger appears": lambda workdir: _windows(_train(workdir)) >= 0,
    "halfway": lambda workdir: _windows(_train(workdir)) >= 20,
    "in the next split": lambda workdir: _windows(workdir / "activations" / "test") >= 0,
}


@pytest.fixture(scope="module")
def long_task(tmp_path_factory, encoder_folder):
    """Forty windows of train and twenty of test."""
    texts = {"train": sentences(80, 5, (1, 6)), "test": sentences(40, 6, (1, 6))}
    return study_config(encoder_folder, write_task(tmp_path_factory.mktemp("long"), texts), window_rows=2)


def test_an_extraction_killed_at_any_moment_is_gone_on_with(tmp_path, long_task, compilations):
    extract(long_task, Workdir(tmp_path / "undisturbed").stores)
    expected = contents(tmp_path / "undisturbed")
    delays = random.Random(0)
    how_far = []
    for moment, reached in MOMENTS.items():
        workdir = tmp_path / moment
        process = processes.start(tiny_encoder.run_extraction, long_task, workdir, compilations)
        until = time.monotonic() + 120
        while not reached(workdir) and process.is_alive() and time.monotonic() < until:
            time.sleep(0.0005)
        time.sleep(delays.uniform(0, 0.004))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"not running any more {moment}"
        how_far.append([_windows(workdir / "activations" / split) for split in ("train", "test")])
        extract(long_task, Workdir(workdir).stores)
        assert contents(workdir) == expected, f"killed {moment}, at {how_far[-1]}"
    assert any(0 < train < 40 for train, _ in how_far), how_far
    assert any(train == 40 and test < 20 for train, test in how_far), how_far


@pytest.mark.parametrize("number", range(N_KILLS))
def test_an_extraction_killed_at_a_random_moment_is_gone_on_with(tmp_path, long_task, compilations, number, whole_run):
    """Each of the runs that follow is killed too, until one comes to its end."""
    expected, seconds = whole_run
    draw = random.Random(number)
    for _ in range(10):
        process = processes.start(tiny_encoder.run_extraction, long_task, tmp_path / "run", compilations)
        process.join(draw.uniform(0, seconds))
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        for split in ("train", "test"):  # what is not finished is not read
            place = tmp_path / "run" / "activations" / split
            if (present := read_ledger(place)) is not None and present.finished:
                assert Store(place).matrix().shape[0] == present.n_rows
    extract(long_task, Workdir(tmp_path / "run").stores)
    assert contents(tmp_path / "run") == expected


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, long_task, compilations):
    """What an undisturbed process leaves, and how long it takes."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    begin = time.monotonic()
    process = processes.start(tiny_encoder.run_extraction, long_task, workdir, compilations)
    process.join()
    assert process.exitcode == 0
    return contents(workdir), time.monotonic() - begin
