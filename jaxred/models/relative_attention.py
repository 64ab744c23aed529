"""XLNet's attention, by content, relative position and segment.

References: Yang et al., "XLNet: Generalized Autoregressive Pretraining for Language Understanding" (NeurIPS 2019); Dai
et al., "Transformer-XL" (ACL 2019).
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from jaxred.models.attention import weights_shape
from jaxred.models.distances import by_token, of_tokens
from jaxred.models.dropout import SILENT, Noise
from jaxred.models.linear import over_sentences, product, products


class Relations(NamedTuple):
    """How the tokens that attend, the queries, stand to all, which every layer attends by."""

    positions: Float[Array, "distance hidden"]
    queries: Int[Array, "batch query"]  # where they stand
    visible: Bool[Array, "batch query token"]
    other_segment: Bool[Array, "batch query token"]


class RelativeAttention(nnx.Module):
    """Attention by content, relative position and segment; its biases are float32."""

    def __init__(self, config: Any, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        size, n_heads = config.hidden_size, config.n_heads

        def normal(dtype: Any, *n: int) -> nnx.Param:
            return nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), (*n, n_heads, size // n_heads), dtype))

        self.query, self.key, self.value = normal(dtype, size), normal(dtype, size), normal(dtype, size)
        self.position = normal(dtype, size)
        self.output = normal(dtype, size)  # (out, head, size of a head)
        self.content_bias, self.position_bias = normal(jnp.float32), normal(jnp.float32)
        self.segment_bias = normal(jnp.float32)
        self.segments = normal(jnp.float32, 2)  # of the same segment, of another

    def __call__(
        self,
        hidden: Float[Array, "batch token hidden"],
        relations: Relations,
        wanted: Float[Array, "batch query hidden"] | None = None,
        noise: Noise = SILENT,
    ) -> Float[Array, "batch query hidden"]:
        """Multi-head attention of a token i to the tokens j that it sees, projected back.

            score[i, j] = ((q[i] + b_k) k[j] + (q[i] + b_r) r[i - j] + (q[i] + b_s) s[i, j]) / sqrt(head size)

        where s[i, j] is one vector for tokens of one segment and another for tokens of two. What is the same for all j
        falls out of the softmax, so that only the difference of the two vectors is multiplied, where tokens differ.
        """
        size = hidden.shape[-1]
        content_bias, position_bias, segment_bias = (
            bias[...][:, None] for bias in (self.content_bias, self.position_bias, self.segment_bias)
        )

        def heads(x: Float[Array, "row hidden"]) -> Float[Array, "head row size"]:
            return x.reshape(len(x), *self.content_bias.shape).swapaxes(0, 1)

        distance = heads(product(relations.positions[None], self.position.reshape(size, -1))[0])
        segments = (self.segments[1] - self.segments[0])[:, None]

        def context(
            query: Float[Array, "query hidden"],
            key: Float[Array, "token hidden"],
            value: Float[Array, "token hidden"],
            queries: Int[Array, " query"],
            visible: Bool[Array, "query token"],
            other_segment: Bool[Array, "query token"],
            kept: Float[Array, "head query token"] | None,
        ) -> Float[Array, "query hidden"]:
            query, key, value = map(heads, (query, key, value))

            def biased(bias: Float[Array, "head 1 size"]) -> Float[Array, "head query size"]:
                return (query.astype(jnp.float32) + bias) / math.sqrt(query.shape[-1])

            def scores(
                x: Float[Array, "head query size"], y: Float[Array, "head row size"]
            ) -> Float[Array, "head query row"]:
                return jnp.einsum(
                    "hqs,hrs->hqr",
                    x.astype(y.dtype),
                    y,
                    precision=Precision.HIGHEST,
                    preferred_element_type=jnp.float32,
                )

            by_distance = scores(biased(position_bias), distance)
            total = scores(biased(content_bias), key)
            n_tokens = key.shape[1]
            if wanted is None:
                total += by_token(by_distance)
            else:
                total += of_tokens(by_distance, queries, jnp.arange(n_tokens), n_tokens)
            segment = jnp.sum(biased(segment_bias) * segments, -1, keepdims=True)
            total += jnp.where(other_segment, segment, 0.0)
            weights = jax.nn.softmax(jnp.where(visible, total, jnp.finfo(jnp.float32).min))
            weights = weights if kept is None else weights * kept
            context = jnp.einsum("hqk,hks->hqs", weights.astype(value.dtype), value, precision=Precision.HIGHEST)
            return context.swapaxes(0, 1).reshape(len(visible), size)

        kernels = (each.reshape(size, -1) for each in (self.query, self.key, self.value))
        maps = products(hidden, *kernels, wanted=wanted)
        kept = noise.factors("attention", weights_shape(maps[0], hidden, len(self.content_bias)))
        visible = relations.queries, relations.visible, relations.other_segment
        attended = over_sentences(context, *maps, *visible, kept)
        return product(attended, self.output.reshape(size, -1).T).astype(jnp.float32)
