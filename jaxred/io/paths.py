"""Places as people name them: `~` is the home folder, and a URL is no folder."""

import os
import re
from pathlib import Path

from jaxred.errors import UserError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # two letters at least, as C:/ is a disk


def is_url(place: str | Path) -> bool:
    """Whether a place has a scheme, such as s3://bucket/folder; with one slash, too, which is what `Path` leaves."""
    return _URL.match(str(place).strip()) is not None


def below(place: str | Path, name: str) -> str | Path:
    """A place in a folder on a disk, or below a URL.

    Example:
        >>> below("s3://bucket/run", "train")
        's3://bucket/run/train'
    """
    return f"{str(place).rstrip('/')}/{name}" if is_url(place) else Path(place) / name


def local(place: str | Path, name: str) -> Path:
    """The place on this machine's disks that is meant, with `~` as the home folder; it need not be there.

    Args:
        place: as it was given.
        name: of the argument that it was given as, such as workdir.

    Raises:
        UserError: it is a URL, `~` is of nobody, or no file can be named so.
    """
    text = os.fspath(place)
    if is_url(text):
        raise UserError(
            f"{name}={text!r} is a URL, but only a place on this machine's disks will do here: pass its path, "
            "without " + text.split("/")[0] + "//, or copy it here first."
        )
    if "\0" in text or any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        raise UserError(f"{name}={text!r} is no name that every program can write: choose one in letters.")
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{name}={text!r} cannot be found, as there is no home folder of that name: pass the whole path."
        ) from error
    try:
        path.exists()
    except OSError as error:
        raise UserError(f"{name}={text!r} cannot be used ({error.strerror}): choose another place.") from error
    return path
