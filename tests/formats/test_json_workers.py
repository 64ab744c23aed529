import os
import signal
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_json_lines import sentence, values, write

from jaxred.errors import UserError
from jaxred.formats import json_lines, json_workers


@pytest.fixture(autouse=True)
def small_files_are_shared_too(monkeypatch):
    monkeypatch.setattr(json_lines, "_PARALLEL_BYTES", 0)
    monkeypatch.setattr(json_lines, "_CHUNK_BYTES", 500)
    monkeypatch.setattr(json_workers, "available", lambda: 2)


@pytest.fixture
def lines(tmp_path):
    return write(tmp_path / "a.json", *(sentence(values(1 + i % 3, i)) for i in range(20)))


def read(path, found=None, **options):
    return list(json_lines.read(path, found or json_lines.survey(path), **options))


def same(found, expected):
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 12), st.booleans())
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_processes_read_what_one_does(tmp_path_factory, lengths, first, newline):
    sentences = [values(n, seed) for seed, n in enumerate(lengths)]
    path = tmp_path_factory.mktemp("lines") / "a.json"
    write(path, *(sentence(vectors) for vectors in sentences), end="\n" if newline else "")
    same(read(path, first=first), sentences[first:])


def test_one_token_stands_for_a_sentence(tmp_path):
    sentences = [values(3, seed) for seed in range(8)]
    path = write(tmp_path / "a.json", *(sentence(vectors, ["[CLS]", "a", "b"]) for vectors in sentences))
    same(read(path, sentences_only=True), [vectors[:1] for vectors in sentences])


@pytest.mark.parametrize("bad", [0, 9, 19])
def test_a_bad_line_is_named(lines, bad):
    content = lines.read_text().splitlines()
    content[bad] = content[bad].replace("0.", "x.", 1)
    write(lines, *content)
    if bad == 0:
        with pytest.raises(UserError, match=r"line 1: it is not JSON"):
            read(lines)
        return
    found, got = json_lines.survey(lines), []
    with pytest.raises(UserError, match=rf"line {bad + 1}: it is not JSON"):
        got.extend(json_lines.read(lines, found))


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


def test_processes_that_die_or_do_not_start_are_not_missed(lines, monkeypatch):
    expected = [values(1 + i % 3, i) for i in range(20)]
    started, popen = [], subprocess.Popen

    def dying(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(json_workers.subprocess, "Popen", dying)
    reading = json_lines.read(lines, json_lines.survey(lines))
    got = [next(reading)]
    os.kill(started[1].pid, signal.SIGKILL)
    same([*got, *reading], expected)
    monkeypatch.setattr(json_workers.sys, "executable", "/bin/false")
    same(read(lines), expected)


def test_a_reading_that_is_given_up_leaves_no_process(lines, monkeypatch):
    started, popen = [], subprocess.Popen

    def watched(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(json_workers.subprocess, "Popen", watched)
    reading = json_lines.read(lines, json_lines.survey(lines))
    next(reading)
    reading.close()
    assert len(started) == 2
    assert all(worker.returncode is not None for worker in started)
