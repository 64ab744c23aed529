"""TensorStore's key-value stores: where the files of a store lie."""

from pathlib import Path
from typing import Any

import tensorstore as ts

from jaxred.errors import UserError


def open_kvstore(location: str) -> Any:
    spec = (
        f"{location.rstrip('/')}/" if "://" in location else {"driver": "file", "path": f"{Path(location).absolute()}/"}
    )
    try:
        return ts.KvStore.open(spec).result()
    except (ValueError, OSError) as error:
        raise UserError(f"Cannot open the activation store {location} ({reason(error)}).") from error


def child(kvstore: Any, name: str) -> dict[str, Any]:
    spec = kvstore.spec().to_json()
    return {**spec, "path": f"{spec.get('path', '')}{name}/"}


def list_keys(kvstore: Any, prefix: str, location: str) -> list[str]:
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else ""
    try:
        return [key.decode() for key in kvstore.list(ts.KvStore.KeyRange(prefix, end)).result()]
    except (ValueError, OSError) as error:
        raise UserError(f"Cannot list the files of {location} ({reason(error)}).") from error


def reason(error: Exception) -> str:
    """The operating system's or TensorStore's own words, without its dump of the specification."""
    return str(error).split(" [")[0].replace("\n", " ")
