"""Between the device and this process: the tokens of a batch, and fetching one batch while the next is computed."""

from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np


def token_budget(configured: int = 0) -> int:
    """Padded tokens per batch: as configured or, for 0, what suits the device."""
    return configured or (2048 if jax.default_backend() == "cpu" else 65536)


def fetched(batches: Iterable[tuple[np.ndarray, jax.Array]], dtype: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each batch's rows and vectors; the device gets the next batch before the last one is fetched."""

    def fetch(rows: np.ndarray, vectors: jax.Array) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(over="ignore"):  # a store's writer rejects what a float16 cannot hold
            return rows, np.asarray(vectors)[: len(rows)].astype(jnp.dtype(dtype), copy=False)

    waiting: tuple[np.ndarray, jax.Array] | None = None
    for rows, vectors in batches:
        if waiting is not None:
            yield fetch(*waiting)
        waiting = rows, vectors
    if waiting is not None:
        yield fetch(*waiting)
