"""Lines of JSON parsed by several processes, since one Python process parses on one core.

A process is `jaxred.formats.json_runs` run as a program. While processes start, the first lines are parsed here.
"""

import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from jaxtyping import Float

from jaxred.formats.json_runs import ANSWER, QUESTION, REFUSED, Run, run_parser
from jaxred.formats.survey import Survey

MOST_WORKERS = 8  # more would wait for the process that takes their answers
_PIPE_BYTES = 2**20  # held by a pipe, where the system lets it be set: an answer, in few turns between two processes
_CHUNKS_AHEAD = 4  # a process, that may be parsed before they are wanted: cores are not equally free at all times
_OWN_CHUNKS = 16  # parsed here while processes start
_Worker = subprocess.Popen[bytes]
_LARGEST = float(np.finfo(np.float32).max)


def available() -> int:
    """How many processes are of use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


def parse(
    path: Path, survey: Survey, chunks: Sequence[range], sentences_only: bool, n_workers: int
) -> Generator[list[Float[np.ndarray, "token layer neuron"]] | None, None, None]:
    """The vectors of the sentences of each chunk of lines, in order.

    Args:
        path: the file.
        survey: what was found in it.
        chunks: runs of lines, numbered from 0.
        sentences_only: as in `jaxred.formats.json_lines.read`.
        n_workers: processes; with less than 2, all is parsed here.

    Yields:
        The sentences of a chunk; None where one of its lines is bad or unusual, or its process could not be started or
        has died.
    """
    others = chunks[_OWN_CHUNKS:] if n_workers > 1 else []
    own = chunks[: len(chunks) - len(others)]
    n_workers = min(n_workers, len(others))
    arguments = [str(path.absolute()), str(survey.n_layers), str(survey.hidden_size), str(int(sentences_only))]
    idle: SimpleQueue[_Worker] = SimpleQueue()

    def parse_there(chunk: range) -> Run | None:
        worker = idle.get()
        try:
            return _ask(worker, survey, chunk)
        finally:
            idle.put(worker)

    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_worker(arguments)) for _ in range(n_workers)]
        threads = stack.enter_context(ThreadPoolExecutor(max(1, n_workers)))  # one waits for each worker
        for worker in workers:
            idle.put(worker)
            stack.callback(worker.kill)  # before its thread is waited for
        n_ahead = n_workers * _CHUNKS_AHEAD
        asked = deque(threads.submit(parse_there, chunk) for chunk in others[:n_ahead])
        parse_here = run_parser(survey.n_layers, survey.hidden_size, sentences_only)
        with path.open("rb", buffering=0) as file:
            for chunk in own:
                file.seek(survey.offsets[chunk.start])
                run = parse_here(file.read(survey.offsets[chunk.stop] - survey.offsets[chunk.start]))
                yield _sentences(run, survey, chunk, sentences_only)
        for i, chunk in enumerate(others):
            run = asked.popleft().result()
            if i + n_ahead < len(others):
                asked.append(threads.submit(parse_there, others[i + n_ahead]))
            yield _sentences(run, survey, chunk, sentences_only)


@contextlib.contextmanager
def _worker(arguments: list[str]) -> Iterator[_Worker]:
    command = [sys.executable, "-m", "jaxred.formats.json_runs", *arguments]
    python_path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, python_path))}
    pipe = subprocess.PIPE
    worker = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, pipesize=_PIPE_BYTES
    )
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


def _ask(worker: _Worker, survey: Survey, chunk: range) -> Run | None:
    """What a process makes of a chunk; None where it refuses it or has died."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    start, stop = survey.offsets[chunk.start], survey.offsets[chunk.stop]
    with contextlib.suppress(OSError):  # that it has died is seen when it does not answer
        worker.stdin.write(QUESTION.pack(start, stop - start))
        worker.stdin.flush()
    header = worker.stdout.read(ANSWER.size)
    n_lines, n_bytes = ANSWER.unpack(header) if len(header) == ANSWER.size else REFUSED
    if (n_lines, n_bytes) == REFUSED:
        return None
    tokens = np.frombuffer(worker.stdout.read(8 * n_lines), np.int64).tolist()
    vectors = worker.stdout.read(n_bytes)
    return (tokens, vectors) if len(vectors) == n_bytes else None


def _sentences(
    run: Run | None, survey: Survey, chunk: range, sentences_only: bool
) -> list[Float[np.ndarray, "token layer neuron"]] | None:
    """The sentences of a run, where it is what the survey found and float32 can hold its numbers."""
    if run is None or run[0] != survey.tokens[chunk.start : chunk.stop]:
        return None
    vectors = np.frombuffer(run[1], np.float64).reshape(-1, survey.n_layers, survey.hidden_size)
    if vectors.size and (vectors.min() < -_LARGEST or vectors.max() > _LARGEST):
        return None
    sizes = np.ones(len(chunk), np.int64) if sentences_only else np.array(run[0])
    return np.split(vectors, np.cumsum(sizes)[:-1])
