import os
import signal
import threading
import time
from dataclasses import replace
from multiprocessing import resource_tracker

import pytest
from helpers.made_up_lines import same, sentence, values, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joblib.externals import loky

from jaxred.activations.files import json_lines, json_workers
from jaxred.errors import UserError


@pytest.fixture(autouse=True)
def small_files_are_shared_too(monkeypatch):
    monkeypatch.setattr(json_lines, "_PARALLEL_BYTES", 0)
    monkeypatch.setattr(json_lines, "_CHUNK_BYTES", 500)
    monkeypatch.setattr(json_workers, "available", lambda: 2)
    monkeypatch.setattr(json_workers, "_has_started", lambda first: first.result(60) > 0)


@pytest.fixture
def lines(tmp_path):
    return write(tmp_path / "a.json", *(sentence(values(1 + i % 3, i)) for i in range(20)))


@pytest.fixture
def parsed_here(monkeypatch):
    """The chunks that this process has parsed."""
    chunks, parser = [], json_workers._parser

    def watched(*shape):
        parse = parser(*shape)
        return lambda text: chunks.append(text) or parse(text)

    monkeypatch.setattr(json_workers, "_parser", watched)
    return chunks


@pytest.fixture
def pools(monkeypatch):
    """The pools of processes that a test has started."""
    started, executor = [], loky.ProcessPoolExecutor

    def watched(*arguments, **options):
        started.append(executor(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(loky, "ProcessPoolExecutor", watched)
    return started


def processes(pools):
    return [process for pool in pools for process in pool._processes.values()]


def ended(pid):
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def read(path, survey=None, **options):
    return list(json_lines.read(path, survey or json_lines.survey(path), **options))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 12), st.booleans(), st.booleans())
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_processes_read_what_one_does(tmp_path_factory, lengths, first, newline, sentences_only):
    sentences = [values(n, seed) for seed, n in enumerate(lengths)]
    path = tmp_path_factory.mktemp("lines") / "a.json"
    lines = [sentence(vectors, ["[CLS]", "a", "b", "c"][: len(vectors)]) for vectors in sentences]
    write(path, *lines, end="\n" if newline else "")
    expected = [vectors[:1] if sentences_only else vectors for vectors in sentences[first:]]
    same(read(path, first=first, sentences_only=sentences_only), expected)


@pytest.mark.parametrize("n_here", [1, 3, 100])
def test_lines_that_are_parsed_while_processes_start_are_no_others(lines, parsed_here, pools, n_here, monkeypatch):
    asked = []
    monkeypatch.setattr(json_workers, "_has_started", lambda first: asked.append(first) or len(asked) > n_here)
    same(read(lines), [values(1 + i % 3, i) for i in range(20)])
    assert len(pools) == 1
    n_chunks = len(json_lines._chunks(json_lines.survey(lines), 0))
    assert len(parsed_here) == min(n_here, n_chunks)


def test_a_number_that_float32_cannot_hold_is_named(lines):
    content = lines.read_text().splitlines()
    content[15] = sentence(values(1) * 1e39)
    write(lines, *content)
    with pytest.raises(UserError, match="line 16: the value of token 0, layer 0, neuron 2 is 6"):
        read(lines)


@pytest.mark.parametrize("bad", [9, 19])
def test_a_bad_line_is_named(lines, bad):
    content = lines.read_text().splitlines()
    content[bad] = content[bad].replace("0.", "x.", 1)
    write(lines, *content)
    with pytest.raises(UserError, match=rf"line {bad + 1}: it is not JSON"):
        read(lines)


def test_a_file_that_changes_while_it_is_read_is_named(lines):
    survey = json_lines.survey(lines)
    content = lines.read_text().splitlines()
    write(lines, *content, content[0])
    with pytest.raises(UserError, match="line 21: its tokens cannot be counted"):
        read(lines, survey)
    write(lines, *content[:-1])
    with pytest.raises(UserError):
        read(lines, survey)


def test_another_number_of_tokens_than_was_counted_is_named(lines):
    survey = json_lines.survey(lines)
    tokens = [n + 1 if i == 5 else n for i, n in enumerate(survey.tokens)]
    with pytest.raises(UserError, match="line 6: its tokens cannot be counted"):
        read(lines, replace(survey, tokens=tokens))


