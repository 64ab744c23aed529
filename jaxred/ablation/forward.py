"""The forward pass of a model with its head, with neurons and layers removed, for many sets of them.

The hidden states of the whole model are computed once per batch of text. A set resumes from those of the first layer
that it changes, so that a set in the upper layers costs these alone, and the last layer is computed only where the head
reads it. On a CPU each core computes a batch in a program of one thread and takes one set after the other; on an
accelerator several sets are one batched axis.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxred.ablation.batches import Batch
from jaxred.ablation.interventions import Interventions
from jaxred.ablation.language import LanguageModel
from jaxred.config import ABLATION_VALUES
from jaxred.errors import UserError
from jaxred.finetuning.classifier import Classifier
from jaxred.io.processors import n_cores
from jaxred.io.progress import progress_bar
from jaxred.models import pooling
from jaxred.models.dropout import SILENT

Model = Classifier | LanguageModel  # an encoder, and what gives its outputs

SETS_AT_ONCE = 16  # on an accelerator; on a CPU one


class Ablation:
    """A model with its head, from batches and sets of what is removed to outputs."""

    def __init__(
        self,
        model: Model,
        value: str = "zero",
        means: Float[np.ndarray, "layer hidden"] | None = None,
        word_pooling: str = "last",
        n_workers: int = 0,
    ):
        """Compiles nothing yet.

        Args:
            model: the encoder and its head.
            value: what takes a removed neuron's place, of `config.ABLATION_VALUES`.
            means: the mean of each neuron, for the value mean.
            word_pooling: the sub-word that stands for a word.
            n_workers: batches that are computed at once; 0: one per core of a CPU, one on an accelerator.

        Raises:
            UserError: the value is unknown.
            ValueError: means are missing, or of another shape.
        """
        if value not in ABLATION_VALUES:
            raise UserError(f"value={value!r} is not possible: choose from {', '.join(ABLATION_VALUES)}.")
        config = model.encoder.config
        self.shape = config.n_layers + 1, config.hidden_size
        if value == "mean" and (means is None or means.shape != self.shape):
            raise ValueError(f"The value mean needs means of the shape {self.shape}.")
        self.value = value
        fills = np.zeros(self.shape, np.float32) if means is None or value != "mean" else np.float32(means)
        self._fills = jnp.asarray(fills)
        self._word_pooling = word_pooling
        on_cpu = jax.default_backend() == "cpu"
        self.sets_at_once = 1 if on_cpu else SETS_AT_ONCE
        self.n_workers = n_workers or (n_cores() if on_cpu else 1)
        graph, self._state = nnx.split(model)
        options = {"xla_cpu_multi_thread_eigen": False} if on_cpu else None
        self._whole = jax.jit(
            lambda state, *batch: self._states(nnx.merge(graph, state), *batch), compiler_options=options
        )
        self._changed = jax.jit(
            lambda state, *arguments: self._outputs(nnx.merge(graph, state), *arguments), compiler_options=options
        )

    def outputs(
        self,
        batches: list[Batch],
        sets: Interventions,
        of_rows: Callable[[np.ndarray], np.ndarray] = lambda outputs: outputs,
        title: str = "ablation",
    ) -> np.ndarray:
        """What the head gives for every row with each set removed, [set, row, ...].

        Args:
            batches: of `batches_of`.
            sets: what is removed.
            of_rows: what is kept of the outputs [set, row, output] of a batch, such as the class of the largest.
            title: of the progress bar.
        """
        order = np.argsort(sets.first, kind="stable")
        chunks = [order[start : start + self.sets_at_once] for start in range(0, len(order), self.sets_at_once)]
        n_rows = sum(len(batch.rows) for batch in batches)
        kept: dict[str, np.ndarray] = {}
        with ThreadPoolExecutor(self.n_workers) as pool, progress_bar(n_rows, title, "rows") as bar:
            waiting = [pool.submit(self._of_batch, batch, sets, chunks) for batch in batches]
            for batch, future in zip(batches, waiting, strict=True):
                of_batch = of_rows(future.result())
                if not kept:
                    kept["all"] = np.zeros((len(sets), n_rows, *of_batch.shape[2:]), of_batch.dtype)
                kept["all"][:, batch.rows] = of_batch
                bar.update(len(batch.rows))
        return kept["all"]

    def _of_batch(self, batch: Batch, sets: Interventions, chunks: list[np.ndarray]) -> np.ndarray:
        arrays = *batch.tokens, batch.words
        states, last = self._whole(self._state, *arrays)
        outputs: Any = None
        for chunk in chunks:
            full = np.resize(chunk, self.sets_at_once)  # of one shape, so that there is one program
            some = sets.of(full)
            start = np.int32(some.first.min())
            of_chunk = np.asarray(
                self._changed(self._state, *arrays, states, last, batch.donors, batch.donor_slots, start, *some)
            )
            if outputs is None:
                outputs = np.empty((len(sets), len(batch.rows), *of_chunk.shape[2:]), of_chunk.dtype)
            outputs[chunk] = of_chunk[: len(chunk), batch.places]
        return outputs

    @staticmethod
    def _positions(model: Model, mask: Array, positions: Array, words: Any) -> Array | None:
        """The tokens that the head reads; None: all."""
        if words is not None or isinstance(model, LanguageModel):
            return None
        positions = positions.reshape(len(positions), -1)
        if model.encoder.config.tokens.sentence_position is None:
            return pooling.last_positions(pooling.own_tokens(mask, positions.shape[1]))
        return positions

    def _states(
        self, model: Model, ids: Array, mask: Array, types: Array, positions: Array, words: Any
    ) -> tuple[Float[Array, "layer batch token hidden"], Float[Array, "batch query hidden"]]:
        """The hidden states of the whole model before its last layer, and the last layer's where the head reads them,
        before the norm that follows it.
        """
        encoder, n_layers = model.encoder, model.encoder.config.n_layers
        ids, mask, types, positions = (jnp.asarray(array) for array in (ids, mask, types, positions))
        embedded, at = encoder.embedded(ids, mask, types), self._positions(model, mask, positions, words)
        if n_layers == 0:
            return embedded[None], _at(embedded, at)
        step = encoder.steps(mask, types)

        def following(hidden: Array, index: Array) -> tuple[Array, Array]:
            hidden = step(index, hidden)
            return hidden, hidden

        hidden, others = jax.lax.scan(following, embedded, jnp.arange(n_layers - 1))
        last = encoder.steps(mask, types, at)(n_layers - 1, hidden)
        return jnp.concatenate([embedded[None], others]), last

    def _outputs(
        self,
        model: Model,
        ids: Array,
        mask: Array,
        types: Array,
        positions: Array,
        words: Any,
        states: Float[Array, "layer batch token hidden"],
        last: Float[Array, "batch query hidden"],
        donors: Array,
        donor_slots: Array,
        start: Array,
        removed: Array,
        skipped: Array,
    ) -> Float[Array, "set row output"]:
        """The outputs of a few sets, of which none changes a layer before `start`."""
        encoder, top = model.encoder, model.encoder.config.n_layers
        mask, types, positions = (jnp.asarray(array) for array in (mask, types, positions))
        at = self._positions(model, mask, positions, words)
        step, last_step = encoder.steps(mask, types), encoder.steps(mask, types, at)

        def donated(whole: Array, from_where: Array) -> Array:
            return whole.reshape(-1, whole.shape[-1])[from_where].reshape(whole.shape)

        def changed(hidden: Array, layer: Array | int, gone: Array) -> Array:
            if self.value == "resample":
                other = donated(jax.lax.dynamic_index_in_dim(states, layer, keepdims=False), donors)
                return jnp.where(gone[layer], other, hidden)
            return jnp.where(gone[layer], self._fills[layer], hidden)

        def normed(hidden: Array) -> Array:
            return hidden if encoder.final_norm is None else encoder.final_norm(hidden)

        def one(gone: Array, identity: Array) -> Array:
            def before_last() -> Array:
                """The input of the last layer."""
                first = jax.lax.dynamic_index_in_dim(states, start, keepdims=False)
                below = jax.lax.dynamic_index_in_dim(states, jnp.maximum(start - 1, 0), keepdims=False)
                hidden = changed(jnp.where(identity[start], below, first), start, gone)

                def following(layer: Array, hidden: Array) -> Array:
                    return changed(jnp.where(identity[layer], hidden, step(layer - 1, hidden)), layer, gone)

                return jax.lax.fori_loop(start + 1, top, following, hidden)

            if top == 0:
                hidden = last
            else:
                whole = _at(states[top - 1], at), last

                def computed() -> tuple[Array, Array]:
                    hidden = before_last()
                    return _at(hidden, at), last_step(top - 1, hidden)

                own, hidden = jax.lax.cond(start == top, lambda: whole, computed)
                hidden = jnp.where(identity[top], own, hidden)
            hidden = normed(hidden)
            if self.value == "resample":
                fill = donated(normed(last), donors if at is None else donor_slots)
            else:
                fill = self._fills[top]
            hidden = jnp.where(gone[top], fill, hidden)
            if isinstance(model, LanguageModel):
                return model.losses(hidden, jnp.asarray(ids), mask)[:, None]
            if words is None:
                return model.head(hidden.reshape(-1, hidden.shape[-1]), SILENT)
            return model.head(pooling.words(self._word_pooling, hidden, *map(jnp.asarray, words)), SILENT)

        if len(removed) == 1:
            return one(removed[0], skipped[0])[None]
        return jax.vmap(one)(removed, skipped)


def _at(hidden: Array, positions: Array | None) -> Array:
    return hidden if positions is None else pooling.at(hidden, positions)
