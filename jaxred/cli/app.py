"""What all launchers share: flags, logging, exit codes, and one sentence instead of a traceback."""

# ruff: noqa: E402
import difflib
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from jaxred.cli import environment, packaged

_UNHEEDED = environment.settle()  # before what follows imports JAX

from jaxred.cli import help as command_help
from jaxred.cli import together
from jaxred.cli.flag_names import as_flags
from jaxred.cli.refusals import refusal
from jaxred.config import StudyConfig, TaskConfig, unknown_field
from jaxred.errors import UserError
from jaxred.io.paths import local
from jaxred.io.processes import n_processes, own_number, wait_for_all
from jaxred.original import experiment
from jaxred.runs.workdir import locked
from jaxred.sweeps import runner
from jaxred.sweeps.grid import Sweep

DEFAULT_CONFIG = "demo"

_SHORT_HELP, _LONG_HELP = {"help", "helpshort", "h", "?"}, {"helpfull", "helpxml"}
_program = ""  # the command by which the launcher was started, such as `jaxred study`; empty for the launcher itself

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    help_string="The experiment: the name of a packaged configuration or a file whose get_config() returns a "
    f"StudyConfig or a Sweep; by default {DEFAULT_CONFIG}. --config.FIELD=VALUE sets a field of it.",
)
_WORKDIR = flags.DEFINE_string("workdir", "", "The folder in which the run keeps its activations, results and report.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what another configuration left in its place.")
_VERIFY = flags.DEFINE_bool(
    "verify", False, "First read all files of the workdir, activations too, and name those that are damaged."
)


def set_program(name: str) -> None:
    """Says by which command the launcher that runs next was started, such as `jaxred study`: help and errors name it
    instead of the launcher's file.
    """
    global _program
    _program = name


def run(main: Callable[[StudyConfig, str, bool], Any], with_others: bool = False) -> None:
    """Parses the flags, calls `main(config, workdir, overwrite)`, or calls it for every run if `--config` is a sweep,
    and exits: 0, 2 on bad input, 130 when interrupted.

    Args:
        main: the launcher's work.
        with_others: processes may do it together.
    """

    def call(argv: Sequence[str]) -> None:
        _refuse_arguments(argv)
        _log_to_stderr()
        environment.keep_compilations()
        config, work = _config(), _verified(main) if _VERIFY.value else main
        if with_others:
            together.join()
        if isinstance(config, Sweep):
            if n_processes() > 1:
                raise UserError("Processes work together on one run, but --config names a sweep: name one task.")
            overridden = config_flags.get_override_values(flags.FLAGS[_CONFIG.name])
            runner.run(work, config, _WORKDIR.value, _OVERWRITE.value, overridden)
        else:
            workdir = _WORKDIR.value or _own_workdir(config)
            with locked(workdir):  # until the last table is printed
                work(config, workdir, _OVERWRITE.value)

    _run(call, _with_config, (_CONFIG, _WORKDIR, _OVERWRITE, _VERIFY, *(together.FLAGS if with_others else ())))


def _verified(main: Callable[[StudyConfig, str, bool], Any]) -> Callable[[StudyConfig, str, bool], Any]:
    """The same work, after all files of the workdir have been read."""

    def verified(config: StudyConfig, workdir: str, overwrite: bool) -> Any:
        from jaxred.runs.verification import verify

        if own_number() == 0:
            verify(config, workdir)
        wait_for_all("read what is there")
        return main(config, workdir, overwrite)

    return verified


def run_without_workdir(main: Callable[[StudyConfig | None, bool], Any], sections: Sequence[str] = ()) -> None:
    """The same for a launcher that has flags of its own and no workdir: calls `main(config, overwrite)`, where the
    configuration is None unless `--config` names one.

    Args:
        main: the launcher's work.
        sections: the sections of the configuration that it reads, for --help.
    """

    def call(argv: Sequence[str]) -> None:
        _refuse_arguments(argv)
        _log_to_stderr()
        config = None if _CONFIG.value is None else _config()
        if isinstance(config, Sweep):
            raise UserError("--config names a sweep, which has several tasks: name the file of one study.")
        main(config, _OVERWRITE.value)

    _run(call, _with_resolved_config, (_CONFIG, _OVERWRITE), sections)


def _run(
    call: Callable[[Sequence[str]], None],
    arguments: Callable[[Sequence[str]], list[str]],
    own: Sequence[flags.FlagHolder],
    sections: Sequence[str] | None = None,
) -> None:
    """Calls with the command line's arguments, and exits."""
    environment.make_streams_safe()
    for flag in own:  # so that --help lists them
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[flag.name])
    asked = {argument.lstrip("-") for argument in sys.argv[1:] if argument.startswith("-")}
    try:
        if asked & _SHORT_HELP:
            print(_help(sections))
            sys.exit(0)
        _refuse_undecodable(sys.argv)
        app.run(call, arguments(sys.argv), flags_parser=_parse)
    except UserError as error:
        print(f"error: {_for_the_shell(str(error))}", file=sys.stderr)
        sys.exit(2)
    except SystemExit:
        if asked & _LONG_HELP:
            sys.exit(0)  # absl says 1
        raise
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (OSError, MemoryError, RuntimeError) as error:
        sentence = refusal(error)
        if sentence is None:
            raise
        print(f"error: {_for_the_shell(sentence)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Stopped. What was finished is kept; run again to resume.", file=sys.stderr)
        sys.exit(130)


