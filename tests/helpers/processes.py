"""Processes of tests: a server that has imported everything forks them, so that each starts in a moment."""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

ROOT = Path(__file__).parents[2]
PRELOAD = (
    "jaxred.cli.app",
    "jaxred.activations.files.conversion",
    "jaxred.runs.study",
    "jaxred.models.conversion",
    "transformers.models.auto.tokenization_auto",
)  # none starts a thread or JAX's devices, which a fork must not find


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Starts a function that can be pickled."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def launch(name: str, *flags: str, cwd: Path = ROOT) -> CompletedProcess[str]:
    """What a launcher does with flags: its exit status and all that it prints."""
    script = str(ROOT / "launch" / f"{name}.py")
    return _finished(_run_script, [script, *flags], cwd)


def run_program(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """What a program's text does, with variables that are set before JAX starts its devices."""
    return _finished(_run_program, ["-c", *arguments], ROOT, program, dict(environment or {}))


def _finished(
    target: Callable[..., None], argv: Sequence[str], cwd: Path, *arguments: Any, timeout: float = 300
) -> CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / name) for name in ("stdout", "stderr")]
        process = start(target, list(argv), str(cwd), files, *arguments)
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
        out, err = (Path(file).read_text() if Path(file).exists() else "" for file in files)
    assert process.exitcode is not None
    return CompletedProcess(list(argv), process.exitcode, out, err)


def _settle(argv: list[str], cwd: str, files: Sequence[str]) -> None:
    """Makes the process what a shell would have started."""
    for number, name in enumerate(files, start=1):
        with open(name, "wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(cwd)
    sys.argv = argv


def _run_script(argv: list[str], cwd: str, files: Sequence[str]) -> None:
    _settle(argv, cwd, files)
    runpy.run_path(argv[0], run_name="__main__")


def _run_program(argv: list[str], cwd: str, files: Sequence[str], program: str, environment: Mapping[str, str]) -> None:
    _settle(argv, cwd, files)
    own = (
        {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {environment['XLA_FLAGS']}"}
        if "XLA_FLAGS" in environment
        else {}
    )
    os.environ.update({**environment, **own})  # the suite's own flags hold too
    exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
