"""What every encoder is: embeddings and stacked layers, every layer's hidden states, a cut to the first k layers."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxred.errors import UserError
from jaxred.models import pooling
from jaxred.models.architecture_config import ArchitectureConfig
from jaxred.models.attention import Relations
from jaxred.models.dropout import SILENT, Dropouts, Noise
from jaxred.models.heads import HeadTable
from jaxred.models.token_rows import Mask, visible_tokens
from jaxred.models.weight_table import WeightTable

Reduce = Callable[[Float[Array, "batch token hidden"]], Float[Array, "..."]]
Step = Callable[[int | Int[Array, ""], Float[Array, "batch token hidden"]], Float[Array, "batch query hidden"]]
_AnyEncoder = TypeVar("_AnyEncoder", bound="Encoder")


def keep_all(hidden: Float[Array, "batch token hidden"]) -> Float[Array, "batch token hidden"]:
    """The `reduce` that keeps every token."""
    return hidden


class Encoder(nnx.Module):
    """An encoder whose layers are stacked: every leaf of `layers` has a leading layer axis.

    An architecture names its parts and its weights, and says by `relate` what its layers attend by. There is no dropout
    but where `last` is given noise. In float32 the products are true ones on every device.
    """

    config_type: ClassVar[type[ArchitectureConfig]]
    embeddings_type: ClassVar[type[Any]]  # a module of (config, dtype, rngs=rngs); called with tokens, mask, segments
    layer_type: ClassVar[type[Any]]  # a module of (config, dtype, rngs=rngs): a PostNormLayer or a PreNormLayer
    weights: ClassVar[WeightTable]
    dropouts: ClassVar[Dropouts] = {}  # in training, as its `config.json` names them
    sentence_head: ClassVar[HeadTable | None] = None  # by which it is fine-tuned; None: there is none
    word_head: ClassVar[HeadTable | None] = None

    def __init__(self, config: Any, compute_dtype: str = "float32", *, rngs: nnx.Rngs):
        """Draws random weights.

        Args:
            config: the shape, a `config_type`.
            compute_dtype: float32 or bfloat16, the type of the embeddings, and of the layers' kernels and products.
            rngs: the source of the weights.
        """
        dtype = jnp.dtype(compute_dtype)
        self.config = config
        self.depth = config.n_layers  # of the whole encoder, also once it is cut
        self.embeddings = self.embeddings_type(config, dtype, rngs=rngs)
        self.shared = self.shared_by_layers(config, dtype, rngs)
        n_stored = self._n_stored(config.n_layers)
        self.layers = nnx.vmap(lambda rngs: self.layer_type(config, dtype, rngs=rngs))(rngs.split(n_stored))
        self.final_norm = self.norm_after_layers(config, rngs)

    def shared_by_layers(self, config: Any, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Module | None:
        """What all layers attend by and is trained, such as vectors of distances; None: nothing."""
        del config, dtype, rngs

    def norm_after_layers(self, config: Any, rngs: nnx.Rngs) -> nnx.Module | None:
        """The norm of the last layer's hidden states, where layers normalise before each part; None: none."""
        del config, rngs

    def stored_layer(self, index: Any) -> Any:
        """Which of the stored layers is run as the layer `index`; another where layers share their weights."""
        return index

    def __repr__(self) -> str:
        shape = f"{self.config.n_layers} layers x {self.config.hidden_size:,} neurons"
        return f"<{type(self).__name__}: {shape}, {self.n_parameters(self.config.n_layers):,} parameters>"

    __str__ = __repr__  # that of flax lists every weight

    def __call__(
        self,
        input_ids: Int[Array, "batch token"],
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        reduce: Reduce = keep_all,
    ) -> Float[Array, "layer ..."]:
        """The hidden states of the embeddings (layer 0) and of every layer after them, as Hugging Face's
        `output_hidden_states` has them: the last ones are those after the norm of all layers, where there is one.

        Args:
            input_ids: the tokens.
            attention_mask: True at real tokens, False at padding; or the number of each token's sentence in its row,
                of rows of several sentences, and 0 at padding (`jaxred.models.token_rows`).
            token_type_ids: the segment of each token, as the architecture's tokenizer counts them.
            reduce: what is kept of each layer, such as one vector per sentence; the rest never leaves the scan.

        Returns:
            `reduce` of every layer's float32 hidden states, stacked; without `reduce`, (layer, batch, token, hidden).

        Raises:
            UserError: if the batch is longer than the model has positions.
        """
        embedded = self._embed(input_ids, attention_mask, token_type_ids)
        relations = self.relate(attention_mask, token_type_ids, self._all(attention_mask))
        hidden, layers = self._first(self.config.n_layers, embedded, relations, reduce)
        return layers if self.final_norm is None else layers.at[-1].set(reduce(self.final_norm(hidden)))

    def at(
        self,
        positions: Int[Array, "batch query"],
        input_ids: Int[Array, "batch token"],
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
    ) -> Float[Array, "layer batch query hidden"]:
        """The hidden states of some tokens of each row, such as one a sentence; the last layer computes no others.

        Args:
            positions: the tokens of each row that are needed: one, or fewer than there are.
            input_ids: as for all tokens, like the other arguments.
            attention_mask: True at real tokens.
            token_type_ids: the segment of each token.

        Raises:
            UserError: if the batch is longer than the model has positions.
        """
        embedded = self._embed(input_ids, attention_mask, token_type_ids)
        reduce = functools.partial(pooling.at, positions=positions)
        if self.config.n_layers == 0:
            return reduce(embedded if self.final_norm is None else self.final_norm(embedded))[None]
        n_before = self.config.n_layers - 1
        all_tokens = self.relate(attention_mask, token_type_ids, self._all(attention_mask))
        hidden, layers = self._first(n_before, embedded, all_tokens, reduce)
        relations = self.relate(attention_mask, token_type_ids, positions)
        last = self._run(n_before, hidden, relations, layers[-1])
        if self.final_norm is not None:
            last = self.final_norm(last)
        return jnp.concatenate([layers, last[None]])

    def last(
        self,
        input_ids: Int[Array, "batch token"],
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        positions: Int[Array, " batch"] | None = None,
        noise: Noise = SILENT,
    ) -> Float[Array, "batch query hidden"]:
        """The last layer's hidden states, for training: nothing is kept of the other layers.

        Args:
            input_ids: the tokens.
            attention_mask: True at real tokens.
            token_type_ids: the segment of each token.
            positions: the one token of each row that is needed; None: all.
            noise: the dropout.

        Raises:
            UserError: if the batch is longer than the model has positions.
        """
        tokens = attention_mask, token_type_ids
        hidden = self._embed(input_ids, *tokens, noise)
        n_layers = self.config.n_layers
        all_tokens = self.with_noise(self.relate(*tokens, self._all(attention_mask)), noise)
        n_before = n_layers if positions is None else max(n_layers - 1, 0)
        hidden, _ = self._first(n_before, hidden, all_tokens, lambda hidden: jnp.zeros(()), noise)
        if positions is not None:
            wanted = pooling.at(hidden, positions[:, None])
            relations = self.with_noise(self.relate(*tokens, positions[:, None]), noise)
            hidden = self._run(n_before, hidden, relations, wanted, noise.of_layer(n_before)) if n_layers else wanted
        hidden = hidden if self.final_norm is None else self.final_norm(hidden)
        return noise("output", hidden)

    def embedded(
        self,
        input_ids: Int[Array, "batch token"],
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
    ) -> Float[Array, "batch token hidden"]:
        """Layer 0, for a computation that goes from layer to layer by `steps`.

        Raises:
            UserError: if the batch is longer than the model has positions.
        """
        return self._embed(input_ids, attention_mask, token_type_ids)

    def steps(
        self,
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        positions: Int[Array, "batch query"] | None = None,
    ) -> Step:
        """Each layer on its own: a function of a layer's number, counted from 0, and its input, which gives its output.

        Args:
            attention_mask: True at real tokens.
            token_type_ids: the segment of each token.
            positions: the tokens of each row that the function gives the output of; None: all.
        """
        queries = self._all(attention_mask) if positions is None else positions
        relations = self.relate(attention_mask, token_type_ids, queries)

        def step(
            index: int | Int[Array, ""], hidden: Float[Array, "batch token hidden"]
        ) -> Float[Array, "batch query hidden"]:
            return self._run(index, hidden, relations, None if positions is None else pooling.at(hidden, positions))

        return step

    def _embed(
        self,
        input_ids: Int[Array, "batch token"],
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        noise: Noise = SILENT,
    ) -> Float[Array, "batch token hidden"]:
        n_tokens, n_positions = input_ids.shape[1], self.config.usable_length
        if isinstance(n_tokens, int) and n_tokens > n_positions:
            raise UserError(
                f"A batch of {n_tokens} tokens per row does not fit the model's {n_positions} positions: "
                f"lower config.extraction.max_length to at most {n_positions}."
            )
        return self.embeddings(input_ids, attention_mask, token_type_ids, noise)

    def _first(
        self,
        n_layers: int,
        embedded: Float[Array, "batch token hidden"],
        relations: Any,
        reduce: Reduce,
        noise: Noise = SILENT,
    ) -> tuple[Float[Array, "batch token hidden"], Float[Array, "layer ..."]]:
        """Embeddings and first layers: the last one's hidden states, and `reduce` of each one's, stacked."""
        layer_0 = reduce(embedded)[None]
        if n_layers == 0:
            return embedded, layer_0

        def step(
            hidden: Float[Array, "batch token hidden"], index: Int[Array, ""]
        ) -> tuple[Float[Array, "batch token hidden"], Float[Array, "..."]]:
            hidden = self._run(index, hidden, relations, noise=noise.of_layer(index))
            return hidden, reduce(hidden)

        if not isinstance(embedded.shape[1], int):  # a program for any length, which leaves JAX: without loops
            hidden, kept = embedded, [layer_0]
            for index in range(n_layers):
                hidden = self._run(index, hidden, relations, noise=noise.of_layer(index))
                kept.append(reduce(hidden)[None])
            return hidden, jnp.concatenate(kept)
        hidden, layers = jax.lax.scan(step, embedded, jnp.arange(n_layers))
        return hidden, jnp.concatenate([layer_0, layers])

    @staticmethod
    def _all(attention_mask: Mask) -> Int[Array, "batch token"]:
        """The queries where all tokens attend."""
        n_rows, n_tokens = attention_mask.shape
        return jnp.broadcast_to(jnp.arange(n_tokens), (n_rows, n_tokens))

    def _run(
        self,
        index: int | Int[Array, ""],
        hidden: Float[Array, "batch token hidden"],
        relations: Any,
        wanted: Float[Array, "batch query hidden"] | None = None,
        noise: Noise = SILENT,
    ) -> Float[Array, "batch query hidden"]:
        """The layer `index`, of hidden states."""
        stored = self.stored_layer(index)
        layer = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, stored, keepdims=False), self.layers)
        return layer(hidden, self.relations_of_layer(relations, index), wanted, noise)

    def relate(
        self,
        attention_mask: Mask,
        token_type_ids: Int[Array, "batch token"],
        queries: Int[Array, "batch query"],
    ) -> Any:
        """What attention is given in addition to the hidden states, for all layers: here, which tokens are real.

        Args:
            attention_mask: True at real tokens.
            token_type_ids: the segment of each token.
            queries: where those tokens stand that attend to the others: all, in their order, or one of each row.
        """
        del token_type_ids
        return Relations(visible_tokens(attention_mask, queries))

    def with_noise(self, relations: Any, noise: Noise) -> Any:
        """What `relate` gives with its dropout, where it has any."""
        del noise
        return relations

    def relations_of_layer(self, relations: Any, index: int | Int[Array, ""]) -> Any:
        """What one layer attends by, where layers differ."""
        del index
        return relations

    def first_layers(self: _AnyEncoder, n_layers: int, keep_norm: bool = False) -> _AnyEncoder:
        """The encoder cut to its embeddings and first `n_layers` layers; the embeddings are shared, not copied.

        The norm after all layers is not in an encoder with fewer: its hidden states are those of the same layers in the
        whole encoder. With `keep_norm` it is, for an encoder that is then trained.

        Raises:
            ValueError: unless 0 <= n_layers <= config.n_layers.
        """
        self._check_n_layers(n_layers)
        cut = nnx.merge(*nnx.split(self))
        cut.config = dataclasses.replace(self.config, n_layers=n_layers)
        n_stored = self._n_stored(n_layers)
        cut.layers = jax.tree.map(lambda leaf: leaf[:n_stored], self.layers)
        if n_layers < self.config.n_layers and not keep_norm:
            cut.final_norm = None
        return cut

    def n_parameters(self, n_layers: int) -> int:
        """The number of parameters of the encoder cut to its first `n_layers` layers, embeddings included.

        Raises:
            ValueError: unless 0 <= n_layers <= config.n_layers.
        """
        self._check_n_layers(n_layers)
        parts = [self.embeddings, self.shared, *([self.final_norm] if n_layers == self.config.n_layers else [])]
        a_layer = sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(self.layers))
        return sum(leaf.size for leaf in jax.tree.leaves(parts)) + self._n_stored(n_layers) * a_layer

    def _n_stored(self, n_layers: int) -> int:
        return len({*map(self.stored_layer, range(n_layers))})

    def _check_n_layers(self, n_layers: int) -> None:
        if not 0 <= n_layers <= self.config.n_layers:
            raise ValueError(f"n_layers={n_layers} is not between 0 and the model's {self.config.n_layers}.")
