"""Trained probes on disk, by orbax."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np

from jaxred.errors import UserError
from jaxred.features import Features
from jaxred.files import unfinished_folder
from jaxred.probing import Probe


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
    beside = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = unfinished_folder(place)
        with ocp.PyTreeCheckpointer() as checkpointer:
            checkpointer.save(beside / "new", tree)
        if place.exists():
            os.replace(place, beside / "old")
        os.replace(beside / "new", place)
    except (OSError, ValueError) as error:
        raise UserError(
            f"Cannot write the probes to {folder} ({error}). Make room or choose another --workdir."
        ) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)


def load_probes(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of saved probes, by probe name.

    Raises:
        UserError: if there is no checkpoint.
    """
    import orbax.checkpoint as ocp

    if not folder.is_dir():
        raise UserError(f"{folder} holds no probes: run launch/pipeline.py first.")
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(folder.absolute())
