"""HDF5 files that ask for other files: links out of the file, virtual datasets, raw numbers that are stored elsewhere.

A file of activations must not read other files of its reader: who made it would choose what comes out, and the digest
that identifies the file would not cover it. Links and datasets are therefore checked before anything is read.
"""

from pathlib import Path

import h5py
from h5py import h5l  # pyright: ignore[reportAttributeAccessIssue]

from jaxred.errors import UserError

_MOST_LINKS = 16  # that may follow each other, as in HDF5 itself


def link_types(file: h5py.File) -> dict[str, int]:
    """What is in the root group of a file, by name: `h5l.TYPE_HARD` for objects, other types for links."""
    types: dict[str, int] = {}

    def note(name: bytes, info: h5l.LinkInfo) -> None:
        types[name.decode("utf-8", "surrogateescape")] = info.type

    file.id.links.iterate(note, info=True)
    return types


def refuse_link_out(file: h5py.File, name: str, path: Path) -> None:
    """Rejects a link that is to another file, or leads to such a link.

    Args:
        file: the open file.
        name: of the link.
        path: the file, for messages.

    Raises:
        UserError: naming the link, and the file that it asks for.
    """
    links, target = file.id.links, f"/{name}"
    for _ in range(_MOST_LINKS):
        group, parts = "", [part for part in target.split("/") if part not in ("", ".")]
        for i, part in enumerate(parts):
            at = f"{group}/{part}".encode()
            if not links.exists(at):
                return  # who opens the name reports it
            kind = links.get_info(at).type
            if kind == h5l.TYPE_SOFT:
                inner = links.get_val(at).decode("utf-8", "surrogateescape")
                start = "" if inner.startswith("/") else group
                target = "/".join([start, inner, *parts[i + 1 :]])
                break
            if kind != h5l.TYPE_HARD:
                other = links.get_val(at) if kind == h5l.TYPE_EXTERNAL else (b"",)
                raise _elsewhere(path, f"{name!r} is a link to", other[0])
            group = f"{group}/{part}"
        else:
            return
    raise UserError(f"{path}: {name!r} is a link that leads to links without end: write the file again.")


def refuse_elsewhere(dataset: h5py.h5d.DatasetID, name: str, path: Path) -> None:
    """Rejects a dataset whose numbers are stored in other files.

    Args:
        dataset: the open dataset.
        name: of the dataset, for messages.
        path: the file, for messages.

    Raises:
        UserError: naming the dataset, and the file that it asks for.
    """
    properties = dataset.get_create_plist()
    if properties.get_external_count():
        raise _elsewhere(path, f"dataset {name!r} keeps its numbers in", properties.get_external(0)[0])
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        other = properties.get_virtual_filename(0) if properties.get_virtual_count() else ""
        raise _elsewhere(path, f"dataset {name!r} is a virtual dataset, put together of", other)


def _elsewhere(path: Path, what: str, other: str | bytes) -> UserError:
    named = other.decode("utf-8", "replace") if isinstance(other, bytes) else other
    return UserError(
        f"{path}: {what} another file{f', {named!r}' if named else ''}, and a file of activations may not read other "
        "files: copy the numbers into one file, as h5py's `copy(..., expand_external=True)` does."
    )
