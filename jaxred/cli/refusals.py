"""Errors of the system (disk space, permission, memory, threads) as the sentence that a user reads."""

import errno

_KEPT = "What was finished is kept; run again to resume."
_FIXES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room, or choose another place"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "allow it for the user who runs this, or choose another place"),
    errno.EROFS: "choose a place that can be written",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "allow more open files (ulimit -n 4096)"),
    errno.ENAMETOOLONG: "choose a shorter name",
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENODEV), "check the disk, or the network that it is reached by"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP), "check the path"),
    **dict.fromkeys((errno.EAGAIN, errno.ENOMEM), "allow more processes and memory (ulimit -u, ulimit -v)"),
}
_MEMORY = (
    "give it more memory, or ask for less: smaller batches (config.extraction.token_budget), windows "
    "(config.extraction.window_rows) or fewer rows and layers"
)


def refusal(error: BaseException) -> str | None:
    """A sentence for an error of the system or the device; None for an error of another kind."""
    text = str(error)
    line = text.split("\n")[0].rstrip(". ")
    if isinstance(error, MemoryError):
        return f"There is not enough memory{f' ({line})' if line else ''}: {_MEMORY}. {_KEPT}"
    if isinstance(error, OSError):
        return _of_system(error)
    if "RESOURCE_EXHAUSTED" in text or "Out of memory" in text:
        return f"The device has not enough memory ({line[:200]}): {_MEMORY}. {_KEPT}"
    if "can't start new thread" in text:
        return f"No more threads can be started: allow more processes (ulimit -u) and memory. {_KEPT}"
    if "Too many open files" in text:
        return f"No more files can be opened: {_FIXES[errno.EMFILE]}. {_KEPT}"
    return None


def _of_system(error: OSError) -> str | None:
    if error.errno is None:
        return None
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = f"{' and '.join(names)} cannot be used" if names else "A file cannot be used"
    fix = _FIXES.get(error.errno, "check the path")
    return f"{where} ({error.strerror}): {fix}. {_KEPT}"
