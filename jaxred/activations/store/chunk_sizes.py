"""What the writer and the reader know of a block of activations."""

import numpy as np

CHUNK_ROWS = 512  # rows of an inner chunk: 0.8 MB at 384 neurons in float32


def inner_rows(window_rows: int) -> int:
    """Rows of an inner chunk: the largest divisor of the window that is at most CHUNK_ROWS (zarr asks that it
    divides).
    """
    return next(rows for rows in range(min(CHUNK_ROWS, window_rows), 0, -1) if window_rows % rows == 0)


def run_rows(window_rows: int) -> int:
    """Rows that are read at once: of one inner chunk, or of several that are small."""
    inner = inner_rows(window_rows)
    return inner * max(1, CHUNK_ROWS // inner)


def first_not_finite(block: np.ndarray) -> tuple[int, ...] | None:
    """The index of the first NaN or infinite value, or None."""
    with np.errstate(over="ignore", invalid="ignore"):
        finite = block.dtype == np.float32 and bool(np.isfinite(block.sum()))  # one pass, where the next is two
    if finite or np.isfinite(block).all():
        return None
    return tuple(int(i) for i in np.argwhere(~np.isfinite(block))[0])
