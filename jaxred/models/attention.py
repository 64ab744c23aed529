"""Multi-head attention by content, with what architectures add to it: grouped heads, rotary positions, biases by
distance, windows, and caps of the scores.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import Precision
from jaxtyping import Array, Bool, Float

from jaxred.models.dropout import SILENT, Noise
from jaxred.models.fused_attention import fused_attention, kernel_for
from jaxred.models.linear import linear, mapped, over_sentences
from jaxred.models.norms import RMSNorm


@dataclass(frozen=True)
class AttentionShape:
    """What an architecture says about its attention."""

    hidden_size: int
    n_heads: int
    n_key_heads: int = 0  # heads of keys and values, each shared by a group of query heads; 0: as many as n_heads
    head_size: int = 0  # 0: hidden_size / n_heads
    bias: bool = True  # of the queries, keys and values
    output_bias: bool = True
    divisor: float = 0.0  # of the scores; 0: sqrt(head_size)
    soft_cap: float = 0.0  # scores become cap * tanh(score / cap); 0: they do not
    head_norm_epsilon: float = 0.0  # queries and keys are RMS-normed by head; 0: they are not
    head_norm_offset: float = 0.0

    @property
    def size_of_head(self) -> int:
        return self.head_size or self.hidden_size // self.n_heads

    @property
    def score_divisor(self) -> float:
        return self.divisor or math.sqrt(self.size_of_head)


class Relations(NamedTuple):
    """How the tokens that attend, the queries, stand to all tokens; a leading axis of 1 says: the same in all rows."""

    visible: Bool[Array, "batch _ token"]  # a query each, or a query axis of 1, where all queries see the same tokens
    query_rotation: tuple[Float[Array, "batch query half"], Float[Array, "batch query half"]] | None = None
    key_rotation: tuple[Float[Array, "batch token half"], Float[Array, "batch token half"]] | None = None
    bias: Float[Array, "batch head query token"] | None = None  # added to the scores


class Attention(nnx.Module):
    """softmax(Q K^T / divisor + bias) V by head, projected back.

    Products are taken in `dtype`; scores, their softmax, rotations and norms in float32.
    """

    def __init__(self, shape: AttentionShape, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        size, n_key_heads = shape.size_of_head, shape.n_key_heads or shape.n_heads
        self.query = linear(shape.hidden_size, shape.n_heads * size, dtype, rngs, shape.bias)
        self.key = linear(shape.hidden_size, n_key_heads * size, dtype, rngs, shape.bias)
        self.value = linear(shape.hidden_size, n_key_heads * size, dtype, rngs, shape.bias)
        self.output = linear(shape.n_heads * size, shape.hidden_size, dtype, rngs, shape.output_bias)
        normed, offset = shape.head_norm_epsilon, shape.head_norm_offset
        self.query_norm = RMSNorm(size, normed, offset) if normed else None
        self.key_norm = RMSNorm(size, normed, offset) if normed else None
        self.shape = shape

    def __call__(
        self,
        hidden: Float[Array, "batch token hidden"],
        relations: Relations,
        wanted: Float[Array, "batch query hidden"] | None = None,
        noise: Noise = SILENT,
    ) -> Float[Array, "batch query hidden"]:
        """The attention of the tokens that are wanted, or of all, to the tokens that they see."""
        maps = mapped(hidden, self.query, self.key, self.value, wanted=wanted)
        kept = noise.factors("attention", weights_shape(maps[0], hidden, self.shape.n_heads))
        kernel = kernel_for(maps[0].dtype, self.shape.size_of_head)
        if kernel is None or kept is not None or self.shape.soft_cap:
            context = over_sentences(self._of_sentence, *maps, relations, kept)
        else:
            query, key, value = maps
            context = self._by_kernel(query, key, value, relations, kernel)
        return self.output(context).astype(jnp.float32)

    def _by_kernel(
        self,
        query: Float[Array, "batch query inner"],
        key: Float[Array, "batch token _"],
        value: Float[Array, "batch token _"],
        relations: Relations,
        kernel: str,
    ) -> Float[Array, "batch query inner"]:
        """The same as `_of_sentence` of every sentence, by a device's own kernel."""

        def heads(x: Array, norm: RMSNorm | None = None, rotation: Any = None) -> Array:
            own = jax.tree.map(lambda angles: jnp.broadcast_to(angles, (len(x), *angles.shape[1:])), rotation)
            return jax.vmap(lambda row, turn: self._heads(row, norm, turn))(x, own).swapaxes(1, 2)

        query = heads(query, self.query_norm, relations.query_rotation)
        key, value = heads(key, self.key_norm, relations.key_rotation), heads(value)
        divisor = self.shape.score_divisor
        context = fused_attention(query, key, value, relations.visible, relations.bias, divisor, kernel)
        return context.reshape(*context.shape[:2], -1)

    def _heads(
        self, x: Float[Array, "token inner"], norm: RMSNorm | None = None, rotation: Any = None
    ) -> Float[Array, "head token size"]:
        """What each head has of a row's queries, keys or values, normed and turned where the architecture does so."""
        of_heads = x.reshape(x.shape[0], -1, self.shape.size_of_head).swapaxes(0, 1)
        if norm is not None:
            of_heads = norm(of_heads.astype(jnp.float32)).astype(of_heads.dtype)
        return of_heads if rotation is None else rotated(of_heads, rotation)

    def _of_sentence(
        self,
        query: Float[Array, "query inner"],
        key: Float[Array, "token _"],
        value: Float[Array, "token _"],
        relations: Any,
        kept: Float[Array, "head query token"] | None = None,
    ) -> Float[Array, "query inner"]:
        shape, n_queries, n_tokens = self.shape, query.shape[0], key.shape[0]
        query = self._heads(query, self.query_norm, relations.query_rotation)
        key, value = self._heads(key, self.key_norm, relations.key_rotation), self._heads(value)
        grouped = query.reshape(len(key), -1, shape.size_of_head)  # the queries of all heads that share a key head
        scores = (
            jnp.einsum("hqs,hks->hqk", grouped, key, precision=Precision.HIGHEST, preferred_element_type=jnp.float32)
            / shape.score_divisor
        )
        scores = scores.reshape(shape.n_heads, n_queries, n_tokens)
        if shape.soft_cap:
            scores = shape.soft_cap * jnp.tanh(scores / shape.soft_cap)
        if relations.bias is not None:
            scores += relations.bias
        weights = jax.nn.softmax(jnp.where(relations.visible[None], scores, jnp.finfo(jnp.float32).min))
        weights = weights if kept is None else weights * kept
        weights = weights.astype(value.dtype).reshape(len(key), -1, n_tokens)
        context = jnp.einsum("hqk,hks->hqs", weights, value, precision=Precision.HIGHEST)
        return context.reshape(shape.n_heads, n_queries, -1).swapaxes(0, 1).reshape(n_queries, -1)


def weights_shape(
    query: Float[Array, "batch query _"], hidden: Float[Array, "batch token hidden"], n_heads: int
) -> tuple[Any, ...]:
    """The shape of the weights of attention, [sentence, head, query, token]."""
    return query.shape[0], n_heads, query.shape[1], hidden.shape[1]  # which ONNX has as symbols


def rotated(
    x: Float[Array, "head token size"], rotation: tuple[Float[Array, "token half"], Float[Array, "token half"]] | None
) -> Float[Array, "head token size"]:
    """Each head's pairs of values (i, i + half) turned by their token's angle; values beyond the pairs stay.

    Reference: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021).
    """
    assert rotation is not None
    cos, sin = (each[None] for each in rotation)
    half = cos.shape[-1]
    wide = x.astype(jnp.float32)
    first, second, rest = wide[..., :half], wide[..., half : 2 * half], wide[..., 2 * half :]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1).astype(x.dtype)
