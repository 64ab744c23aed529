"""Writing files so that nobody ever reads half of one."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from jaxred.errors import UserError


@contextlib.contextmanager
def replacing(paths: Sequence[Path]) -> Iterator[list[BinaryIO]]:
    """Makes or replaces files together: they are written beside their places, flushed to disk and then renamed, the
    first one last, so that where a run is killed between two renames, the first file is missing.

    Yields:
        The open files; each has a `name`, by which it can be opened again.

    Raises:
        UserError: if the disk is full or a folder cannot be written; what was at the paths is untouched.
    """
    temporary: list[str] = []
    try:
        with contextlib.ExitStack() as stack:
            files = []
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
                files.append(stack.enter_context(file))
                temporary.append(file.name)
            yield files  # type: ignore[misc]
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        for path, name in reversed(list(zip(paths, temporary, strict=True))):
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
    except BaseException as error:
        for name in temporary:
            with contextlib.suppress(OSError):
                os.unlink(name)
        if isinstance(error, OSError):
            reason = error.strerror or str(error).split("\n")[0]
            where = ", ".join(str(path) for path in paths[:2]) + (" ..." if len(paths) > 2 else "")
            raise UserError(f"Cannot write {where} ({reason}). Make room or choose another place.") from error
        raise


def replace_file(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Makes or replaces a file in one step: it is written beside its place, flushed to disk and renamed.

    Raises:
        UserError: if the disk is full or the folder cannot be written; what was at the path is untouched.
    """
    with replacing([path]) as (file,):
        write(file)


def write_text(path: Path, text: str) -> None:
    """Makes or replaces a UTF-8 text file in one step."""
    replace_file(path, lambda file: file.write(text.encode()))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
