"""TensorStore's key-value stores: where the files of a store lie.

Local files are not waited for until the disk has them: on a disk that is slow to say so, that was most of the time of a
conversion. What a power cut then takes is found by the checksums, and refused; what a killed process has written stays.
"""

import contextlib
import os
from pathlib import Path
from typing import Any

import tensorstore as ts

from jaxred.errors import UserError
from jaxred.io.reasons import reason_of

REFUSALS = (ValueError, OSError, RuntimeError)  # that TensorStore raises where a storage fails
ANSWER_SECONDS = 30  # in which a storage must say what it holds
TRANSFER_SECONDS = 600  # in which it must have read or written what it was given
_NOT_SYNCED = {"file_io_sync": False}


def open_kvstore(location: str) -> Any:
    """The key-value store at a folder or URL.

    As other programs do, it finds S3 at the address in the environment's AWS_ENDPOINT_URL, where there is one.
    """
    try:
        return answer(ts.KvStore.open(_spec(location)), ANSWER_SECONDS)
    except REFUSALS as error:
        raise UserError(f"Cannot open the activation store {location} ({reason_of(error)}).") from error


def _spec(location: str) -> str | dict[str, Any]:
    if "://" not in location:
        return {"driver": "file", "path": f"{Path(location).resolve()}/", **_NOT_SYNCED}
    scheme, _, place = location.rstrip("/").partition("://")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if scheme == "s3" and endpoint:
        bucket, _, path = place.partition("/")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        own = {"bucket": bucket, "path": f"{path}/" if path else "", "endpoint": endpoint, "aws_region": region}
        return {"driver": "s3", **own}
    return f"{scheme}://{place}/"


def answer(future: Any, seconds: float | int) -> Any:
    """What a future gives; a storage that does not answer, as a dead address, is given up.

    Raises:
        TimeoutError: saying after how long.
    """
    try:
        return future.result(timeout=seconds)
    except TimeoutError:
        future.cancel()
        raise TimeoutError(f"it gave no answer in {seconds:g} seconds; check the address and the network") from None


def local_folder(location: str) -> Path | None:
    """The folder of a store on a local disk; None of another."""
    if "://" not in location:
        return Path(location).resolve()
    return Path(location.removeprefix("file://")) if location.startswith("file://") else None


def remove_folder(location: str, name: str) -> None:
    """Removes an empty folder of a store on a local disk; one that is not empty stays."""
    folder = local_folder(location)
    if folder is not None:
        with contextlib.suppress(OSError):
            (folder / name).rmdir()


def child(kvstore: Any, name: str) -> dict[str, Any]:
    spec = kvstore.spec().to_json()
    own = _NOT_SYNCED if spec["driver"] == "file" else {}
    return {**spec, **own, "path": f"{spec.get('path', '')}{name}/"}


def list_keys(kvstore: Any, prefix: str, location: str) -> list[str]:
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else ""
    try:
        return [key.decode() for key in answer(kvstore.list(ts.KvStore.KeyRange(prefix, end)), ANSWER_SECONDS)]
    except REFUSALS as error:
        raise UserError(f"Cannot list the files of {location} ({reason_of(error)}).") from error
