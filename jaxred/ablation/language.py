"""A causal encoder with its output embeddings: from hidden states to the loss of each token's next one."""

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxred.errors import UserError
from jaxred.models import Encoder, load_encoder, pretrained
from jaxred.models.checkpoint import stored_tensors
from jaxred.models.token_rows import Mask

OUTPUT = "lm_head.weight"  # the name of the output embeddings in checkpoints


class LanguageModel(nnx.Module):
    """An encoder and the embeddings by which it predicts the next token."""

    def __init__(
        self, encoder: Encoder, output: Float[Array, "vocabulary hidden"] | None = None, soft_cap: float = 0.0
    ):
        """Ties the output to the embeddings of the input where there is none of its own.

        Args:
            encoder: a causal one.
            output: the output embeddings; None: those of the input.
            soft_cap: outputs become cap * tanh(output / cap); 0: they do not.
        """
        self.encoder, self.soft_cap = encoder, soft_cap
        self.output = None if output is None else nnx.Param(output)

    def losses(
        self, hidden: Float[Array, "batch token hidden"], ids: Int[Array, "batch token"], mask: Mask
    ) -> Float[Array, " position"]:
        """-ln p of the token after each position of all rows, one row after the other; 0 where none of its text is.

        Args:
            hidden: of the last layer, after its norm.
            ids: the tokens.
            mask: which tokens belong together, as the encoder takes it.
        """
        embeddings = self.encoder.embeddings.word.embedding if self.output is None else self.output
        vectors = jnp.asarray(embeddings[...], jnp.float32)
        # One row of the batch at a time: the scores of a whole vocabulary are large.
        found = jax.lax.map(lambda row: self._of_row(row[0], row[1], row[2], vectors), (hidden, ids, mask))
        return found.reshape(-1)

    def _of_row(self, hidden: Array, ids: Array, mask: Array, embeddings: Array) -> Float[Array, " token"]:
        scores = jnp.dot(hidden, embeddings.T, precision=jax.lax.Precision.HIGHEST)
        if self.soft_cap:
            scores = self.soft_cap * jnp.tanh(scores / self.soft_cap)
        following = jnp.roll(ids, -1)
        own = jnp.take_along_axis(scores, following[:, None], axis=1)[:, 0]
        has_next = has_next_token(mask[None])[0]
        return jnp.where(has_next, jax.nn.logsumexp(scores, axis=1) - own, 0)


def has_next_token(mask: Mask) -> Array:
    """Where the next token of a row is one of the same text."""
    numbers = jnp.asarray(mask).astype(jnp.int32)
    following = jnp.concatenate([numbers[:, 1:], jnp.zeros_like(numbers[:, :1])], axis=1)
    return (numbers > 0) & (numbers == following)


def load_language_model(folder: Path) -> LanguageModel:
    """The language model of a Hugging Face folder.

    Raises:
        UserError: it is no causal one, or its output embeddings are neither there nor those of its input.
    """
    encoder, raw = load_encoder(folder), pretrained.read_config(folder)
    if encoder.config.tokens.sentence_position is not None:
        raise UserError(
            f"config.ablation.score='perplexity' is of causal models, and {folder} is a {encoder.config.title}: choose "
            "head."
        )
    output = stored_tensors(folder, [OUTPUT]).get(OUTPUT)
    if output is None and raw.get("tie_word_embeddings") is False:
        raise UserError(
            f"{folder} has no {OUTPUT}, and its config.json says that it is not tied to the embeddings: name a folder "
            "with the language model's head."
        )
    cap = raw.get("final_logit_softcapping") or 0.0
    return LanguageModel(encoder, None if output is None else jnp.asarray(output), float(cap))
