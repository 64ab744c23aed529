"""DeBERTa's attention, in which content and relative position meet in terms of their own.

Reference: He, Liu, Gao, Chen, "DeBERTa: Decoding-enhanced BERT with Disentangled Attention" (ICLR 2021).
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from jaxred.models import attention
from jaxred.models.attention import Attention, AttentionShape
from jaxred.models.distances import by_token, of_tokens
from jaxred.models.dropout import SILENT, Noise
from jaxred.models.linear import linear, mapped, over_sentences


class Relations(NamedTuple):
    """How the tokens that attend, the queries, stand to all tokens."""

    visible: Bool[Array, "batch _ token"]
    queries: Int[Array, "batch query"]  # where they stand
    positions: Float[Array, "distance hidden"] | None  # the vectors of distances n, n - 1, ... -n


class DisentangledAttention(Attention):
    """Attention by content, to which content to position and position to content are added.

        score[i, j] = (q[i] k[j] + q[i] r_k[i - j] + r_q[i - j] k[j]) / sqrt(head size * number of terms)

    where r_k and r_q are the key and the query of the vector of a distance.
    """

    def __init__(self, config: Any, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        size, terms = config.hidden_size, config.pos_att_type
        divisor = math.sqrt(size // config.n_heads * (1 + len(terms)))
        super().__init__(AttentionShape(size, config.n_heads, divisor=divisor), dtype, rngs=rngs)
        own = config.relative_attention and not config.share_att_key
        self.position_key = linear(size, size, dtype, rngs) if own and "c2p" in terms else None
        self.position_query = linear(size, size, dtype, rngs) if own and "p2c" in terms else None
        self.terms = terms

    def __call__(
        self,
        hidden: Float[Array, "batch token hidden"],
        relations: Relations,
        wanted: Float[Array, "batch query hidden"] | None = None,
        noise: Noise = SILENT,
    ) -> Float[Array, "batch query hidden"]:
        maps = mapped(hidden, self.query, self.key, self.value, wanted=wanted)
        by_term = self._of_distances(relations.positions)
        tokens, n_tokens = jnp.arange(hidden.shape[1]), hidden.shape[1]

        def context(
            query: Float[Array, "query inner"],
            key: Float[Array, "token inner"],
            value: Float[Array, "token inner"],
            visible: Bool[Array, "_ token"],
            queries: Int[Array, " query"],
            kept: Float[Array, "head query token"] | None,
        ) -> Float[Array, "query inner"]:
            bias = jnp.zeros((1, 1, 1))
            if "c2p" in by_term:
                scores = self._scores(query, by_term["c2p"][:-1])
                bias += by_token(scores) if wanted is None else of_tokens(scores, queries, tokens, n_tokens)
            if "p2c" in by_term:
                scores = self._scores(key, by_term["p2c"][:0:-1])  # a row per token, columns by growing distance
                to_content = by_token(scores) if wanted is None else of_tokens(scores, tokens, queries, n_tokens)
                bias += to_content.swapaxes(1, 2)
            return self._of_sentence(query, key, value, attention.Relations(visible, bias=bias), kept)

        kept = noise.factors("attention", attention.weights_shape(maps[0], hidden, self.shape.n_heads))
        attended = over_sentences(context, *maps, relations.visible, relations.queries, kept)
        return self.output(attended).astype(jnp.float32)

    def _of_distances(
        self, positions: Float[Array, "distance hidden"] | None
    ) -> dict[str, Float[Array, "distance inner"]]:
        """The keys of distances, for the term c2p, and their queries, for p2c."""
        if positions is None or not self.terms:
            return {}
        maps = {"c2p": self.position_key or self.key, "p2c": self.position_query or self.query}
        outputs = mapped(positions[None], *(maps[term] for term in self.terms))
        return {term: output[0] for term, output in zip(self.terms, outputs, strict=True)}

    def _scores(
        self, x: Float[Array, "row inner"], y: Float[Array, "distance inner"]
    ) -> Float[Array, "head row distance"]:
        x, y = (each.reshape(len(each), self.shape.n_heads, -1) for each in (x, y))
        scores = jnp.einsum("rhs,dhs->hrd", x, y, precision=Precision.HIGHEST, preferred_element_type=jnp.float32)
        return scores / self.shape.divisor
