"""Trained probes on disk, by orbax."""

import contextlib
import io
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxred.activations.store.kvstore import reason
from jaxred.errors import UserError
from jaxred.io import digests
from jaxred.io.files import reserve, unfinished_folder
from jaxred.probing import Probe
from jaxred.probing.features import Features

_ARRAY_BYTES, _CHECKPOINT_BYTES = 4096, 2**18  # what orbax writes beside the numbers: of each array, and of all


def save_probes(folder: Path, probes: dict[str, Probe], features: Features) -> None:
    """Writes probes as one orbax checkpoint: {name: {columns, weights, bias}}, columns as neuron numbers.

    A probe without neurons is its bias alone and has no columns and weights. Where features were standardised,
    `scaling` holds the mean and deviation that the weights go with. The checkpoint is written beside its place and
    renamed, and replaces an older one.
    """
    import orbax.checkpoint as ocp  # here, because importing it takes seconds

    logging.getLogger("absl").setLevel(logging.WARNING)
    tree = {}
    for name, probe in probes.items():
        arrays = {"columns": probe.columns.astype(np.int32), "weights": probe.weights, "bias": probe.bias}
        tree[name] = {key: array for key, array in arrays.items() if array.size}  # orbax refuses empty arrays
    if features.scaling is not None:
        tree["scaling"] = dict(zip(("mean", "deviation"), features.scaling, strict=True))
    place = folder.absolute()
    arrays = [array for probe in tree.values() for array in probe.values()]
    beside = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = unfinished_folder(place)
        reserve(place.parent, sum(array.nbytes + _ARRAY_BYTES for array in arrays) + _CHECKPOINT_BYTES)
        with _quiet(), ocp.PyTreeCheckpointer() as checkpointer:
            checkpointer.save(beside / "new", tree)
        if place.exists():
            os.replace(place, beside / "old")
        os.replace(beside / "new", place)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"Cannot write the probes to {folder} ({reason(error)}). Make room or choose another `workdir`, and run "
            "again: finished results are kept."
        ) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
        with contextlib.suppress(OSError):
            place.parent.rmdir()  # where it is empty


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps orbax's tracebacks of what is told in a sentence, those of its threads too, off the screen."""
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
        raise UserError(f"{folder} holds no probes: run launch/pipeline.py first.")
    root = folder.parent.parent  # the workdir, unless the probes were copied away from one
    found = digests.faults(root, folder.name, within=folder) if folder.name in digests.noted(root) else {}
    mend = "Run the study that made them again, which makes them anew."
    if found:
        path, fault = next(iter(found.items()))
        raise UserError(f"The probes of {folder} are damaged: {root / path} {fault}. {mend}")
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            return checkpointer.restore(folder.absolute())
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"The probes of {folder} cannot be read ({error}). {mend}") from error
