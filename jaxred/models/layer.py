"""The two kinds of layers: those that normalise after each sum, as BERT's, and those that do before each part."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxred.models.dropout import SILENT, Noise
from jaxred.models.feed_forward import FeedForward
from jaxred.models.norms import layer_norm

Hidden = Float[Array, "batch token hidden"]
Wanted = Float[Array, "batch query hidden"]


class PostNormLayer(nnx.Module):
    """Attention and a feed-forward network, each added to its input and then normalised, in float32."""

    def __init__(self, config: Any, attention: nnx.Module, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        """A layer around attention, which is the architecture's own.

        Args:
            config: its sizes, activation and epsilon.
            attention: called with the hidden states, what `relate` gives, and the tokens that are wanted.
            dtype: of the products.
            rngs: the source of the weights.
        """
        size, epsilon = config.hidden_size, config.layer_norm_eps
        self.attention: Any = attention
        self.attention_norm = layer_norm(size, epsilon, rngs)
        self.feed_forward = FeedForward(size, config.intermediate_size, config.hidden_act, dtype, rngs=rngs)
        self.output_norm = layer_norm(size, epsilon, rngs)

    def __call__(self, hidden: Hidden, relations: Any, wanted: Wanted | None = None, noise: Noise = SILENT) -> Wanted:
        """The layer's output at every token or, where only some are wanted, at these.

        Args:
            hidden: the layer's input.
            relations: how the tokens that are wanted stand to all, of the encoder's `relate`.
            wanted: the layer's input at the tokens that are wanted; None for all.
            noise: the dropout, in training.
        """
        attended = noise("attended", self.attention(hidden, relations, wanted, noise))
        hidden = self.attention_norm((hidden if wanted is None else wanted) + attended)
        return self.output_norm(hidden + noise("fed", self.feed_forward(hidden, noise)))


class PreNormLayer(nnx.Module):
    """Attention and a feed-forward network, each given its normalised input and added to what came in.

    A subclass sets `attention`, `attention_norm`, `feed_forward` and `feed_forward_norm`, and, where what is added is
    normalised too, `attended_norm` and `fed_norm`. The sums and norms are float32.
    """

    attention: Any
    attention_norm: Any
    feed_forward: Any
    feed_forward_norm: Any
    attended_norm: Any = None
    fed_norm: Any = None

    def __call__(self, hidden: Hidden, relations: Any, wanted: Wanted | None = None, noise: Noise = SILENT) -> Wanted:
        """The layer's output at every token or, where only some are wanted, at these; as `PostNormLayer`."""
        own = None if wanted is None else self.normalised(wanted, relations)
        attended = noise("attended", self.attention(self.normalised(hidden, relations), relations, own, noise))
        hidden = (hidden if wanted is None else wanted) + (self.attended_norm or _same)(attended)
        fed = noise("fed", self.feed_forward(self.feed_forward_norm(hidden), noise))
        return hidden + (self.fed_norm or _same)(fed)

    def normalised(self, hidden: Hidden, relations: Any) -> Hidden:
        """What attention is given."""
        del relations
        return self.attention_norm(hidden)


def _same(hidden: Hidden) -> Hidden:
    return hidden
