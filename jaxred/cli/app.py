"""What every launcher shares: flags, logging, and one sentence instead of a traceback."""

# ruff: noqa: E402
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from jaxred.cli import environment

_UNHEEDED = environment.settle()  # before what follows imports JAX

from jaxred.cli.refusals import refusal
from jaxred.config import StudyConfig, TaskConfig, unknown_field
from jaxred.errors import UserError
from jaxred.io.paths import local
from jaxred.original import experiment
from jaxred.runs.workdir import locked
from jaxred.sweeps import runner
from jaxred.sweeps.grid import Sweep

DEFAULT_CONFIG = "configs/demo.py"

_HELP = {"help", "helpshort", "helpfull", "helpxml", "h", "?"}

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string=f"The experiment's file, by default {DEFAULT_CONFIG}; override with --config.field=value."
)
_WORKDIR = flags.DEFINE_string("workdir", "", "The folder in which the run keeps what it makes.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what another configuration left in the workdir.")
_VERIFY = flags.DEFINE_bool("verify", False, "First read all that is there, activations too, and name what is damaged.")


def run(main: Callable[[StudyConfig, str, bool], Any]) -> None:
    """Parses the flags, calls `main(config, workdir, overwrite)`, for every run where `--config` is a sweep, and exits:
    0, 2 on bad input, 130 when interrupted.
    """

    def call(argv: Sequence[str]) -> None:
        _refuse_arguments(argv)
        _log_to_stderr()
        environment.keep_compilations()
        config, work = _config(), _verified(main) if _VERIFY.value else main
        if isinstance(config, Sweep):
            overridden = config_flags.get_override_values(flags.FLAGS[_CONFIG.name])
            runner.run(work, config, _WORKDIR.value, _OVERWRITE.value, overridden)
        else:
            workdir = _WORKDIR.value or _own_workdir(config)
            with locked(workdir):  # until the last table is printed
                work(config, workdir, _OVERWRITE.value)

    _run(call, _with_config, (_CONFIG, _WORKDIR, _OVERWRITE, _VERIFY))


def _verified(main: Callable[[StudyConfig, str, bool], Any]) -> Callable[[StudyConfig, str, bool], Any]:
    """The same, of a workdir all of whose files have been read."""

    def verified(config: StudyConfig, workdir: str, overwrite: bool) -> Any:
        from jaxred.runs.verification import verify

        verify(config, workdir)
        return main(config, workdir, overwrite)

    return verified


def run_without_workdir(main: Callable[[StudyConfig | None, bool], Any]) -> None:
    """The same for a launcher that has flags of its own and no workdir: calls `main(config, overwrite)`, where the
    configuration is None unless `--config` names one.
    """

    def call(argv: Sequence[str]) -> None:
        _refuse_arguments(argv)
        _log_to_stderr()
        config = None if _CONFIG.value is None else _config()
        if isinstance(config, Sweep):
            raise UserError("--config names a sweep, which has several tasks: name the file of one study.")
        main(config, _OVERWRITE.value)

    _run(call, list, (_CONFIG, _OVERWRITE))


def _run(
    call: Callable[[Sequence[str]], None],
    arguments: Callable[[Sequence[str]], list[str]],
    own: Sequence[flags.FlagHolder],
) -> None:
    """Calls with the command line's arguments, and exits."""
    environment.make_streams_safe()
    for flag in own:  # so that --help lists them
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[flag.name])
    try:
        _refuse_undecodable(sys.argv)
        app.run(call, arguments(sys.argv), flags_parser=_parse)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit:
        if {argument.lstrip("-") for argument in sys.argv[1:]} & _HELP:
            sys.exit(0)  # absl says 1
        raise
    except BrokenPipeError:  # who reads the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (OSError, MemoryError, RuntimeError) as error:
        sentence = refusal(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Stopped. What was finished is kept; run again to go on.", file=sys.stderr)
        sys.exit(130)


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
    """The arguments, with the default configuration where they name none."""
    named = [i for i, argument in enumerate(argv) if argument.lstrip("-").split("=")[0] == "config"]
    if not named:
        return [argv[0], f"--config={DEFAULT_CONFIG}", *argv[1:]]
    last, found = named[-1], list(argv)
    value, colon, rest = (argv[last].partition("=")[2] or "".join(argv[last + 1 : last + 2])).partition(":")
    file = local(value, "--config") if value else Path()
    if not file.is_file():
        raise UserError(f"--config={value} names no file: give one, such as {DEFAULT_CONFIG}.")
    if value.startswith("~"):
        found[last : last + 1 + ("=" not in argv[last])] = [f"--config={file}{colon}{rest}"]
    return found


def _parse(argv: Sequence[str]) -> list[str]:
    """Flags to values; a wrong one, or a configuration file that cannot be run, is told in a sentence."""
    try:
        return flags.FLAGS(argv)
    except UserError:
        raise
    except (flags.Error, KeyError) as error:
        if isinstance(error.__context__, UserError):  # flags turn a ValueError of get_config() into an error of theirs
            raise error.__context__ from None
        named = [argument.lstrip("-").partition("=")[0] for argument in argv]
        unknown = filter(
            None, (unknown_field(name.removeprefix("config.")) for name in named if name.startswith("config."))
        )
        hint = "See --help for the flags and jaxred/config.py for the fields of --config."
        raise UserError(f"{next(unknown, _first_line(error))}. {hint}".replace("?.", "?")) from error
    except Exception as error:
        raise UserError(f"--config cannot be used ({type(error).__name__}: {_first_line(error)}).") from error


def _config() -> StudyConfig:
    config = _CONFIG.value
    try:
        fits = isinstance(config.task, TaskConfig)
    except OSError as error:  # what ml_collections puts in place of a file that could not be run
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
    if config.task.name != experiment.TASK:
        return ""
    return str(experiment.load(config.task.data_dir).output_directory)


def _first_line(error: BaseException) -> str:
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    return str(error).split("\n")[0].rstrip(".")


def _log_to_stderr() -> None:
    """What jaxred says, and the warnings of libraries."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # that it found no PyTorch, which is not needed
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("jaxred")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if _UNHEEDED:
        logger.info("%s: set in the environment, and not heeded, so that numbers are the same", ", ".join(_UNHEEDED))
