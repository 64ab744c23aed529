"""One process at a time where files are made: a folder's lock is held by the operating system, and gone with its
process, however that ends.

The lock is on the file `.jaxred.lock` in the folder, which says who holds it, and which is removed with the lock (the
folder's time of change stays that of its other files). Where
a file system has no locks, or the folder cannot be written, work continues without: stores are then still guarded by
their ledgers (`jaxred.activations.store.writer`), other files are still replaced whole.
"""

import contextlib
import errno
import json
import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jaxred.errors import UserError
from jaxred.io.files import remove_leftovers
from jaxred.io.processes import own_number

try:
    import fcntl
except ImportError:  # Windows: work continues without locks
    fcntl = None

log = logging.getLogger("jaxred")

LOCK_FILE = ".jaxred.lock"
POLL_SECONDS = 0.2  # between looks at a lock that is waited for
_LONGEST_COMMAND = 200
_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


@dataclass
class _Held:
    file: int
    shared: bool
    count: int = 1


_held: dict[tuple[int, str], _Held] = {}  # by process, as a fork holds nothing, and folder


@contextlib.contextmanager
def lock(
    folder: Path, *, wait: bool = False, shared: bool = False, leftovers: Sequence[str] = (), name: str = ""
) -> Iterator[None]:
    """Holds a folder's lock; a process that holds it may take it again.

    Folders that are missing are made, and removed again where nothing else came to lie in them.

    Args:
        folder: where files are made.
        wait: until another process lets it go, rather than be rejected.
        shared: with others that only read.
        leftovers: the files below it that holders make, as patterns (`files.remove_leftovers`): what killed ones left
            unfinished of them is removed.
        name: of the one thing that is made, where other processes may make others in the folder.

    Raises:
        UserError: if another process holds it and `wait` is not set.
    """
    folder = Path(os.path.realpath(folder))
    path = folder / (f".{name}{LOCK_FILE}" if name else LOCK_FILE)
    key = os.getpid(), str(path)
    held = _held.get(key)
    if held is not None:
        assert shared or not held.shared, f"{path} is held to read"
        held.count += 1
        try:
            yield
        finally:
            held.count -= 1
        return
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    acquired = None if fcntl is None or own_number() > 0 else _acquire(path, folder / name, wait, shared)
    if acquired is None:
        yield
        return
    file, before = acquired
    _held[key] = _Held(file, shared)
    changed = _changed(folder)
    try:
        if not shared:
            remove_leftovers(folder, leftovers)
            for pattern in (f"*/{LOCK_FILE}", f"*/*/{LOCK_FILE}"):
                for dead in folder.glob(pattern):
                    _remove_dead(dead)
        yield
    finally:
        del _held[key]
        if changed != _changed(folder):
            before = None
        _release(path, file, shared, before)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


def _remove_dead(path: Path) -> None:
    """Removes the file of a lock whose process was killed."""
    assert fcntl is not None
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(file)


def _acquire(path: Path, what: Path, wait: bool, shared: bool) -> tuple[int, int | None] | None:
    """The open file that holds the lock, and when its folder had last changed; None where there are no locks."""
    assert fcntl is not None
    warned = False
    while True:
        before = _changed(path.parent)
        file = _open(path, shared)
        if file is None:
            return None
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            if error.errno not in _BUSY:
                log.warning(
                    "%s cannot be locked (%s): make sure that no other process writes there.", what, error.strerror
                )
                return None
            if not wait:
                raise UserError(
                    f"{what} is in use by another process, {_holder(path)}: wait until that is done, stop it, or "
                    "choose another place."
                ) from error
            if not warned:
                log.warning("%s is in use by another process, %s: waiting for it", what, _holder(path))
                warned = True
            time.sleep(POLL_SECONDS)
            continue
        except BaseException:
            os.close(file)
            raise
        if _is_at(file, path):
            with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
                os.ftruncate(file, 0)
                os.pwrite(file, _myself(), 0)
            return file, before
        os.close(file)  # the one before has removed it


def _open(path: Path, shared: bool) -> int | None:
    for _ in range(100):
        try:
            if not shared:
                path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:
            if shared:
                return None
            continue  # the process before has just removed an empty folder
        except PermissionError:
            break
        except OSError:  # a file where the folder should be, a full disk: whoever writes says so
            return None
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)  # another user's
    except OSError:
        return None


def _changed(folder: Path) -> int | None:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None


def _release(path: Path, file: int, shared: bool, before: int | None) -> None:
    """Lets a lock go; the folder is of the time before, if that is given."""
    assert fcntl is not None
    try:
        with contextlib.suppress(OSError):
            if shared:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while others read
            if _is_at(file, path):
                accessed = path.parent.stat().st_atime_ns
                os.unlink(path)
                if before is not None:
                    os.utime(path.parent, ns=(accessed, before))
    finally:
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False


def _myself() -> bytes:
    command = shlex.join([os.path.basename(sys.argv[0] or "python"), *sys.argv[1:]])
    if len(command) > _LONGEST_COMMAND:
        command = f"{command[:_LONGEST_COMMAND]}..."
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    content = {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": since}
    return json.dumps(content).encode() + b"\n"


def _holder(path: Path) -> str:
    """Who holds a lock, in words."""
    for _ in range(10):
        try:
            content = json.loads(path.read_bytes())
            return f"pid {content['pid']} on {content['host']} ({content['command']}) since {content['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(0.05)  # it has only just taken it
    return "which does not say its name"
