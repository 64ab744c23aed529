"""Links in a store that lead out of its folder: a store must not read, or write over, other files of its user."""

import os
from pathlib import Path

from jaxred.activations.store.kvstore import local_folder
from jaxred.errors import UserError


def refuse_links_out(location: str) -> None:
    """Rejects a store on a local disk with a link, below its own folder, to something outside; the folder may be one.

    Raises:
        UserError: naming the link and what it leads to.
    """
    folder = local_folder(location)
    if folder is None or not folder.is_dir():
        return
    root, waiting = folder.resolve(), [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    target = Path(os.path.realpath(entry.path))
                    if not target.is_relative_to(root):
                        raise UserError(
                            f"The activation store {location} holds the link {os.path.relpath(entry.path, folder)}, "
                            f"which leads out of it, to {target}: put the file itself there, or remove the link."
                        )
                elif entry.is_dir():
                    waiting.append(entry.path)
