"""The processes of `jax.distributed` that do one piece of work together."""

import itertools
import sys
from collections.abc import Sequence
from typing import TypeVar

from jaxred.errors import UserError

T = TypeVar("T")

WAIT_SECONDS = 14 * 24 * 3600  # a process that is lost is found by JAX itself, within minutes

_numbers = itertools.count()


def n_processes() -> int:
    """How many they are; 1 where a process works alone."""
    jax = sys.modules.get("jax")
    return jax.process_count() if jax is not None and jax.distributed.is_initialized() else 1


def own_number() -> int:
    """Which of them this is, from 0."""
    return sys.modules["jax"].process_index() if n_processes() > 1 else 0


def own_share(items: Sequence[T]) -> Sequence[T]:
    """Every so many of the items, which all processes have in the same order."""
    return items[own_number() :: n_processes()]


def wait_for_all(what: str) -> None:
    """Waits until every process has come here; they come to the same places in the same order.

    Args:
        what: all have done when they come here.

    Raises:
        UserError: one of them has stopped.
    """
    n = n_processes()
    if n == 1:
        return
    from orbax.checkpoint import multihost  # here, because it takes a second to import

    try:
        multihost.sync_global_processes(f"jaxred {next(_numbers)}", timeout=WAIT_SECONDS, processes=set(range(n)))
    except Exception as error:
        raise UserError(
            f"Not all {n} processes have {what}: one has stopped, and says why ({str(error).splitlines()[0]}). "
            "Run them again: what is finished is kept."
        ) from error
