import io
import mmap
import os
import signal
import subprocess
import threading
from dataclasses import replace

import pytest
from helpers.made_up_lines import same, sentence, values, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxred.activations.files import json_lines, json_workers
from jaxred.activations.files.json_runs import ANSWER, REFUSED
from jaxred.errors import UserError


@pytest.fixture(autouse=True)
def small_files_are_shared_too(monkeypatch):
    monkeypatch.setattr(json_lines, "_PARALLEL_BYTES", 0)
    monkeypatch.setattr(json_lines, "_CHUNK_BYTES", 500)
    monkeypatch.setattr(json_workers, "available", lambda: 2)
    monkeypatch.setattr(json_workers, "_OWN_CHUNKS", 1)


@pytest.fixture
def lines(tmp_path):
    return write(tmp_path / "a.json", *(sentence(values(1 + i % 3, i)) for i in range(20)))


def read(path, found=None, **options):
    return list(json_lines.read(path, found or json_lines.survey(path), **options))


@pytest.fixture
def started(monkeypatch):
    """The processes that a test has started."""
    processes, popen = [], subprocess.Popen

    def watched(*arguments, **options):
        processes.append(popen(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(json_workers.subprocess, "Popen", watched)
    return processes


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 12), st.booleans(), st.booleans())
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_processes_read_what_one_does(tmp_path_factory, lengths, first, newline, sentences_only):
    sentences = [values(n, seed) for seed, n in enumerate(lengths)]
    path = tmp_path_factory.mktemp("lines") / "a.json"
    lines = [sentence(vectors, ["[CLS]", "a", "b", "c"][: len(vectors)]) for vectors in sentences]
    write(path, *lines, end="\n" if newline else "")
    expected = [vectors[:1] if sentences_only else vectors for vectors in sentences[first:]]
    same(read(path, first=first, sentences_only=sentences_only), expected)


@pytest.mark.parametrize("n_own", [0, 3, 100])
def test_lines_that_are_parsed_while_processes_start_are_no_others(lines, started, n_own, monkeypatch):
    monkeypatch.setattr(json_workers, "_OWN_CHUNKS", n_own)
    same(read(lines), [values(1 + i % 3, i) for i in range(20)])
    assert len(started) == (2 if n_own < 100 else 0)


def test_a_number_that_float32_cannot_hold_is_named(lines):
    content = lines.read_text().splitlines()
    content[15] = sentence(values(1) * 1e39)
    write(lines, *content)
    with pytest.raises(UserError, match="line 16: the value of token 0, layer 0, neuron 2 is 6"):
        read(lines)


@pytest.mark.parametrize("bad", [9, 19])  # the first line is parsed before there are processes
def test_a_bad_line_is_named(lines, bad):
    content = lines.read_text().splitlines()
    content[bad] = content[bad].replace("0.", "x.", 1)
    write(lines, *content)
    with pytest.raises(UserError, match=rf"line {bad + 1}: it is not JSON"):
        read(lines)


def test_a_file_that_changes_while_it_is_read_is_named(lines):
    found = json_lines.survey(lines)
    content = lines.read_text().splitlines()
    write(lines, *content, content[0])
    with pytest.raises(UserError, match="line 21: its tokens cannot be counted"):
        read(lines, found)
    write(lines, *content[:-1])
    with pytest.raises(UserError):
        read(lines, found)


def test_another_number_of_tokens_than_was_counted_is_named(lines):
    found = json_lines.survey(lines)
    tokens = [n + 1 if i == 5 else n for i, n in enumerate(found.tokens)]
    with pytest.raises(UserError, match="line 6: its tokens cannot be counted"):
        read(lines, replace(found, tokens=tokens))


def test_processes_that_die_or_do_not_start_are_not_missed(lines, started, monkeypatch):
    expected = [values(1 + i % 3, i) for i in range(20)]
    reading = json_lines.read(lines, json_lines.survey(lines))
    got = [next(reading)]
    os.kill(started[1].pid, signal.SIGKILL)
    same([*got, *reading], expected)
    monkeypatch.setattr(json_workers.sys, "executable", "/bin/false")
    same(read(lines), expected)


@pytest.mark.parametrize("without_a_file", [True, False])
def test_processes_leave_nothing_to_be_read_again(tmp_path, started, without_a_file, monkeypatch):
    if not without_a_file:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    again = []
    monkeypatch.setattr(json_lines, "_read_lines", lambda *asked: iter(again.append(asked[2:4]) or []))
    path = write(tmp_path / "a.json", *(sentence(values(1, i)) for i in range(100)))
    same(read(path), [values(1, i) for i in range(100)])  # many times as many as are parsed ahead
    assert len(started) == 2
    assert again == [(100, None)]  # only the end of the file, where nothing may follow


def test_one_core_starts_no_process(lines, started, monkeypatch):
    monkeypatch.setattr(json_workers, "available", lambda: 1)
    same(read(lines), [values(1 + i % 3, i) for i in range(20)])
    assert not started


@pytest.mark.parametrize("answer", [b"", b"123", ANSWER.pack(2) + bytes(12), ANSWER.pack(REFUSED)])
def test_an_answer_that_is_cut_short_is_none(lines, answer):
    worker = subprocess.Popen.__new__(subprocess.Popen)  # without a process
    worker.stdin, worker.stdout = io.BytesIO(), io.BytesIO(answer)
    with mmap.mmap(-1, 1000) as memory:
        assert json_workers._ask(worker, memory, 0, json_lines.survey(lines), range(2), 8) is None


def test_sentences_stay_as_they_are_when_others_are_read(lines):
    reading = json_lines.read(lines, json_lines.survey(lines))
    kept = [next(reading) for _ in range(10)]
    copies = [vectors.copy() for vectors in kept]
    assert len(list(reading)) == 10
    same(kept, copies)


def test_a_reading_is_given_up_though_a_process_does_not_answer(lines, started):
    reading = json_lines.read(lines, json_lines.survey(lines))
    next(reading)
    for worker in started:
        os.kill(worker.pid, signal.SIGSTOP)
    giving_up = threading.Thread(target=reading.close, daemon=True)
    giving_up.start()
    giving_up.join(60)
    assert not giving_up.is_alive()


def test_a_reading_that_is_given_up_leaves_no_process(lines, started):
    reading = json_lines.read(lines, json_lines.survey(lines))
    next(reading)
    reading.close()
    assert len(started) == 2
    assert all(worker.returncode is not None for worker in started)
