"""Lines of JSON parsed by several processes, since one Python process parses on one core.

A process is this module run as a program. It is told where lines begin, reads them from the file itself, and answers
with their vectors. It ends when its input ends, as it does when whoever started it has ended, by whatever way.
"""

import contextlib
import os
import struct
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Float

from jaxred.errors import UserError
from jaxred.formats.json_parsing import sentence_parser
from jaxred.formats.survey import Survey

MOST_WORKERS = 8  # more would wait for the process that takes their answers
_PIPE_BYTES = 2**20  # held by a pipe, where the system lets it be set: fewer turns between two processes
_QUESTION = struct.Struct("<qqq")  # where the lines begin in the file, the first one's number, how many they are
_ANSWER = struct.Struct("<q")  # how many bytes of vectors follow the tokens of each line; -1 where a line is bad


def available() -> int:
    """How many processes are of use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


def parse(
    path: Path, survey: Survey, chunks: Sequence[range], sentences_only: bool
) -> Generator[list[Float[np.ndarray, "token layer neuron"]] | None, None, None]:
    """The vectors of the sentences of each chunk of lines, in order.

    Args:
        path: the file.
        survey: what was found in it.
        chunks: runs of lines, numbered from 0.
        sentences_only: as in `jaxred.formats.json_lines.read`.

    Yields:
        The sentences of a chunk; None where one of its lines is bad, or its process could not be started or has died.
    """
    arguments = [str(path.absolute()), str(survey.n_layers), str(survey.hidden_size), str(int(sentences_only))]
    command = [sys.executable, "-m", "jaxred.formats.json_workers", *arguments]
    python_path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, python_path))}
    n_workers = min(available(), len(chunks))
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_worker(command, environment)) for _ in range(n_workers)]
        for worker, chunk in zip(workers, chunks, strict=False):
            _ask(worker, survey, chunk)
        for i, chunk in enumerate(chunks):
            worker = workers[i % n_workers]
            answer = _answer(worker, survey, chunk, sentences_only)
            if i + n_workers < len(chunks):
                _ask(worker, survey, chunks[i + n_workers])
            yield answer


@contextlib.contextmanager
def _worker(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    worker = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, pipesize=_PIPE_BYTES
    )
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


def _ask(worker: subprocess.Popen[bytes], survey: Survey, chunk: range) -> None:
    assert worker.stdin is not None
    with contextlib.suppress(OSError):  # that it has died is seen when it does not answer
        worker.stdin.write(_QUESTION.pack(survey.offsets[chunk.start], chunk.start + 1, len(chunk)))
        worker.stdin.flush()


def _answer(
    worker: subprocess.Popen[bytes], survey: Survey, chunk: range, sentences_only: bool
) -> list[np.ndarray] | None:
    assert worker.stdout is not None
    header = worker.stdout.read(_ANSWER.size)
    n_bytes = _ANSWER.unpack(header)[0] if len(header) == _ANSWER.size else -1
    if n_bytes < 0:
        return None
    tokens = np.frombuffer(worker.stdout.read(8 * len(chunk)), np.int64)
    raw = worker.stdout.read(n_bytes)
    if tokens.tolist() != survey.tokens[chunk.start : chunk.stop] or len(raw) < n_bytes:
        return None
    vectors = np.frombuffer(raw, np.float64).reshape(-1, survey.n_layers, survey.hidden_size)
    sizes = np.ones(len(chunk), np.int64) if sentences_only else tokens
    return np.split(vectors, np.cumsum(sizes)[:-1])


def main(path: str, n_layers: str, hidden_size: str, sentences_only: str) -> None:
    """Answers until the input ends."""
    parse_line = sentence_parser(Path(path), int(n_layers), int(hidden_size), bool(int(sentences_only)))
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    with open(path, "rb") as file:
        while len(question := questions.read(_QUESTION.size)) == _QUESTION.size:
            offset, number, n_lines = _QUESTION.unpack(question)
            file.seek(offset)
            _write_answer(answers, [parse_line(file.readline(), number + i, None) for i in range(n_lines)])


def _write_answer(file: IO[bytes], found: list[tuple[int, np.ndarray]]) -> None:
    file.write(_ANSWER.pack(sum(vectors.nbytes for _, vectors in found)))
    file.write(np.array([n_tokens for n_tokens, _ in found], np.int64).data)
    for _, vectors in found:
        file.write(vectors.data)
    file.flush()


if __name__ == "__main__":
    with contextlib.suppress(UserError, OSError, KeyboardInterrupt):  # no answer, and whoever asked looks for itself
        main(*sys.argv[1:])
