"""What was made together, by the size and the BLAKE3 of every file, so that damage is found before anything is kept.

For files that cannot carry a digest themselves (figures, tables, probes): WORKDIR/digests/<name>.json is a result like
any other, with a digest of its own, and is written after them.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from jaxred.io.files import file_digest
from jaxred.io.result_files import DamagedError, load_result, save_result

log = logging.getLogger("jaxred")

FOLDER = "digests"

Faults = dict[str, str]  # what is wrong with a file, by its path in the workdir


def record(root: Path, name: str, identity: str, made: Iterable[Path]) -> None:
    """Notes what was made.

    Args:
        root: the workdir.
        name: of what made it, such as pipeline.
        identity: of what was made.
        made: files of the workdir, and folders for all that is in them.
    """
    files = [file for path in made for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    content = {
        file.relative_to(root).as_posix(): [file.stat().st_size, file_digest(file)] for file in files if file.is_file()
    }
    save_result(_file(root, name), identity, {"files": content})


def faults(root: Path, name: str, identity: str | None = None, within: Path | None = None) -> Faults:
    """What is wrong with the files noted under a name, the note included; empty where all are as they were made.

    Args:
        root: the workdir.
        name: of what made them.
        identity: of what should have been made; anything by default.
        within: look at the files of this folder alone.
    """
    own = _file(root, name).relative_to(root).as_posix()
    try:
        noted = load_result(_file(root, name))
    except DamagedError:
        return {own: "is damaged"}
    if noted is None:
        return {own: "is missing"}
    if identity not in (None, noted["identity"]):
        return {own: "is of other results"}
    by_path = {}
    for path, (size, digest) in noted["files"].items():
        if within is None or (root / path).is_relative_to(within):
            fault = _fault(root / path, size, digest)
            if fault:
                by_path[path] = fault
    return by_path


def identity(root: Path, name: str) -> str | None:
    """The identity of what was noted under a name; None where nothing was, or the note is damaged."""
    try:
        return (load_result(_file(root, name)) or {}).get("identity")
    except DamagedError:
        return None


def warn(root: Path, found: Mapping[str, str], then: str) -> None:
    """Names the files that something is wrong with, and says what happens then."""
    if found:
        first = [f"{root / path} {fault}" for path, fault in list(found.items())[:3]]
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        log.warning("%s%s: %s", ", ".join(first), more, then)


def warn_of_changes(root: Path, name: str, made: Iterable[Path], then: str) -> None:
    """The same, of files that are to be written again: what somebody else has done to them since, or has put there."""
    if name in noted(root) or any(file.exists() for file in made):
        warn(root, faults(root, name), then)


def noted(root: Path) -> list[str]:
    """The names under which something was noted."""
    return sorted(file.stem for file in (root / FOLDER).glob("*.json"))


def _fault(file: Path, size: int, digest: str) -> str | None:
    try:
        actual_size = file.stat().st_size
        if actual_size != size:
            return f"has {actual_size:,} bytes and not the {size:,} that were written"
        return None if file_digest(file) == digest else "has been changed since it was written"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _file(root: Path, name: str) -> Path:
    return root / FOLDER / f"{name}.json"
