"""Writing files so that nobody ever reads half of one, and identifying files."""

import contextlib
import fnmatch
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from blake3 import blake3

from jaxred.errors import UserError
from jaxred.io.memory import available_bytes

N_PIECES, PIECE = 16, 1 << 20  # of a large file, what a glimpse reads
MEMORY_SHARE = 0.25  # of the free memory that one file may take when it is read whole: what is made of it is larger
_KINDS = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
    (stat.S_ISSOCK, "socket"),
)
UNFINISHED = ".jaxred"  # ends the names of unfinished files, so that no file of a user's is taken for one
_UNFINISHED_NAME = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.jaxred", re.DOTALL)
_LONGEST_NAME = 200  # bytes of a name that an unfinished one has
_HASHED_BYTES = 16 * 2**20  # after each, a thread waits for its turn with the interpreter, 5 ms next to a busy one


@contextlib.contextmanager
def replacing(paths: Sequence[Path]) -> Iterator[list[BinaryIO]]:
    """Makes or replaces files together: they are written next to their paths, flushed to disk and then renamed, the
    first one last, so that where a run is killed between two renames, the first file is missing.

    Yields:
        The open files; each has a `name`, by which it can be opened again.

    Raises:
        UserError: if the disk is full or a folder cannot be written; what was at the paths is untouched.
    """
    temporary: list[str] = []
    made: list[Path] = []
    try:
        with contextlib.ExitStack() as stack:
            files = []
            for path in paths:
                made += [folder for folder in path.parents if not folder.exists()]
                path.parent.mkdir(parents=True, exist_ok=True)
                prefix = unfinished_prefix(path)
                file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=prefix, suffix=UNFINISHED, delete=False)  # noqa: SIM115
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
        for folder in made:  # from the innermost; one that another process has filled meanwhile stays
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            reason = error.strerror or str(error).split("\n")[0]
            where = ", ".join(str(path) for path in paths[:2]) + (" ..." if len(paths) > 2 else "")
            raise UserError(f"Cannot write {where} ({reason}). Make room or choose another place.") from error
        raise


def reserve(folder: Path, n_bytes: int) -> None:
    """Tries whether a folder takes so many bytes, by giving them to a file that is gone at once.

    It is for libraries that meet a full disk badly. Where the system has no such call, only the folder is tried.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(n_bytes, 1))


def refuse_special(path: Path, expected: str = "a file") -> None:
    """Rejects what is no regular file: a folder, or what may never answer, as a named pipe, a device or a socket.

    Args:
        path: the file; a missing one passes, as opening it says so.
        expected: what it should be, for the message.

    Raises:
        UserError: saying what lies there.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # opening it says why
        return
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), None)
    if kind is not None:
        raise UserError(f"{path} is a {kind}, but {expected} is expected there; check the path.")


def read_whole(path: Path, expected: str = "a file") -> bytes:
    """The content of a file of the user, if it is one and memory has room for it.

    Raises:
        UserError: it is no regular file, or too large.
        OSError: it cannot be read.
    """
    refuse_special(path, expected)
    with path.open("rb") as file:
        size, free = os.fstat(file.fileno()).st_size, available_bytes()
        if size > MEMORY_SHARE * free:
            raise UserError(
                f"{path} has {size / 1e9:,.1f} GB, but it is read whole, and of the {free / 1e9:,.1f} GB of free "
                f"memory it may take {MEMORY_SHARE:.0%}: check that it is {expected}, cut it, or use a larger machine."
            )
        return file.read()


def read_json(path: Path, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The content of a JSON file of the user.

    Args:
        path: the file.
        pairs: makes something of each object's names and values, as in `json.loads`.

    Raises:
        UserError: it is no regular file, or too large.
        OSError: it cannot be read.
        ValueError: it is not JSON, or nested too deeply.
    """
    return parse_json(read_whole(path, "a JSON file"), pairs)


def parse_json(text: bytes | str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The content of JSON; what is nested too deeply for the parser is a ValueError too."""
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def replace_file(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Makes or replaces a file in one step: it is written next to its path, flushed to disk and renamed.

    Raises:
        UserError: if the disk is full or the folder cannot be written; what was at the path is untouched.
    """
    with replacing([path]) as (file,):
        write(file)


def write_text(path: Path, text: str) -> None:
    """Makes or replaces a UTF-8 text file in one step."""
    replace_file(path, lambda file: file.write(text.encode()))


def unfinished_prefix(path: Path) -> str:
    """How the names begin that a file or folder has while it is made; a long name is cut."""
    return f".{path.name.encode(errors='surrogateescape')[:_LONGEST_NAME].decode(errors='ignore')}."


def unfinished_folder(path: Path) -> Path:
    """A new folder next to a path, in which its content is made."""
    return Path(tempfile.mkdtemp(dir=path.parent, prefix=unfinished_prefix(path), suffix=UNFINISHED))


def remove_leftovers(folder: Path, names: Sequence[str]) -> None:
    """Removes what processes that were killed left unfinished, where no process may be writing now.

    Args:
        folder: where to look.
        names: patterns of the names that the files or folders were to have, such as `report.html` or `results/*`.
    """
    for name in names:
        parent, pattern = (folder / name).parent, name.rpartition("/")[2]
        with contextlib.suppress(OSError), os.scandir(parent) as entries:
            for entry in entries:
                match = _UNFINISHED_NAME.fullmatch(entry.name)
                if match is None or not fnmatch.fnmatchcase(match[1], pattern):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                elif entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)


def glimpse(path: Path) -> str:
    """A digest of a file: of all its bytes where it is small, else of its size and of pieces from its head to its tail.

    It is cheap whatever the file's size, and distinguishes files that a copy or an archive has given one size and
    time.
    Of a large file it does not see a change that lies between the pieces.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        if size <= N_PIECES * PIECE:
            digest.update(file.read())
        else:
            for i in range(N_PIECES):
                file.seek(i * (size - PIECE) // (N_PIECES - 1))
                digest.update(file.read(PIECE))
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """The BLAKE3 of a file's content, by which it is known again: as `b3sum` prints it."""
    digest = blake3()
    with path.open("rb", buffering=0) as file:
        space = memoryview(bytearray(min(_HASHED_BYTES, os.fstat(file.fileno()).st_size)))
        while n_bytes := file.readinto(space):
            digest.update(space[:n_bytes])
    return digest.hexdigest()


def array_digest(array: np.ndarray) -> str:
    """The BLAKE3 of an array's numbers, type and shape."""
    digest = blake3(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
