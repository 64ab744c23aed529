"""Between the device and this process: the tokens of a batch, and fetching one batch while others are computed."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxred.activations.packing import Work

if TYPE_CHECKING:
    from jaxred.activations.encode import Encode


def token_budget(configured: int = 0) -> int:
    """Tokens per batch, padding included: as configured or, for 0, what suits the devices."""
    return configured or (512 if jax.default_backend() == "cpu" else 65536 * jax.local_device_count())


def fetched(encode: "Encode", work: Iterable[Work], dtype: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each batch's rows and vectors; the next batches are computed before the last one is taken.

    Args:
        encode: the encoder.
        work: the batches; no more of them are taken than are computed at once, and two.
        dtype: of the vectors.
    """

    def fetch(planned: Work, vectors: Future[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(over="ignore"):  # a store's writer rejects what a float16 cannot hold
            return planned.rows, vectors.result()[planned.places].astype(jnp.dtype(dtype), copy=False)

    waiting: deque[tuple[Work, Future[np.ndarray]]] = deque()
    for planned in work:
        waiting.append((planned, encode.start(planned.batch, planned.words)))
        if len(waiting) > encode.n_workers + 1:
            yield fetch(*waiting.popleft())
    while waiting:
        yield fetch(*waiting.popleft())
