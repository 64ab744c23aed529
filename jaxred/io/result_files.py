"""Results on disk: JSON with the identity of what they are results of, and a digest of their content."""

import hashlib
import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from blake3 import blake3

from jaxred.errors import UserError
from jaxred.io.files import read_json, write_text

log = logging.getLogger("jaxred")

FORMAT = 2  # of result files: 1 had no intervals and no digest


class DamagedError(UserError):
    """A file that is not what jaxred wrote there."""


def fingerprint(content: Any) -> str:
    """A short digest of JSON values."""
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True).encode()).hexdigest()[:32]


def save_result(path: Path, identity: str, content: dict[str, Any]) -> None:
    """Writes a result in one step, with its digest; NaN becomes null."""
    written = json.loads(as_json({"format": FORMAT, "identity": identity, **content}))
    write_text(path, as_json(with_digest(written), indent=True) + "\n")


def with_digest(content: dict[str, Any]) -> dict[str, Any]:
    """JSON's own values with the digest that `without_digest` checks."""
    return {**content, "digest": _digest(content)}


def without_digest(content: dict[str, Any]) -> dict[str, Any]:
    """What was given to `with_digest`, however it has been laid out since.

    Raises:
        ValueError: if its digest does not fit.
    """
    rest = {name: value for name, value in content.items() if name != "digest"}
    try:
        fits = content.get("digest") == _digest(rest)
    except TypeError:  # of orjson, for numbers and text that it would not have written
        fits = False
    if not fits:
        raise ValueError("its digest does not fit its content")
    return rest


def _digest(content: dict[str, Any]) -> str:
    return blake3(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def as_json(content: Any, indent: bool = False) -> str:
    """NumPy values and JSON's own as JSON text; keys as text, NaN and infinity as null."""
    how = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    return orjson.dumps(content, option=how, default=plain).decode()


def load_result(path: Path, identity: str | None = None) -> dict[str, Any] | None:
    """A saved result; None where there is none, or one of another identity or an older format where one is asked for.

    Raises:
        DamagedError: if the file is damaged.
        UserError: if it cannot be read, or is of another version.
    """
    try:
        content = read_json(path)
    except UserError:
        raise
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        kind = UserError if isinstance(error, OSError) else DamagedError
        raise kind(f"Cannot read the result {path} ({error}): delete it and run again.") from error
    if isinstance(content, dict) and content.get("format") in range(1, FORMAT):
        if identity is not None:
            return None
        raise UserError(f"{path} is a result of an older version of jaxred, without intervals: run its launcher again.")
    if not isinstance(content, dict) or content.get("format") != FORMAT or "identity" not in content:
        raise UserError(f"{path} is not a result of this version of jaxred: delete it and run again.")
    try:
        content = without_digest(content)
    except ValueError as error:
        raise DamagedError(f"The result {path} is damaged ({error}): delete it and run again.") from error
    return content if identity is None or content["identity"] == identity else None


def load_whole(path: Path, identity: str) -> dict[str, Any] | None:
    """The same for who makes a result again: a damaged one is named, and is none."""
    try:
        return load_result(path, identity)
    except DamagedError as error:
        log.warning("%s: it is made again", str(error).removesuffix(": delete it and run again."))
        return None


def plain(value: Any) -> Any:
    """NumPy values as JSON's own; tuples as lists, keys as text, NaN as null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