def _for_the_shell(message: str) -> str:
    """A message of the library as whoever typed the command reads it: arguments are flags, and where jaxred was
    started as a command, launchers are commands too.
    """
    return _as_commands(as_flags(message)) if _program else as_flags(message)


def as_typed(command: str) -> str:
    """A command `python launch/NAME.py ...` as whoever started this launcher can type it: a command of `jaxred` where
    they did, and else with the Python that runs, where that is below the present folder (.venv/bin/python).
    """
    if _program:
        return _as_commands(command)
    python, here = Path(sys.executable), Path.cwd()
    return command.replace("python", str(python.relative_to(here)), 1) if python.is_relative_to(here) else command


def _as_commands(text: str) -> str:
    text = re.sub(r"(?:python )?launch/(\w+)\.py", lambda match: f"jaxred {match[1].replace('_', '-')}", text)
    return re.sub(r"--config=configs/([\w/]+)\.py", r"--config=\1", text)


def _help(sections: Sequence[str] | None) -> str:
    description = inspect.cleandoc(sys.modules["__main__"].__doc__ or "")
    own = sorted(flags.FLAGS.get_key_flags_for_module(sys.argv[0]), key=lambda flag: flag.name)
    usage = _program or f"python {os.path.relpath(sys.argv[0])}"
    return command_help.text(usage, _as_commands(description) if _program else description, own, sections)


def _refuse_undecodable(argv: Sequence[str]) -> None:
    """Names of files are written into results and stores, which are UTF-8."""
    for argument in argv:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UserError(f"The argument {argument!r} is not valid UTF-8: rename the file or the folder.") from None


def _refuse_arguments(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise UserError(f"Unknown argument {argv[1]!r}: every option is a flag, such as --workdir=runs/demo.")


def _with_config(argv: Sequence[str]) -> list[str]:
    """The arguments with the file of their configuration, the default one where they name none."""
    named = any(argument.lstrip("-").split("=")[0] == "config" for argument in argv)
    return _with_resolved_config(argv if named else [argv[0], f"--config={DEFAULT_CONFIG}", *argv[1:]])


def _with_resolved_config(argv: Sequence[str]) -> list[str]:
    """The arguments with the file that each `--config` means, where it is the name of a packaged configuration."""
    resolved, following = [], iter(argv)
    for argument in following:
        name, equals, value = argument.partition("=")
        if argument.startswith("-") and name.lstrip("-") == "config":
            value = value if equals else next(following, "")
            argument = f"--config={_config_file(value)}"
        resolved.append(argument)
    return resolved


def _config_file(value: str) -> str:
    """A packaged configuration's name, or a file, as the file; what follows a colon stays as it is."""
    name, colon, argument = value.partition(":")
    configs = packaged.configs()
    file = configs.get(name) or (local(name, "--config") if name else Path())
    if not file.is_file():
        near = difflib.get_close_matches(name, configs, 1)
        meant = f"did you mean {near[0]}? There are" if near else "give one, or one of"
        raise UserError(
            f"--config={value} is no packaged configuration and names no file: {meant} {', '.join(configs)}."
        )
    return f"{file}{colon}{argument}"


def _parse(argv: Sequence[str]) -> list[str]:
    """Flags to values.

    Raises:
        UserError: a flag is wrong, or a configuration file cannot be run.
    """
    try:
        return flags.FLAGS(argv)
    except UserError:
        raise
    except (flags.Error, KeyError) as error:
        if (own := _own_error(error)) is not None:
            raise own from None
        named = [argument.lstrip("-").partition("=")[0] for argument in argv]
        unknown = filter(
            None, (unknown_field(name.removeprefix("config.")) for name in named if name.startswith("config."))
        )
        hint = "See --help for the flags and the fields of --config."
        raise UserError(f"{next(unknown, _first_line(error))}. {hint}".replace("?.", "?")) from error
    except Exception as error:
        raise UserError(f"--config cannot be used ({type(error).__name__}: {_first_line(error)}).") from error


def _config() -> StudyConfig:
    config = _CONFIG.value
    try:
        fits = isinstance(config.task, TaskConfig)
    except OSError as error:  # ml_collections returns such an object for a file that it could not run
        raise UserError(f"--config cannot be loaded: {_first_line(error.__cause__ or error)}.") from error
    except AttributeError:
        fits = False
    if not fits:
        raise UserError(
            f"--config must name a file whose get_config() returns a StudyConfig or a Sweep, not {type(config)}."
        )
    return config


def _own_workdir(config: StudyConfig) -> str:
    """The workdir that the configuration brings: an experiment file of the original says where its results go."""
    if not config.source.original:
        return ""
    return str(experiment.load(config.source.original).output_directory)


def _own_error(error: BaseException | None) -> UserError | None:
    """The error of `get_config()` itself, which ml_collections and absl wrap into others with its traceback."""
    own = None
    while error is not None:
        own = error if isinstance(error, UserError) else own
        error = error.__context__
    return own


def _first_line(error: BaseException) -> str:
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    return str(error).split("\n")[0].rstrip(".")


def _log_to_stderr() -> None:
    """Sends what jaxred logs, and the warnings of libraries, to stderr."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # that it found no PyTorch, which is not needed
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("jaxred")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if _UNHEEDED:
        logger.info("%s: set in the environment, and not heeded, so that numbers are the same", ", ".join(_UNHEEDED))


class _Formatter(logging.Formatter):
    """Warnings of the library speak of arguments, as its errors do."""

    def format(self, record: logging.LogRecord) -> str:
        return _for_the_shell(super().format(record))
