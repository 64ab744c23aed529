"""The folder of a user's cache: compiled programs, and models that were installed by name."""

import os
from pathlib import Path

from jaxred.errors import UserError
from jaxred.io.paths import local

_VARIABLE = "JAXRED_CACHE"


def cache_folder() -> Path:
    """`$JAXRED_CACHE`, else `$XDG_CACHE_HOME/jaxred`, else `~/.cache/jaxred`; it need not be there.

    Raises:
        UserError: neither is set and there is no home folder, or what is set cannot be a folder.
    """
    if own := os.environ.get(_VARIABLE, ""):
        return local(own, _VARIABLE)
    if base := os.environ.get("XDG_CACHE_HOME", ""):
        return local(base, "XDG_CACHE_HOME") / "jaxred"
    try:
        return Path.home() / ".cache" / "jaxred"
    except RuntimeError as error:
        raise UserError(f"There is no home folder for the cache: set {_VARIABLE} to a folder.") from error
