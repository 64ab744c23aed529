"""Trained probes on disk, by orbax."""

import contextlib
import io
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxred.errors import UserError
from jaxred.io import digests
from jaxred.io.files import reserve, unfinished_folder
from jaxred.io.reasons import reason_of
from jaxred.probing import Probe

_ARRAY_BYTES, _CHECKPOINT_BYTES = 4096, 2**18  # what orbax writes next to the numbers: per array, and in all

_Vector = Float[np.ndarray, " neuron"]


def save_probes(folder: Path, probes: dict[str, Probe], scaling: tuple[_Vector, _Vector] | None = None) -> None:
    """Writes probes as one orbax checkpoint: {name: {columns, weights, bias}}, columns as neuron numbers.

    A probe without neurons is its bias alone and has no columns and weights.

    Orbax's own atomic save makes a new checkpoint whole, but removes an older one before it writes the new one
    (`force=True`), and leaves its unfinished folder on a full disk. So it saves into a folder next to the old
    checkpoint, and only a whole one replaces that.

    Args:
        folder: of the checkpoint; an older one is replaced.
        probes: by name.
        scaling: the mean and the deviation that the weights go with, if the features were standardised; they are
            written as `scaling`.

    Raises:
        UserError: if the disk is full or the folder cannot be written; an older checkpoint is then untouched.
    """
    import orbax.checkpoint as ocp  # here, because importing it takes seconds

    logging.getLogger("absl").setLevel(logging.WARNING)
    tree = {}
    for name, probe in probes.items():
        arrays = {"columns": probe.columns.astype(np.int32), "weights": probe.weights, "bias": probe.bias}
        tree[name] = {key: array for key, array in arrays.items() if array.size}  # orbax refuses empty arrays
    if scaling is not None:
        tree["scaling"] = dict(zip(("mean", "deviation"), scaling, strict=True))
    path = folder.absolute()
    arrays = [array for probe in tree.values() for array in probe.values()]
    unfinished = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = unfinished_folder(path)
        reserve(path.parent, sum(array.nbytes + _ARRAY_BYTES for array in arrays) + _CHECKPOINT_BYTES)
        with _quiet(), ocp.PyTreeCheckpointer() as checkpointer:
            checkpointer.save(unfinished / "new", tree)
        if path.exists():
            os.replace(path, unfinished / "old")
        os.replace(unfinished / "new", path)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"Cannot write the probes to {folder} ({reason_of(error)}). Make room or choose another `workdir`, and run "
            "again: finished results are kept."
        ) from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # if it is empty


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps orbax's tracebacks off the screen, also those of its threads: one sentence says what failed."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def load_probes(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of saved probes, by probe name.

    Raises:
        UserError: if there is no checkpoint, or it is damaged.
    """
    import orbax.checkpoint as ocp

    if not folder.is_dir():
        raise UserError(f"{folder} holds no probes: run jaxred pipeline first.")
    root = folder.parent.parent  # the workdir, unless the probes were copied away from one
    faults = digests.faults(root, folder.name, within=folder) if folder.name in digests.noted(root) else {}
    fix = "Run the study that made them again; it writes them again."
    if faults:
        path, fault = next(iter(faults.items()))
        raise UserError(f"The probes of {folder} are damaged: {root / path} {fault}. {fix}")
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            return checkpointer.restore(folder.absolute())
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"The probes of {folder} cannot be read ({error}). {fix}") from error
