"""What a sweep's folder looks like: its runs are folders in it that share activations and moments."""

from pathlib import Path
from typing import Any

from jaxred.config import from_dict, to_dict
from jaxred.errors import UserError
from jaxred.io.files import read_json
from jaxred.io.result_files import without_digest

MARK = "sweep.json"  # the file that makes a folder a sweep's
TABLES = ("sweep.md", "sweep.csv")
NOTED = "sweep"  # the name under which the digests of the tables are kept
SHARED = ("activations", "moments", "digests")  # folders that the runs of a sweep have in common


def sweep_of(path: str | Path) -> Path | None:
    """The folder of the sweep that a run's folder belongs to; None for a run of its own."""
    parent = Path(path).absolute().parent
    return parent if (parent / MARK).is_file() else None


def runs_of(folder: Path) -> list[str]:
    """The names of the runs of a sweep's folder."""
    sweep = saved(folder)
    return sweep["runs"] if sweep else []


def saved(folder: Path) -> dict[str, Any] | None:
    """The sweep that a folder holds: its base configuration, its axes and the names of its runs; None for none.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / MARK
    try:
        content = read_json(file)
        if set(content) != {"base", "axes", "runs"}:  # as older versions wrote it
            content = without_digest(content)
        base, axes, names = dict(content["base"]), content["axes"], list(map(str, content["runs"]))
    except UserError:
        raise
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"Cannot read {file} ({error!r}): delete it (the runs are kept) or choose another.") from error
    try:
        return {"base": to_dict(from_dict(base)), "axes": axes, "runs": names}  # as it would be saved now
    except UserError as error:
        raise UserError(f"{file}: {error} Delete it (the runs are kept) or choose another.") from error
