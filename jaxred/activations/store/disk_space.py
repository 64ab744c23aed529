"""Whether the activations that a store is to hold fit on its disk, asked before hours go into computing them."""

import shutil
from pathlib import Path

import jax.numpy as jnp

from jaxred.activations.store.kvstore import local_folder
from jaxred.activations.store.ledger import Ledger
from jaxred.errors import UserError


def require_room(location: str, ledger: Ledger, freed_bytes: int = 0) -> None:
    """Rejects a store whose unfinished windows do not fit on the disk; a store that is not on a local disk passes.

    Args:
        location: of the store.
        ledger: says how many windows are still to be written, and how wide their rows are.
        freed_bytes: what will be deleted before the first of them is written.

    Raises:
        UserError: saying what is needed and what is free.
    """
    folder = local_folder(location)
    if folder is None or ledger.finished:
        return
    row_bytes = ledger.n_layers * ledger.hidden_size * jnp.dtype(ledger.dtype).itemsize
    needed = (ledger.n_rows - ledger.window(ledger.windows_finished).start) * row_bytes
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        free = shutil.disk_usage(there).free + freed_bytes
    except OSError:  # a file system that does not say
        return
    if needed > free:
        narrower = "store them as bfloat16 or float16 (`config.extraction.dtype`, or `dtype` of jaxred convert), "
        raise UserError(
            f"The activations of {ledger.n_rows:,} rows x {ledger.n_layers} layers x {ledger.hidden_size:,} neurons "
            f"still take {needed / 1e9:,.1f} GB, but the disk of {location} has {free / 1e9:,.1f} GB free: make room, "
            f"{narrower if ledger.dtype == 'float32' else ''}take fewer rows or layers, or choose another `workdir` "
            "(`output` of jaxred convert)."
        )


def size(folder: Path, names: tuple[str, ...]) -> int:
    """The bytes of the files of these names and in the folders of these names."""
    paths = [path for name in names for path in (folder / f"{name}.json", *(folder / name).rglob("*"))]
    return sum(path.stat().st_size for path in paths if path.is_file())
