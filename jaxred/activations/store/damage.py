"""What of a store is not there any more, or not whole."""

from collections.abc import Iterable, Sequence
from typing import Any

import tensorstore as ts

from jaxred.activations.store.chunk_sizes import first_not_finite
from jaxred.activations.store.kvstore import (
    REFUSALS,
    TRANSFER_SECONDS,
    answer,
    child,
    list_keys,
    local_folder,
    open_kvstore,
)
from jaxred.activations.store.ledger import Ledger
from jaxred.errors import UserError
from jaxred.io.reasons import reason_of

_OF_DATA = "DATA_LOSS", "NOT_FOUND", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "OUT_OF_RANGE"  # TensorStore's words


def lost_files(location: str, ledger: Ledger) -> dict[str, str]:
    """What is wrong with the files of a finished store that are missing or, on a local disk, have another size than
    they can have; none is read.

    Example:
        >>> lost_files("runs/demo/activations/train", ledger)
        {'hidden_states/c/0/3/0': 'is missing'}
    """
    if not ledger.n_rows:
        return {}
    present = set(list_keys(open_kvstore(location), "", location))
    folder, sizes, lost = local_folder(location), ledger.shard_sizes, {}
    arrays = "hidden_states", *ledger.row_arrays
    metadata = [f"{name}/zarr.json" for name in arrays]
    for file in [*metadata, *ledger.shards, *(f"{name}/c/0" for name in ledger.row_arrays)]:
        if file not in present:
            lost[file] = "is missing"
        elif folder is not None and file in sizes:
            n_bytes = (folder / file).stat().st_size
            if n_bytes not in sizes[file]:
                lost[file] = f"has {n_bytes:,} bytes, and not {sizes[file][0]:,}"
    return lost


def damaged_files(location: str, ledger: Ledger) -> dict[str, str]:
    """Reads all of a finished store, for its checksums: what is wrong with the files of its damaged parts.

    All files of a damaged window are named, since they are made again together.
    """
    found, kvstore = lost_files(location, ledger), open_kvstore(location)
    shapes: dict[str, tuple[int, ...]] = {name: (ledger.n_rows,) for name in ledger.row_arrays}
    shapes["hidden_states"] = ledger.n_rows, ledger.n_layers, ledger.hidden_size
    for name, shape in shapes.items():
        file = f"{name}/zarr.json"
        try:
            array = _open(kvstore, name)
            if tuple(array.shape) != shape:
                found.setdefault(file, f"says that its array is {tuple(array.shape)}, and not {shape}")
            elif name != "hidden_states":
                file = f"{name}/c/0"
                answer(array.read(), TRANSFER_SECONDS)
        except REFUSALS as error:
            found.setdefault(file, f"is {_damaged(error)}")
    if "hidden_states/zarr.json" not in found:
        for window, fault in unreadable_windows(kvstore, ledger, [*range(ledger.n_windows)]).items():
            found |= {file: f"is {fault}" for file in ledger.shards_of(window) if file not in found}
    return found


def remove_files(location: str, files: Iterable[str]) -> None:
    """Removes damaged files of a store, which is not read then before they are made again."""
    kvstore = open_kvstore(location)
    for file in files:
        answer(kvstore.write(file, None), TRANSFER_SECONDS)


def windows_of(files: Iterable[str]) -> list[int]:
    """The windows that these files are of, in their order."""
    return sorted({int(file.split("/")[2]) for file in files if file.startswith("hidden_states/c/")})


def unreadable_windows(kvstore: Any, ledger: Ledger, windows: Sequence[int]) -> dict[int, str]:
    """What is wrong with those of a store's windows that cannot be read whole; the disk may not have had them yet when
    the power was cut.
    """
    if not windows:
        return {}
    try:
        array = _open(kvstore, "hidden_states")
    except REFUSALS as error:
        return dict.fromkeys(windows, _damaged(error))
    found = {}
    for window in windows:
        try:
            if first_not_finite(answer(array[ledger.window(window)].read(), TRANSFER_SECONDS)) is not None:
                found[window] = "missing"
        except REFUSALS as error:
            found[window] = _damaged(error)
    return found


def _damaged(error: Exception) -> str:
    """What is wrong with the data.

    Raises:
        UserError: it is not known, as the storage did not give them.
    """
    if not str(error).startswith(_OF_DATA):
        raise UserError(
            f"The activation store cannot be read ({reason_of(error)}): make sure that its storage answers, and run "
            "again."
        ) from error
    return f"damaged ({reason_of(error)})"


def _open(kvstore: Any, name: str) -> Any:
    return answer(ts.open({"driver": "zarr3", "kvstore": child(kvstore, name)}), TRANSFER_SECONDS)
