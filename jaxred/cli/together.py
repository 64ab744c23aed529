"""Flags by which processes of one launcher, on one machine or on many, work together under `jax.distributed`."""

from absl import flags

from jaxred.errors import UserError

_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "Work with other processes: the address HOST:PORT of the first, at which the others find it."
)
_PROCESS = flags.DEFINE_integer("process", None, "Which of the processes this is, from 0; with --coordinator.")
_N_PROCESSES = flags.DEFINE_integer("n_processes", None, "How many processes there are; with --coordinator.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Work with the processes that Slurm, Kubernetes or a TPU pod has started, as JAX finds them."
)

FLAGS = _COORDINATOR, _PROCESS, _N_PROCESSES, _DISTRIBUTED


def join() -> None:
    """Joins the other processes, if the flags say that there are any; to be called before JAX computes.

    Raises:
        UserError: the flags do not say enough, or the others are not found.
    """
    given = _COORDINATOR.value, _PROCESS.value, _N_PROCESSES.value
    if not _DISTRIBUTED.value and given == ("", None, None):
        return
    process, n_processes = _PROCESS.value, _N_PROCESSES.value
    if _DISTRIBUTED.value:
        if given != ("", None, None):
            raise UserError("--distributed lets JAX find the other processes: leave out --coordinator and the like.")
    elif not _COORDINATOR.value or process is None or n_processes is None:
        raise UserError(
            "--coordinator, --process and --n_processes go together, as in --coordinator=host:4321 --process=0 "
            "--n_processes=2; or pass --distributed under Slurm, Kubernetes or on a TPU pod."
        )
    elif not 0 <= process < n_processes:
        raise UserError(
            f"--process={process} is not possible with --n_processes={n_processes}: processes are counted from 0 to "
            f"{max(n_processes - 1, 0)}."
        )
    import jax

    try:
        jax.distributed.initialize(_COORDINATOR.value or None, n_processes, process)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"The other processes were not found ({reason}): start all of them with the same --coordinator, the "
            "address of the first, and each with its own --process; --distributed needs Slurm, Kubernetes or a TPU pod."
        ) from error
