"""Results on disk: JSON with the identity of what they are results of."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from jaxred.errors import UserError
from jaxred.files import read_json, write_text

FORMAT = 2  # of result files: 1 had no intervals


def fingerprint(content: Any) -> str:
    """A short digest of JSON values."""
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True).encode()).hexdigest()[:32]


def save_result(path: Path, identity: str, content: dict[str, Any]) -> None:
    """Writes a result in one step; NaN becomes null."""
    write_text(path, as_json({"format": FORMAT, "identity": identity, **content}, indent=True) + "\n")


def as_json(content: Any, indent: bool = False) -> str:
    """NumPy values and JSON's own as JSON text; keys as text, NaN and infinity as null."""
    how = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    return orjson.dumps(content, option=how, default=plain).decode()


def as_csv(lines: Iterable[Sequence[Any]]) -> str:
    """Lines of cells as CSV text; NaN and None are empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([plain(cell) for cell in line] for line in lines)
    return text.getvalue()


def load_result(path: Path, identity: str | None = None) -> dict[str, Any] | None:
    """A saved result; None where there is none, or one of another identity or an older format where one is asked for.

    Raises:
        UserError: if the file is damaged.
    """
    try:
        content = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read the result {path} ({error}): delete it and run again.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "identity" not in content:
        if identity is not None and isinstance(content, dict) and content.get("format") in range(1, FORMAT):
            return None
        raise UserError(f"{path} is not a result of this version of jaxred: delete it and run again.")
    return content if identity is None or content["identity"] == identity else None


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
