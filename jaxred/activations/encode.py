"""An encoder as one compiled function, from a batch to the vectors that are kept.

On a CPU a program runs in one thread, and as many batches are computed at once as there are cores: a core then waits
for no other between two operations (benchmarks/extraction.py). On accelerators one batch follows the other, and all
devices of the process share its rows.
"""

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxred.activations.packing import WordSlots
from jaxred.errors import UserError
from jaxred.io.processors import n_cores
from jaxred.models import Encoder, pooling
from jaxred.models.tokenization import PaddedBatch

log = logging.getLogger("jaxred")


class Encode:
    """From a batch to its vectors, [row, layer, neuron], by a program for each shape of batch."""

    def __init__(self, function: Callable[..., jax.Array], state: Any):
        """Compiles nothing yet.

        Args:
            function: a jitted function of the state and a batch's arrays.
            state: the weights.
        """
        devices = sharing_devices()
        self._mesh = Mesh(np.array(devices), ("row",)) if len(devices) > 1 else None
        self.function = function
        self.state = state if self._mesh is None else jax.device_put(state, NamedSharding(self._mesh, PartitionSpec()))
        self._programs: dict[Any, Future[Callable[..., jax.Array]]] = {}
        self._lock = threading.Lock()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="compile")
        self._most_rows = sys.maxsize
        self.n_workers = n_cores() if jax.default_backend() == "cpu" else 1
        self._workers = ThreadPoolExecutor(self.n_workers, thread_name_prefix="encode")

    def __call__(self, batch: PaddedBatch, words: WordSlots | None = None) -> jax.Array:
        """The vectors of a batch; a shape that has no program yet gets one first."""
        return self._program(batch, words).result()(self.state, *self._placed(batch, words))

    def start(self, batch: PaddedBatch, words: WordSlots | None = None) -> Future[np.ndarray]:
        """The vectors of a batch, in this process's memory, when they are computed."""
        return self._workers.submit(self._in_parts, batch, words)

    def _in_parts(self, batch: PaddedBatch, words: WordSlots | None) -> np.ndarray:
        """The vectors of a batch, by halves of its rows where the device's memory does not suffice for more."""
        n_rows = len(batch.input_ids)
        if n_rows <= self._most_rows:
            try:
                return np.asarray(self(batch, words))
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                if n_rows == 1:
                    raise UserError(
                        f"The device has no memory for a row of {batch.input_ids.shape[1]} tokens: lower "
                        "config.extraction.max_length, or take a smaller encoder."
                    ) from error
        half = -(-n_rows // 2)
        if half < self._most_rows:
            self._most_rows = half
            n_tokens = half * batch.input_ids.shape[1]
            log.warning("the device's memory ran out: batches of %d tokens from here on", n_tokens)
        first, second = (PaddedBatch(*(array[rows] for array in batch)) for rows in (slice(half), slice(half, None)))
        if words is None:
            return np.concatenate([self._in_parts(first, None), self._in_parts(second, None)])
        in_first = words.rows < half
        of_first, of_second = (
            WordSlots(np.where(own, words.rows - start, 0), words.starts, np.where(own, words.counts, 0))
            for own, start in ((in_first, 0), (~in_first, half))
        )
        vectors = self._in_parts(first, of_first), self._in_parts(second, of_second)
        return np.where(in_first.reshape(-1, *(1,) * (vectors[0].ndim - 1)), *vectors)

    def compile_ahead(self, batch: PaddedBatch, words: WordSlots | None = None) -> None:
        """Compiles the program for a batch's shapes in the background, where there is none."""
        if self._key(batch, words) not in self._programs:
            self._ahead.submit(self._program, batch, words)

    def _program(self, batch: PaddedBatch, words: WordSlots | None) -> Future[Callable[..., jax.Array]]:
        key = self._key(batch, words)
        with self._lock:
            own = key not in self._programs
            future = self._programs.setdefault(key, Future())
        if own:
            try:
                future.set_result(self._compiled(batch, words))
            except BaseException as error:
                future.set_exception(error)
        return future

    def _compiled(self, batch: PaddedBatch, words: WordSlots | None) -> Callable[..., jax.Array]:
        return self.function.lower(self.state, *self._placed(batch, words)).compile()  # type: ignore[attr-defined]

    def _placed(self, batch: PaddedBatch, words: WordSlots | None) -> tuple[PaddedBatch, WordSlots | None]:
        """The arrays where they are computed: rows on all devices that share them, where they come out even."""
        if self._mesh is None:
            return batch, words
        even = len(batch.input_ids) % self._mesh.size == 0
        by_row = NamedSharding(self._mesh, PartitionSpec("row") if even else PartitionSpec())
        whole = NamedSharding(self._mesh, PartitionSpec())
        placed = PaddedBatch(*(jax.device_put(array, by_row) for array in batch))
        return placed, None if words is None else WordSlots(*(jax.device_put(array, whole) for array in words))

    @staticmethod
    def _key(batch: PaddedBatch, words: WordSlots | None) -> tuple[Any, ...]:
        return tuple((array.shape, array.dtype) for array in (*batch, *(words or ())))


def sharing_devices() -> list[Any]:
    """The devices that share the rows of a batch: all of this process's, or the first of a CPU's."""
    devices = jax.local_devices()
    return devices[:1] if jax.default_backend() == "cpu" else devices


def encode_fn(
    model: Encoder,
    pooling_name: str,
    dtype: str,
    neurons: tuple[np.ndarray, np.ndarray] | None = None,
    layers: Sequence[int] = (),
) -> Encode:
    """A function from a batch to its vectors, [row, layer, neuron], of all layers or of some; or to some neurons,
    [row, neuron], whose layers and indices `neurons` has.

    Of the poolings of sentences (cls, last, mean, max) it takes the batch, and a row is a slot of one of its rows, the
    slots of the first of them before those of the next; of those of words (last, first, average) it takes the batch and
    its `WordSlots`, and a row is one of these. They come in the stored dtype, except that float16 comes from a CPU as
    float32: XLA has no float16 on CPUs without F16C. Nothing else leaves the device.
    """
    graph, state = nnx.split(model)
    given_dtype = "float32" if dtype == "float16" and jax.default_backend() == "cpu" else dtype

    def encode(state: Any, batch: PaddedBatch, words: WordSlots | None = None) -> jax.Array:
        input_ids, attention_mask, token_type_ids, positions = (jnp.asarray(array) for array in batch)
        encoder, tokens = nnx.merge(graph, state), (input_ids, attention_mask, token_type_ids)
        if words is not None:
            slots = [jnp.asarray(array) for array in words]
            vectors = encoder(*tokens, lambda hidden: pooling.words(pooling_name, hidden, *slots))
        else:
            positions = positions.reshape(len(positions), -1)
            own = pooling.own_tokens(attention_mask, positions.shape[1])
            if pooling_name in ("cls", "last"):
                at = positions if pooling_name == "cls" else pooling.last_positions(own)
                vectors = encoder.at(at, *tokens)
            else:
                of_sentence = {"mean": pooling.mean, "max": pooling.max}[pooling_name]
                vectors = encoder(*tokens, lambda hidden: of_sentence(hidden, own))
            vectors = vectors.reshape(len(vectors), -1, vectors.shape[-1])
        if neurons is not None:
            return vectors[neurons[0], :, neurons[1]].swapaxes(0, 1).astype(given_dtype)
        wanted = vectors[np.array(layers)] if layers else vectors
        return wanted.swapaxes(0, 1).astype(given_dtype)

    return Encode(jax.jit(encode, compiler_options=_compiler_options(state)), state)


def _compiler_options(state: Any) -> dict[str, Any] | None:
    """Of a CPU: one thread, and no second copy of bfloat16 weights.

    XLA multiplies bfloat16 numbers as float32 on CPUs, and would convert the kernels of all layers before the scan over
    them: twice the weights' memory beside them (benchmarks/loading_memory.py). In the scan, a layer's are converted.
    """
    if jax.default_backend() != "cpu":
        return None
    rounded = any(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(state))
    no_copy = {"xla_disable_hlo_passes": "while-loop-invariant-code-motion"} if rounded else {}
    return {"xla_cpu_multi_thread_eigen": False, **no_copy}
