"""Probes in one file: arrays as safetensors, and JSON in its header that says what they are.

Nothing in the file is ever run. A digest of the arrays in the header tells a damaged file from a whole one.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from jaxred.errors import UserError
from jaxred.io.files import parse_json, read_whole, replace_file

FORMAT, VERSION = "jaxred.probe", 1


def save(path: str | Path, kind: str, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    """Makes or replaces a file of probes in one step.

    Args:
        path: the file, by custom `*.safetensors`.
        kind: the class that reads it again.
        arrays: of numbers, by name.
        facts: what else there is to know, of JSON's types.

    Raises:
        UserError: if the file cannot be written; what was at the path is untouched.
    """
    from safetensors.numpy import save as as_bytes

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    about = {"format": FORMAT, "version": VERSION, "kind": kind, "facts": facts}
    about["digest"] = _digest(arrays, about)
    content = as_bytes(arrays, metadata={FORMAT: json.dumps(about)})
    replace_file(Path(path), lambda file: file.write(content))


def load(path: str | Path, kinds: tuple[str, ...]) -> tuple[str, dict[str, np.ndarray], dict[str, Any]]:
    """The kind, arrays and facts of a file that `save` wrote.

    Args:
        path: the file.
        kinds: what it may hold.

    Raises:
        UserError: if there is no such file, it holds something else, or it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    path = Path(path)
    try:
        content = read_whole(path, "a file of probes")
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UserError(f"Cannot read the probe {path} ({reason}); check the path.") from error
    about = _about(content)
    if about is None:
        raise UserError(f"{path} is not a file that a probe's save() wrote, or its head is damaged; check the path.")
    if about.get("version") != VERSION:
        raise UserError(
            f"{path} is a probe's file of version {about.get('version')!r}, but this jaxred reads version {VERSION}: "
            "save the probe again with this version."
        )
    if about.get("kind") not in kinds:
        raise UserError(f"{path} holds a {about.get('kind')}, but {' or '.join(kinds)} is expected; use its load().")
    digest = about.pop("digest", None)
    try:
        arrays = from_bytes(content)
        whole = digest == _digest(arrays, about)
    except (SafetensorError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(f"The probe {path} is damaged: save it again, or copy it again from where it came.")
    return about["kind"], arrays, about["facts"]


def _about(content: bytes) -> dict[str, Any] | None:
    """What `save` wrote of the file, from the header alone: a damaged end is reported as damage."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        about = parse_json(parse_json(content[8 : 8 + length])["__metadata__"][FORMAT])
    except (struct.error, ValueError, KeyError, TypeError):
        return None
    return about if isinstance(about, dict) and about.get("format") == FORMAT else None


def _digest(arrays: dict[str, np.ndarray], about: dict[str, Any]) -> str:
    digest = blake3(json.dumps(about, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def class_facts(classes: np.ndarray | None) -> dict[str, Any] | None:
    """The names of classes, strings or numbers, as JSON holds them.

    Raises:
        UserError: if they are of another kind.
    """
    if classes is None:
        return None
    values = classes.tolist()
    if classes.dtype.kind not in "biufUO" or not all(isinstance(v, bool | int | float | str) for v in values):
        raise UserError(f"Classes such as {values[:1]!r} cannot be saved: fit with labels of strings or numbers.")
    return {"dtype": "O" if classes.dtype.kind == "O" else classes.dtype.str, "values": values}


def classes_of(facts: dict[str, Any] | None) -> np.ndarray | None:
    """The opposite of `class_facts`."""
    return None if facts is None else np.array(facts["values"], np.dtype(facts["dtype"]))
