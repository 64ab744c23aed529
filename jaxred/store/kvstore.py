"""TensorStore's key-value stores: where the files of a store lie.

Local files are not waited for until the disk has them: on a disk that is slow to say so, that was most of the time of a
conversion. What a power cut then takes is found by the checksums, and refused; what a killed process has written stays.
"""

from pathlib import Path
from typing import Any

import tensorstore as ts

from jaxred.errors import UserError

_NOT_SYNCED = {"file_io_sync": False}


def open_kvstore(location: str) -> Any:
    spec = (
        f"{location.rstrip('/')}/"
        if "://" in location
        else {"driver": "file", "path": f"{Path(location).resolve()}/", **_NOT_SYNCED}
    )
    try:
        return ts.KvStore.open(spec).result()
    except (ValueError, OSError) as error:
        raise UserError(f"Cannot open the activation store {location} ({reason(error)}).") from error


def local_folder(location: str) -> Path | None:
    """The folder of a store on a local disk; None of another."""
    if "://" not in location:
        return Path(location).resolve()
    return Path(location.removeprefix("file://")) if location.startswith("file://") else None


def child(kvstore: Any, name: str) -> dict[str, Any]:
    spec = kvstore.spec().to_json()
    own = _NOT_SYNCED if spec["driver"] == "file" else {}
    return {**spec, **own, "path": f"{spec.get('path', '')}{name}/"}


def list_keys(kvstore: Any, prefix: str, location: str) -> list[str]:
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else ""
    try:
        return [key.decode() for key in kvstore.list(ts.KvStore.KeyRange(prefix, end)).result()]
    except (ValueError, OSError) as error:
        raise UserError(f"Cannot list the files of {location} ({reason(error)}).") from error


def reason(error: Exception) -> str:
    """The operating system's or TensorStore's own words, without its dump of the specification."""
    return str(error).split(" [")[0].replace("\n", " ")