def test_a_process_that_is_killed_is_replaced_by_parsing_here(lines, parsed_here, pools):
    reading = json_lines.read(lines, json_lines.survey(lines))
    sentences = [next(reading)]
    for process in processes(pools):
        os.kill(process.pid, signal.SIGKILL)
    same([*sentences, *reading], [values(1 + i % 3, i) for i in range(20)])
    assert parsed_here


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), RuntimeError("broken")])
def test_processes_that_do_not_start_are_replaced_by_parsing_here(lines, error, monkeypatch):
    def fails(*arguments, **options):
        raise error

    monkeypatch.setattr(json_workers, "_has_started", lambda first: first.done() and first.exception() is None)
    monkeypatch.setattr(loky.ProcessPoolExecutor, "submit", fails)
    same(read(lines), [values(1 + i % 3, i) for i in range(20)])
    monkeypatch.setattr(loky, "ProcessPoolExecutor", fails)
    if isinstance(error, OSError):
        same(read(lines), [values(1 + i % 3, i) for i in range(20)])


def test_processes_leave_nothing_to_be_read_again(tmp_path, parsed_here, pools, monkeypatch):
    again = []
    monkeypatch.setattr(json_lines, "_read_lines", lambda *asked: iter(again.append(asked[2:4]) or []))
    path = write(tmp_path / "a.json", *(sentence(values(1, i)) for i in range(100)))
    same(read(path), [values(1, i) for i in range(100)])  # many times as many as are parsed ahead
    assert len(pools) == 1
    assert not parsed_here
    assert again == [(100, None)]  # only the end of the file, where nothing may follow


def test_a_bounded_number_of_chunks_is_parsed_ahead(tmp_path, monkeypatch):
    path = write(tmp_path / "a.json", *(sentence(values(1, i)) for i in range(100)))
    submitted, submit = [], loky.ProcessPoolExecutor.submit

    def watched(pool, work, *arguments):
        submitted.append(work)
        return submit(pool, work, *arguments)

    monkeypatch.setattr(loky.ProcessPoolExecutor, "submit", watched)
    reading = json_lines.read(path, json_lines.survey(path))
    next(reading)
    assert submitted.count(json_workers._parse_chunk) == 2 * json_workers._CHUNKS_AHEAD
    reading.close()


def test_processes_do_not_see_ctrl_c(lines, parsed_here, pools, monkeypatch):
    monkeypatch.setattr(resource_tracker._resource_tracker, "_fd", None)  # as in a process that has started none yet
    reading = json_lines.read(lines, json_lines.survey(lines))
    sentences = [next(reading)]
    for process in processes(pools):
        os.kill(process.pid, signal.SIGINT)
    same([*sentences, *reading], [values(1 + i % 3, i) for i in range(20)])
    assert not parsed_here
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())  # this process still does


def test_one_core_starts_no_process(lines, pools, monkeypatch):
    monkeypatch.setattr(json_workers, "available", lambda: 1)
    same(read(lines), [values(1 + i % 3, i) for i in range(20)])
    assert not pools


def test_sentences_stay_as_they_are_when_others_are_read(lines):
    reading = json_lines.read(lines, json_lines.survey(lines))
    kept = [next(reading) for _ in range(10)]
    copies = [vectors.copy() for vectors in kept]
    assert len(list(reading)) == 10
    same(kept, copies)


@pytest.mark.parametrize("stop", [None, signal.SIGSTOP])  # also of processes that do not answer
def test_a_reading_that_is_given_up_leaves_no_process(lines, pools, stop):
    reading = json_lines.read(lines, json_lines.survey(lines))
    next(reading)
    pids = [process.pid for process in processes(pools)]
    assert len(pids) == 2
    for pid in pids if stop else []:
        os.kill(pid, stop)
    giving_up = threading.Thread(target=reading.close, daemon=True)
    giving_up.start()
    giving_up.join(60)
    assert not giving_up.is_alive()
    assert all(ended(pid) for pid in pids)
