"""Makes a run independent of what its process inherits from the shell, notebook or cluster that starts it."""

import codecs
import logging
import os
import sys
import warnings
from pathlib import Path

from jaxred.io.cache import cache_folder

log = logging.getLogger("jaxred")

# JAX's variables that say where it computes, what it caches and what it logs. All others change numbers, stop a run at
# what JAX takes for a fault, or are switches of one version.
HEEDED = (
    "JAX_PLATFORM", "JAX_CUDA_", "JAX_ROCM_", "JAX_CPU_", "JAX_NUM_CPU_DEVICES", "JAX_PJRT_", "JAX_MOCK_",
    "JAX_COORDINATOR", "JAX_DISTRIBUTED", "JAX_LOCAL_DEVICE", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID",
    "JAX_COMPILATION_CACHE", "JAX_ENABLE_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE", "JAX_RAISE_PERSISTENT_CACHE",
    "JAX_LOG", "JAX_DUMP", "JAX_TRACEBACK", "JAX_PROFILER", "JAX_INCLUDE_FULL_TRACEBACKS", "JAX_EXPLAIN",
)  # fmt: skip
_PLAIN = {"δ": "d", "±": "+-", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "×": "x"}
_PLAIN_ERRORS = "jaxred.plain"


def settle() -> list[str]:
    """Removes the variables that would change what JAX computes, and the setting that makes warnings errors. Call it
    before JAX is imported, since JAX reads them once.

    Returns:
        The names of JAX's variables that were set and are not heeded.
    """
    if any(option.startswith("error") for option in sys.warnoptions):  # a library's own deprecations would end a run
        warnings.simplefilter("ignore")
        os.environ.pop("PYTHONWARNINGS", None)
    dropped = sorted(name for name in os.environ if name.startswith("JAX_") and not name.startswith(HEEDED))
    for name in dropped:
        del os.environ[name]
    return dropped


def make_streams_safe() -> None:
    """Makes output print a plainer letter, and raise no error, where its encoding lacks one (cp1252, ascii) and where
    the stream is closed.
    """
    codecs.register_error(_PLAIN_ERRORS, _plainer)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_PLAIN_ERRORS)


def _plainer(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


def keep_compilations() -> None:
    """Keeps compiled programs between runs, in $JAX_COMPILATION_CACHE_DIR or the user's cache (`jaxred.io.cache`).
    Where that folder cannot be made or written, programs are compiled again in every run.
    """
    import jax

    named = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    if "://" not in named:
        cache = _cache_folder(named)
        jax.config.update("jax_compilation_cache_dir", cache and str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _cache_folder(named: str) -> Path | None:
    try:
        cache = Path(named).expanduser() if named else cache_folder()
        cache.mkdir(parents=True, exist_ok=True)
        if os.access(cache, os.W_OK | os.X_OK):
            return cache
        reason = f"{cache} cannot be written"
    except (OSError, RuntimeError, ValueError) as error:  # no home: RuntimeError
        reason = str(error).rstrip(".")
    log.warning("Compiled programs are not kept for the next run (%s).", reason)
    return None
