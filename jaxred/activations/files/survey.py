"""What a file of activations holds, found before its values are read."""

import os
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Survey:
    """The shape of a file of activations: sentences of tokens, each with a vector at every layer."""

    n_layers: int
    hidden_size: int  # neurons of a layer
    tokens: list[int]  # how many tokens each sentence has
    digest: str  # `jaxred.io.files.file_digest`
    keys: list[str]  # the dataset of each sentence; empty where sentences lie in line order
    n_duplicates: int = 0  # sentences whose text stands more than once, where a file is keyed by text
    offsets: list[int] = field(default_factory=list)  # where each sentence begins in the file; of lines, also the end
    dtype: np.dtype | None = None  # of the numbers at the offsets, where they are binary
    stamp: tuple[int, ...] = ()  # `stamp_of` the file, if that identifies it


def stamp_of(descriptor: int) -> tuple[int, ...]:
    """What the file system says of an open file, which is another after a change."""
    stat = os.fstat(descriptor)
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
