"""One process writes a store, and none reads it meanwhile: locks of stores in folders; of others there are none."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from jaxred.activations.store.kvstore import local_folder
from jaxred.activations.store.reader import Store
from jaxred.io.locks import lock
from jaxred.io.processes import own_number


@contextlib.contextmanager
def writing(location: str | Path) -> Iterator[None]:
    """Holds a store's lock; another process that writes or reads it is waited for, as it may be making this very one.

    What TensorStore's own locks left of a killed process is removed. Of processes that write one store together, the
    first holds the lock for all.
    """
    folder = local_folder(str(location))
    if folder is None or (folder.exists() and not folder.is_dir()) or own_number() > 0:
        yield
        return
    with lock(folder, wait=True):
        for path in folder.rglob("*.__lock"):
            with contextlib.suppress(OSError):
                path.unlink()
        yield


@contextlib.contextmanager
def reading(stores: Iterable[Store]) -> Iterator[None]:
    """Keeps other processes from replacing stores while they are read; one that is being replaced is waited for.

    Raises:
        UserError: if one is not what it was when it was opened.
    """
    with contextlib.ExitStack() as held:
        for store in stores:
            folder = local_folder(store.location)
            if folder is not None:
                held.enter_context(lock(folder, wait=True, shared=True))
            store.check_unchanged()
        yield
