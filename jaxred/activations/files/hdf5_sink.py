"""Files that HDF5's library writes, with failures kept from the library.

After a write that failed, as on a full disk, HDF5 cannot close a file, tries again when Python ends and crashes the
process.
"""

import os
from collections.abc import Callable
from typing import Any, BinaryIO


class Sink:
    """A file for HDF5's library that reports every write as successful; `raise_failure` raises what went wrong."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._error: OSError | None = None

    @property
    def failed(self) -> bool:
        return self._error is not None

    def raise_failure(self) -> None:
        """Raises the error of the first write that failed, if any."""
        if self._error is not None:
            raise self._error

    def write(self, piece: Any) -> int:  # of Cython
        return len(piece) if self._error else self._try(lambda: self._file.write(piece), len(piece))

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def readinto(self, space: Any) -> int:  # reading may have to write first what a buffer holds
        return self._try(lambda: self._file.readinto(space), 0)  # type: ignore[attr-defined]

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        return self._try(lambda: self._file.seek(position, whence), position)

    def tell(self) -> int:
        return self._try(self._file.tell, 0)

    def truncate(self, size: int) -> int:
        return self._try(lambda: self._file.truncate(size), size)

    def _try(self, act: Callable[[], int], otherwise: int) -> int:
        try:
            return act()
        except OSError as error:
            self._error = self._error or error
        except ValueError:  # closed: HDF5 may release it later than the code that opened it
            return otherwise
        return otherwise

    def flush(self) -> None:
        """Called for every close; the code that opened the file writes what its buffer holds."""
