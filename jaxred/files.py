"""Writing files so that nobody ever reads half of one."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from jaxred.errors import UserError


def replace_file(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Makes or replaces a file in one step: it is written beside its place, flushed to disk and renamed.

    Raises:
        UserError: if the disk is full or the folder cannot be written; what was at the path is untouched.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            write(file)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise UserError(f"Cannot write {path} ({reason}). Make room or choose another --workdir.") from error
        raise


def write_text(path: Path, text: str) -> None:
    """Makes or replaces a UTF-8 text file in one step."""
    replace_file(path, lambda file: file.write(text.encode()))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
