"""What is made once and used again: the answer to "is it done already?".

An artifact has an identity (a digest of all that decides it), files, and a loader. It is used again where its note
(see `digests`) is of the same identity and every file is as it was written; what is damaged is named and made again.
The note is written last, so that what a killed process leaves is never taken for whole.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from jaxred.io import digests

T = TypeVar("T")

log = logging.getLogger("jaxred")


@dataclass(frozen=True)
class Artifact(Generic[T]):
    """Files that are made together."""

    root: Path  # the workdir
    name: str  # of the note
    identity: str
    files: Sequence[Path]  # and folders, for all that is in them
    load: Callable[[], T | None]  # None where there is nothing of this identity to load
    title: str = ""  # in the log, where it is said that the artifact was kept


def of_files(root: Path, name: str, identity: str, files: Sequence[Path]) -> Artifact[bool]:
    """An artifact of which nothing is loaded, such as a figure: what it is of, its note alone says."""
    return Artifact(root, name, identity, files, lambda: digests.identity(root, name) == identity or None)


def get_or_make(artifact: Artifact[T], make: Callable[[], Any], then: str, force: bool = False) -> T:
    """What the artifact's files hold, if they are whole and of its identity; else what `make` writes into them.

    Args:
        artifact: what is asked for.
        make: writes all files; it may return those that are to be noted as well, where they are not known before.
        then: what happens to damaged files, for the warning: "the pipeline is run again".
        force: make them in any case.
    """
    kept = kept_or_none(artifact, then)
    if kept is not None and not force:
        if artifact.title:
            log.info("%s: kept", artifact.title)
        return kept
    also = make() or ()
    digests.record(artifact.root, artifact.name, artifact.identity, dict.fromkeys([*artifact.files, *also]))
    made = artifact.load()
    assert made is not None, f"{artifact.name} was just made"
    return made


def kept_or_none(artifact: Artifact[T], then: str) -> T | None:
    """What the artifact's files hold, if they are whole and of its identity; what is damaged is named, and what
    somebody else has changed since.
    """
    kept = artifact.load()
    if kept is None and digests.identity(artifact.root, artifact.name) != artifact.identity:
        digests.warn_of_changes(artifact.root, artifact.name, artifact.files, then)
        return None  # never made, or of other settings
    faults = digests.faults(artifact.root, artifact.name, artifact.identity)
    digests.warn(artifact.root, faults, then)
    whole = not faults and all(file.exists() for file in artifact.files)
    return kept if whole else None
