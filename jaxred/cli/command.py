"""The command `jaxred COMMAND [--flag=value ...]`: each command is the launcher of that name."""

import difflib
import os
import runpy
import sys
import textwrap
from collections.abc import Sequence

from jaxred import __version__
from jaxred.cli import packaged

# In the order of use; `tests/cli/test_command.py` compares them with the files of launch/.
COMMANDS = (
    "study",
    "finetune",
    "extract",
    "pipeline",
    "cluster-sweep",
    "minimal-neurons",
    "rankings",
    "controls",
    "redundancy",
    "ablation",
    "neurons",
    "report",
    "export",
    "predict",
    "convert",
    "convert-checkpoint",
    "install-model",
)
_HELP = ("help", "--help", "-help", "-h", "-?", "--helpshort", "--helpfull")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0, 2 on bad input, 130 when interrupted.

    Args:
        arguments: those of the command line, by default `sys.argv[1:]`; the first names the command.
    """
    name, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    if name in _HELP and rest and rest[0] in COMMANDS:  # jaxred help study
        name, rest = rest[0], ["--help"]
    if name in _HELP:
        _print(_overview())
    elif name in ("--version", "-version", "version"):
        _print(f"jaxred {__version__}")
    elif name in COMMANDS:
        _run(name, rest)
    else:
        print(f"error: {_unknown(name)}", file=sys.stderr)
        sys.exit(2)


def _run(name: str, flags: Sequence[str]) -> None:
    from jaxred.cli import app

    path = packaged.launchers()[name]
    sys.argv = [str(path), *flags]
    app.set_program(f"jaxred {name}")
    runpy.run_path(str(path), run_name="__main__")


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _overview() -> str:
    """The text of `jaxred --help`."""
    paths, width = packaged.launchers(), max(map(len, COMMANDS))
    lines = [
        textwrap.fill(packaged.summary(paths[name]), 120, initial_indent=f"  {name:{width}}  ",
                      subsequent_indent=" " * (width + 4))
        for name in COMMANDS
    ]  # fmt: skip
    return "\n".join(
        [
            "jaxred measures how much of a pretrained transformer is redundant, and finds the few layers and neurons",
            "that a task needs.",
            "",
            "usage: jaxred COMMAND [--config=NAME] [--config.FIELD=VALUE ...] [--workdir=FOLDER] [--FLAG=VALUE ...]",
            "",
            "Commands:",
            *lines,
            "",
            textwrap.fill(f"Packaged configurations (--config=NAME): {', '.join(packaged.configs())}.", 120),
            "",
            "  jaxred study --config=demo --workdir=runs/demo   runs a study of the built-in movie reviews",
            "  jaxred study --help                              lists the flags and the fields of the configuration",
            "  jaxred --version                                 prints the version",
        ]
    )


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.replace("_", "-"), COMMANDS, 1)
    if name.startswith("-"):
        return f"The first argument must be a command and not {name!r}, as in jaxred study {name}; see jaxred --help."
    meant = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(COMMANDS)}."
    return f"jaxred has no command {name!r}: {meant}"
