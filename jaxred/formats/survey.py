"""What a file of activations holds, found before its values are read."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

_PIECE_BYTES = 16 * 2**20  # after each, a thread waits for its turn with the interpreter, 5 ms beside a busy one


@dataclass(frozen=True)
class Survey:
    """The shape of a file of activations: sentences of tokens, each with a vector at every layer."""

    n_layers: int
    hidden_size: int  # neurons of a layer
    tokens: list[int]  # how many tokens each sentence has
    sha256: str  # of the whole file
    keys: list[str]  # the dataset of each sentence; empty where sentences lie in line order
    n_duplicates: int = 0  # sentences whose text stands more than once, where a file is keyed by text
    offsets: list[int] = field(default_factory=list)  # where each sentence begins in the file; of lines, also the end
    dtype: np.dtype | None = None  # of the numbers at the offsets, where they are binary
    stamp: tuple[int, ...] = ()  # `stamp_of` the file, where it is told apart by that


def stamp_of(descriptor: int) -> tuple[int, ...]:
    """What the file system says of an open file, which is another after a change."""
    stat = os.fstat(descriptor)
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        space = memoryview(bytearray(min(_PIECE_BYTES, os.fstat(file.fileno()).st_size)))
        while n_bytes := file.readinto(space):
            digest.update(space[:n_bytes])
    return digest.hexdigest()
