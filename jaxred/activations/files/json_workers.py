"""Lines of JSON parsed by several processes, since one Python process parses on one core.

A process is `json_runs` run as a program, which puts vectors into memory that is shared with it: a pipe would have them
copied twice. While processes start, the first lines are parsed here.
"""

import contextlib
import mmap
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from jaxtyping import Float

from jaxred.activations.files.json_runs import ANSWER, QUESTION, REFUSED, run_parser
from jaxred.activations.files.survey import Survey

MOST_WORKERS = 8  # more would wait for the process that takes their answers
_CHUNKS_AHEAD = 4  # a process, that may be parsed before they are wanted: cores are not equally free at all times
_OWN_CHUNKS = 16  # parsed here while processes start
_Worker = subprocess.Popen[bytes]
_Run = tuple[list[int], Float[np.ndarray, " number"]]  # the tokens of each line; all numbers of their vectors
_LARGEST = float(np.finfo(np.float32).max)


def available() -> int:
    """How many processes are of use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


def parse(
    path: Path, survey: Survey, chunks: Sequence[range], sentences_only: bool, n_workers: int
) -> Generator[list[Float[np.ndarray, "_token layer neuron"]] | None, None, None]:
    """The vectors of the sentences of each chunk of lines, in order.

    Args:
        path: the file.
        survey: what was found in it.
        chunks: runs of lines, numbered from 0.
        sentences_only: as in `jaxred.activations.files.json_lines.read`.
        n_workers: processes; with less than 2, all is parsed here.

    Yields:
        The sentences of a chunk; None where one of its lines is bad or unusual, or its process could not be started or
        has died.
    """
    others = chunks[_OWN_CHUNKS:] if n_workers > 1 else []
    own = chunks[: len(chunks) - len(others)]
    with path.open("rb", buffering=0) as file:
        parse_here = run_parser(survey.n_layers, survey.hidden_size, sentences_only)
        with _parsing(path, survey, others, sentences_only, min(n_workers, len(others))) as runs:
            for chunk in own:
                file.seek(survey.offsets[chunk.start])
                run = parse_here(file.read(survey.offsets[chunk.stop] - survey.offsets[chunk.start]))
                found = None if run is None else (run[0], np.frombuffer(b"".join(run[1])))
                yield _sentences(found, survey, chunk, sentences_only)
            for chunk, found in zip(others, runs, strict=True):
                yield _sentences(found, survey, chunk, sentences_only)


@contextlib.contextmanager
def _parsing(
    path: Path, survey: Survey, chunks: Sequence[range], sentences_only: bool, n_workers: int
) -> Iterator[Iterator[_Run | None]]:
    """What processes make of each chunk, in order; they start at once and are asked ahead of what is wanted."""
    place_bytes = max((_vector_bytes(survey, chunk, sentences_only) for chunk in chunks), default=0)
    with contextlib.ExitStack() as stack:
        descriptor, memory = stack.enter_context(_shared_memory(max(1, n_workers * place_bytes)))
        arguments = [path.absolute(), survey.n_layers, survey.hidden_size, int(sentences_only), descriptor]
        workers = [stack.enter_context(_worker(list(map(str, arguments)), descriptor)) for _ in range(n_workers)]
        threads = stack.enter_context(ThreadPoolExecutor(max(1, n_workers)))  # one waits for each worker
        idle: SimpleQueue[tuple[_Worker, int]] = SimpleQueue()
        for i, worker in enumerate(workers):
            idle.put((worker, i * place_bytes))
            stack.callback(worker.kill)  # before its thread is waited for

        def parse_there(chunk: range) -> _Run | None:
            worker, place = idle.get()
            try:
                return _ask(worker, memory, place, survey, chunk, _vector_bytes(survey, chunk, sentences_only))
            finally:
                idle.put((worker, place))

        asked = deque(threads.submit(parse_there, chunk) for chunk in chunks[: n_workers * _CHUNKS_AHEAD])

        def in_order() -> Iterator[_Run | None]:
            for i in range(len(chunks)):
                run = asked.popleft().result()
                if i + n_workers * _CHUNKS_AHEAD < len(chunks):
                    asked.append(threads.submit(parse_there, chunks[i + n_workers * _CHUNKS_AHEAD]))
                yield run

        yield in_order()


def _vector_bytes(survey: Survey, chunk: range, sentences_only: bool) -> int:
    n_vectors = len(chunk) if sentences_only else sum(survey.tokens[chunk.start : chunk.stop])
    return 8 * n_vectors * survey.n_layers * survey.hidden_size


@contextlib.contextmanager
def _shared_memory(n_bytes: int) -> Iterator[tuple[int, mmap.mmap]]:
    """Memory that other processes reach by its file descriptor; no file, where the system has such."""
    anonymous = hasattr(os, "memfd_create")
    with os.fdopen(os.memfd_create("jaxred"), "r+b") if anonymous else tempfile.TemporaryFile() as file:
        file.truncate(n_bytes)
        with mmap.mmap(file.fileno(), n_bytes) as memory:
            yield file.fileno(), memory


@contextlib.contextmanager
def _worker(arguments: list[str], descriptor: int) -> Iterator[_Worker]:
    command = [
        sys.executable,
        "-S",
        "-m",
        "jaxred.activations.files.json_runs",
        *arguments,
    ]  # looking for packages takes time
    python_path = [str(Path(__file__).parents[3]), *filter(None, sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(python_path)}
    pipe = subprocess.PIPE
    worker = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, pass_fds=[descriptor]
    )
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


def _ask(worker: _Worker, memory: mmap.mmap, place: int, survey: Survey, chunk: range, n_bytes: int) -> _Run | None:
    """What a process makes of a chunk; None where it refuses it or has died."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    start, stop = survey.offsets[chunk.start], survey.offsets[chunk.stop]
    with contextlib.suppress(OSError):  # that it has died is seen when it does not answer
        worker.stdin.write(QUESTION.pack(start, stop - start, place, n_bytes))
        worker.stdin.flush()
    answer = worker.stdout.read(ANSWER.size)
    (n_lines,) = ANSWER.unpack(answer) if len(answer) == ANSWER.size else (REFUSED,)
    if n_lines == REFUSED:
        return None
    tokens = worker.stdout.read(8 * n_lines)
    if len(tokens) < 8 * n_lines:
        return None
    return np.frombuffer(tokens, np.int64).tolist(), np.frombuffer(memory, count=n_bytes // 8, offset=place).copy()


def _sentences(
    run: _Run | None, survey: Survey, chunk: range, sentences_only: bool
) -> list[Float[np.ndarray, "_token layer neuron"]] | None:
    """The sentences of a run, where it is what the survey found and float32 can hold its numbers."""
    if run is None or run[0] != survey.tokens[chunk.start : chunk.stop]:
        return None
    vectors = run[1].reshape(-1, survey.n_layers, survey.hidden_size)
    if not np.einsum("n,n->", run[1], run[1]) <= _LARGEST**2:  # in one pass; a sum that is large says nothing
        return None
    sizes = np.ones(len(chunk), np.int64) if sentences_only else np.array(run[0])
    return np.split(vectors, np.cumsum(sizes)[:-1])
