"""Lines of JSON parsed by several processes, since one Python process parses on one core.

The processes are those of joblib's loky. While they start, the first lines are parsed here. Where no process can be
started, or one has died, the other lines are parsed here too.
"""

import contextlib
import functools
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxred.activations.files.json_runs import run_parser
from jaxred.activations.files.survey import Survey
from jaxred.io.processors import n_cores

MAX_WORKERS = 8  # more would wait for the process that takes their answers
_CHUNKS_AHEAD = 2  # per process, parsed before they are needed; loky queues so many, and stops badly with more waiting
_IDLE_SECONDS = 10  # after which a process ends whose parent was killed
_LARGEST = float(np.finfo(np.float32).max)
_parser = functools.cache(run_parser)  # a parser uses its memory again


class _Task(NamedTuple):
    """A chunk of lines, and how to parse it."""

    path: Path
    start: int  # in bytes
    stop: int
    n_layers: int
    hidden_size: int
    sentences_only: bool


class _Run(NamedTuple):
    """What fast parsing makes of a chunk of lines."""

    tokens: list[int]  # of each line
    numbers: Float[np.ndarray, " number"]  # all numbers of their vectors


def available() -> int:
    """How many processes are useful."""
    cores = n_cores()
    return min(cores, MAX_WORKERS)


def parse(
    path: Path, survey: Survey, chunks: Sequence[range], sentences_only: bool, n_workers: int
) -> Generator[list[Float[np.ndarray, "_token layer neuron"]] | None, None, None]:
    """The vectors of the sentences of each chunk of lines, in order.

    Args:
        path: the file.
        survey: what the file holds.
        chunks: runs of lines, numbered from 0.
        sentences_only: as in `jaxred.activations.files.json_lines.read`.
        n_workers: processes; with fewer than 2, everything is parsed here.

    Yields:
        The sentences of a chunk; None if one of its lines is bad or unusual.
    """
    tasks = [
        _Task(
            path, survey.offsets[chunk.start], survey.offsets[chunk.stop], survey.n_layers, survey.hidden_size,
            sentences_only,
        )
        for chunk in chunks
    ]  # fmt: skip
    in_processes = (
        _in_processes(tasks, n_workers) if n_workers > 1 else contextlib.nullcontext(map(_parse_chunk, tasks))
    )
    with in_processes as runs:
        for chunk, run in zip(chunks, runs, strict=True):
            yield _sentences(run, survey, chunk, sentences_only)


@contextlib.contextmanager
def _in_processes(tasks: Sequence[_Task], n_workers: int) -> Iterator[Iterator[_Run | None]]:
    """What processes make of each chunk, in order; a bounded number of chunks is parsed ahead."""
    from joblib.externals.loky import ProcessPoolExecutor  # here, because importing it takes a tenth of a second

    def submit(work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        with _interrupts_blocked():
            try:
                return pool.submit(work, *arguments)
            except (OSError, RuntimeError) as error:  # no process can be started, or one has died
                failed: Future[Any] = Future()
                failed.set_exception(error)
                return failed

    def runs() -> Iterator[_Run | None]:
        started = submit(os.getpid)
        waiting, running = deque(tasks), deque[tuple[_Task, Future[_Run | None]]]()
        while waiting and not _has_started(started):
            yield _parse_chunk(waiting.popleft())
        while waiting or running:
            while waiting and len(running) < n_workers * _CHUNKS_AHEAD:
                task = waiting.popleft()
                running.append((task, submit(_parse_chunk, task)))
            task, future = running.popleft()
            died = isinstance(future.exception(), OSError | RuntimeError)
            yield _parse_chunk(task) if died else future.result()

    try:
        pool = ProcessPoolExecutor(n_workers, timeout=_IDLE_SECONDS)
        resource_tracker.ensure_running()  # now, as starting it unblocks interrupts
    except OSError:  # no semaphores, or too few file handles
        yield map(_parse_chunk, tasks)
        return
    try:
        yield runs()
    finally:
        pool.shutdown(kill_workers=True)


def _has_started(first: Future[int]) -> bool:
    """Whether a process has answered its first call; not waited for, as lines are parsed here meanwhile."""
    return first.done() and first.exception() is None


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes that are started meanwhile never see Ctrl-C, which a terminal sends to all: this one ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _parse_chunk(task: _Task) -> _Run | None:
    """Fast parsing of some lines; None if one of them is bad or unusual."""
    with task.path.open("rb", buffering=0) as file:
        file.seek(task.start)
        text = file.read(task.stop - task.start)
    run = _parser(task.n_layers, task.hidden_size, task.sentences_only)(text)
    return None if run is None else _Run(run[0], np.frombuffer(b"".join(run[1])))


def _sentences(
    run: _Run | None, survey: Survey, chunk: range, sentences_only: bool
) -> list[Float[np.ndarray, "_token layer neuron"]] | None:
    """The sentences of a run, if it fits the survey and float32 can hold its numbers."""
    if run is None or run.tokens != survey.tokens[chunk.start : chunk.stop]:
        return None
    if not np.einsum("n,n->", run.numbers, run.numbers) <= _LARGEST**2:  # one pass; a sum that is large says nothing
        return None
    vectors = run.numbers.reshape(-1, survey.n_layers, survey.hidden_size)
    sizes = np.ones(len(chunk), np.int64) if sentences_only else np.array(run.tokens)
    return np.split(vectors, np.cumsum(sizes)[:-1])
