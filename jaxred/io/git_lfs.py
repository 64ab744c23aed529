"""Files that are not what their name says because git-lfs has put a pointer in their place."""

from pathlib import Path

from jaxred.errors import UserError

_BEGINS = b"version https://git-lfs.github.com/"
_LONGEST = 1024  # bytes; by its specification a pointer has fewer


def refuse_pointer(path: Path) -> None:
    """Rejects a file that holds nothing but git-lfs's pointer to its content; one that cannot be read is left alone.

    Raises:
        UserError: saying how to get the content.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
    except OSError:
        return
    if is_pointer(content):
        raise UserError(
            f"{path} is a git-lfs pointer of {len(content)} bytes and not the file itself: run `git lfs pull` in the "
            "folder that it was cloned to, or download the file again."
        )


def is_pointer(content: bytes) -> bool:
    """Whether the content of a file, or its first 1,025 bytes, is a pointer."""
    return len(content) <= _LONGEST and content.startswith(_BEGINS)
