"""The layer of encoders that normalise after each sum: attention, which is an architecture's own, and feed-forward."""

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxred.models.activation_functions import ACTIVATIONS
from jaxred.models.linear import TILE, layer_norm, linear, mapped_in_parts


@runtime_checkable
class LayerShape(Protocol):
    """What a configuration says about a layer."""

    @property
    def hidden_size(self) -> int: ...

    @property
    def n_heads(self) -> int: ...

    @property
    def intermediate_size(self) -> int: ...

    @property
    def hidden_act(self) -> str: ...

    @property
    def layer_norm_eps(self) -> float: ...


class Layer(nnx.Module):
    """Attention and a feed-forward network, each added to its input and then normalised.

    Products are taken in `dtype`; softmax, activation, layer norms and the residual sums in float32.
    """

    def __init__(self, config: LayerShape, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        size, inner, epsilon = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.attention_norm = layer_norm(size, epsilon, rngs)
        self.intermediate = linear(size, inner, dtype, rngs)
        self.output = linear(inner, size, dtype, rngs)
        self.output_norm = layer_norm(size, epsilon, rngs)
        self.n_heads = config.n_heads
        self.activation = ACTIVATIONS[config.hidden_act]

    def __call__(
        self,
        hidden: Float[Array, "batch token hidden"],
        relations: Any,
        wanted: Float[Array, "batch query hidden"] | None = None,
    ) -> Float[Array, "batch query hidden"]:
        """The layer's output at every token or, where only some are wanted, at these.

        Args:
            hidden: the layer's input.
            relations: how the tokens that are wanted stand to all, of the encoder's `relate`.
            wanted: the layer's input at the tokens that are wanted; None for all.
        """
        attended = self.attend(hidden, relations, wanted)
        hidden = self.attention_norm((hidden if wanted is None else wanted) + attended.astype(jnp.float32))
        activated = self.activation(self.intermediate(hidden).astype(jnp.float32))
        return self.output_norm(hidden + self.output(activated).astype(jnp.float32))

    def attend(
        self,
        hidden: Float[Array, "batch token hidden"],
        relations: Any,
        wanted: Float[Array, "batch query hidden"] | None,
    ) -> Float[Array, "batch query hidden"]:
        """Multi-head attention of the tokens that are wanted to all, projected back."""
        raise NotImplementedError


def over_sentences(
    attend: Callable[..., Float[Array, "query hidden"]], *arrays: Any
) -> Float[Array, "batch query hidden"]:
    """`attend` of every sentence: of what the arrays [batch, query, ...], [batch, token, ...] hold of it.

    On a CPU a few sentences are taken at a time, so that their scores stay in its cache.
    """
    n_sentences, n_tokens = arrays[0].shape[:2]
    at_once = n_sentences
    if jax.default_backend() == "cpu":
        at_once = math.gcd(n_sentences, 1 << (TILE // n_tokens).bit_length() >> 1)  # a power of two, without remainder
    return mapped_in_parts(attend, max(at_once, 1), *arrays)
