"""What every launcher shares: flags, logging, and one sentence instead of a traceback."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from ml_collections import config_flags

from jaxred.config import StudyConfig
from jaxred.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config", "configs/demo.py", "The experiment's file; override its fields with --config.field=value."
)
_WORKDIR = flags.DEFINE_string("workdir", "", "The folder in which the run keeps what it makes.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what another configuration left in the workdir.")


def run(main: Callable[[StudyConfig, str, bool], Any]) -> None:
    """Parses the flags, calls `main(config, workdir, overwrite)` and exits: 0, 2 on bad input, 130 when interrupted."""

    def call(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            raise UserError(f"Unknown argument {argv[1]!r}: every option is a flag, such as --workdir=runs/demo.")
        _log_to_stderr()
        _keep_compilations()
        main(_config(), _WORKDIR.value, _OVERWRITE.value)

    try:
        app.run(call, flags_parser=_parse)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Stopped. What was finished is kept; run again to go on.", file=sys.stderr)
        sys.exit(130)


def _parse(argv: Sequence[str]) -> list[str]:
    """Flags to values; a wrong one is told in a sentence."""
    try:
        return flags.FLAGS(argv)
    except (flags.Error, AttributeError, TypeError, ValueError, KeyError, OSError, ImportError) as error:
        reason = str(error).strip("'\"").split("\n")[0].rstrip(".")
        raise UserError(
            f"{reason}. See --help for the flags and jaxred/config.py for the fields of --config."
        ) from error


def _config() -> StudyConfig:
    if not isinstance(_CONFIG.value, StudyConfig):
        raise UserError(
            f"--config must name a file whose get_config() returns a StudyConfig, not a {type(_CONFIG.value).__name__}."
        )
    return _CONFIG.value


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("jaxred")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _keep_compilations() -> None:
    """Compiled programs are kept between runs, in $JAX_COMPILATION_CACHE_DIR or ~/.cache/jaxred."""
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache") / "jaxred"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
