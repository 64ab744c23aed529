"""The feature matrix as probes read it: batch by batch, and in a batch column by column.

A batch is one block `[column, row]`, so that a run of columns, or any choice of them, is read at once and no
reordered copy of the matrix is ever made. Blocks lie in memory, or in a scratch file where memory does not suffice.
"""

import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxred.io.memory import available_bytes

ALIGNMENT = 64  # bytes; JAX takes aligned memory of the host as it is, without a copy
MEMORY_SHARE = 0.7  # of the memory that is free, for a matrix to be held there
CHUNK_BYTES = 1 << 29  # of a matrix in a scratch file that are read at once


class FeatureMatrix:
    """Rows x columns in float32, cut into batches of rows; those of the last batch that do not exist are zero."""

    def __init__(self, blocks: Float[np.ndarray, "batch column row"], n_rows: int):
        self.blocks = blocks
        self.n_rows = n_rows
        self._on_devices: dict[Any, jax.Array] = {}

    @classmethod
    def from_rows(cls, rows: Float[np.ndarray, "row column"], batch_size: int) -> "FeatureMatrix":
        """A copy of a matrix of rows."""
        matrix, space = cls.allocate(rows.shape[0], rows.shape[1], batch_size)
        space[: len(rows)] = rows
        matrix.arrange()
        return matrix

    @classmethod
    def allocate(
        cls, n_rows: int, n_columns: int, batch_size: int, scratch: Path | None = None
    ) -> tuple["FeatureMatrix", Float[np.ndarray, "row column"]]:
        """A matrix, and its space as rows: fill the first `n_rows`, then call `arrange`.

        Args:
            n_rows: rows.
            n_columns: columns.
            batch_size: rows per batch.
            scratch: a folder for the file that holds the matrix instead of memory; the file is gone with the process.
        """
        batch_size = min(batch_size, max(n_rows, 1))
        n_batches = -(-n_rows // batch_size)
        shape = n_batches * batch_size, n_columns
        space = aligned(shape) if scratch is None else _mapped(shape, scratch)
        space[n_rows:] = 0
        return cls(space.reshape(n_batches, n_columns, batch_size), n_rows), space

    def arrange(self) -> None:
        """Turns the space filled with rows into blocks of columns, batch by batch in place."""
        n_batches, n_columns, batch_size = self.blocks.shape

        def turn(index: int) -> None:
            block = self.blocks[index]
            np.copyto(block, block.reshape(batch_size, n_columns).copy().T)

        with ThreadPoolExecutor() as pool:
            list(pool.map(turn, range(n_batches)))

    def __repr__(self) -> str:
        where = "in memory" if self.in_memory else "in a scratch file"
        return f"<FeatureMatrix: {self.n_rows:,} rows x {self.shape[1]:,} columns, {where}>"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.n_rows, self.blocks.shape[1]

    @property
    def batch_size(self) -> int:
        return self.blocks.shape[2]

    @property
    def counts(self) -> Int[np.ndarray, " batch"]:
        """The rows of each batch that exist."""
        starts = np.arange(len(self.blocks)) * self.batch_size
        return np.minimum(self.n_rows - starts, self.batch_size).astype(np.int32)

    @property
    def in_memory(self) -> bool:
        return not isinstance(self.blocks.base, np.memmap) and not isinstance(self.blocks, np.memmap)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The matrix as rows; always a copy."""
        del copy
        rows = self.blocks.transpose(0, 2, 1).reshape(-1, self.blocks.shape[1])[: self.n_rows]
        return np.ascontiguousarray(rows, dtype)

    def first(self, n_rows: int) -> "FeatureMatrix":
        """The first rows, without a copy: in the last batch, rows beyond `counts` hold what does not count."""
        return FeatureMatrix(self.blocks[: -(-n_rows // self.batch_size)], min(n_rows, self.n_rows))

    def taken(self, order: Int[np.ndarray, " taken"], scratch: Path | None = None) -> "FeatureMatrix":
        """A copy of some rows in another order.

        Args:
            order: their numbers.
            scratch: a folder for the copy where it does not fit in memory.
        """
        fits = scratch is None or fits_in_memory(len(order), self.shape[1])
        matrix, space = FeatureMatrix.allocate(len(order), self.shape[1], self.batch_size, None if fits else scratch)
        for start in range(0, len(order), self.batch_size):
            batches, rows = np.divmod(order[start : start + self.batch_size], self.batch_size)
            space[start : start + len(rows)] = self.blocks[batches, :, rows]
        matrix.arrange()
        return matrix

    def batched(self, values: np.ndarray) -> np.ndarray:
        """A value for each row as [batch, row]; zero for rows that do not exist."""
        space = np.zeros(self.blocks.shape[0] * self.batch_size, values.dtype)
        space[: self.n_rows] = values
        return space.reshape(-1, self.batch_size)

    def chunks(self) -> list[slice]:
        """Runs of batches to hold on a device at once, equally long up to one: all of them where they fit."""
        n_batches = len(self.blocks)
        if self.in_memory and self.blocks.nbytes <= device_bytes():
            return [slice(0, n_batches)]
        n_chunks = min(-(-self.blocks.nbytes // CHUNK_BYTES), n_batches)
        edges = np.linspace(0, n_batches, n_chunks + 1).astype(int).tolist()
        return [slice(first, last) for first, last in itertools.pairwise(edges)]

    def on(self, device: Any, batches: slice) -> Float[jax.Array, "batch column row"]:
        """Some batches on a device. The whole matrix, once there, stays."""
        if (batches.start, batches.stop) != (0, len(self.blocks)):
            return jax.device_put(np.asarray(self.blocks[batches]), device)
        if device not in self._on_devices:
            self._on_devices[device] = jax.device_put(self.blocks, device)
        return self._on_devices[device]

    def windows(self, device: Any, n_batches: int) -> Iterator[tuple[slice, Float[jax.Array, "batch column row"]]]:
        """Every `n_batches` batches on a device, and which they are; the last are filled up with zeros."""
        whole = self._on_devices.get(device)
        for start in range(0, len(self.blocks), n_batches):
            batches = slice(start, min(start + n_batches, len(self.blocks)))
            short = n_batches - (batches.stop - start)
            if short:
                block = jax.device_put(np.pad(self.blocks[batches], ((0, short), (0, 0), (0, 0))), device)
            elif whole is not None and device.platform != "cpu":
                block = jax.lax.dynamic_slice_in_dim(whole, jnp.int32(start), n_batches)
            else:
                block = jax.device_put(np.asarray(self.blocks[batches]), device)
            yield batches, block

    def standardize(self, mean: Float[np.ndarray, " column"], deviation: Float[np.ndarray, " column"]) -> None:
        """Subtracts the mean and divides by the deviation, in place."""
        for block, count in zip(self.blocks, self.counts, strict=True):
            block[:, :count] -= mean[:, None]
            block[:, :count] /= deviation[:, None]

    def mean_and_deviation(self) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
        """Of each column over the rows, in float64; the deviation of a constant column is 0."""
        first = self.blocks[0, :, :1].astype(np.float64)  # taken off, so that the mean of a constant is itself
        mean = first[:, 0].copy()
        for block, count in zip(self.blocks, self.counts, strict=True):
            mean += (block[:, :count] - first).sum(1) / self.n_rows
        squares = np.zeros(self.shape[1])
        for block, count in zip(self.blocks, self.counts, strict=True):
            squares += np.square(block[:, :count] - mean[:, None]).sum(1)
        return mean, np.sqrt(squares / self.n_rows)


def fits_in_memory(n_rows: int, n_columns: int) -> bool:
    """Whether a matrix is better held in memory than in a scratch file."""
    return 4 * n_rows * n_columns <= MEMORY_SHARE * available_bytes()


def device_bytes() -> float:
    """The memory of the default device that a matrix may take; infinite for a CPU, whose memory is the machine's."""
    device = jax.devices()[0]
    stats = None if device.platform == "cpu" else device.memory_stats()
    return MEMORY_SHARE * stats["bytes_limit"] if stats and "bytes_limit" in stats else float("inf")


def aligned(shape: Sequence[int]) -> np.ndarray:
    """Memory for float32 that JAX takes as it is on a CPU; it must not be written to once JAX has it."""
    n_bytes = 4 * int(np.prod(shape))
    space = np.empty(n_bytes + ALIGNMENT, np.uint8)
    start = -space.ctypes.data % ALIGNMENT
    return space[start : start + n_bytes].view(np.float32).reshape(shape)


def _mapped(shape: tuple[int, int], folder: Path) -> np.ndarray:
    if not np.prod(shape):
        return np.zeros(shape, np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:  # unlinked at once, so that a killed run leaves nothing
        if hasattr(os, "posix_fallocate"):  # a full disk is reported now, and does not kill the process later
            os.posix_fallocate(file.fileno(), 0, 4 * shape[0] * shape[1])
        return np.memmap(file, np.float32, "w+", shape=shape)
