"""An encoder with a head: from padded batches to a score for each class, of sentences or of words."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxred.activations.packing import WordSlots
from jaxred.errors import UserError
from jaxred.models import Encoder, heads, load_encoder, pooling, pretrained
from jaxred.models.dropout import SILENT, DropoutRates, Noise, read_rates
from jaxred.models.heads import Head, HeadTable
from jaxred.models.tokenization import PaddedBatch


class Classifier(nnx.Module):
    """An encoder and the head by which it is fine-tuned."""

    def __init__(self, encoder: Encoder, head: Head):
        self.encoder, self.head = encoder, head

    def __call__(
        self, batch: PaddedBatch, words: WordSlots | None = None, pooling_name: str = "last", noise: Noise = SILENT
    ) -> Float[Array, "row class"]:
        """The scores of a batch's sentences or, where `words` says which tokens they are, of its words.

        Sentences are classified by the vector of the token that stands for them ([CLS], <cls>, or the last of causal
        models), as Hugging Face's models do.

        Args:
            batch: the tokens.
            words: which tokens are words.
            pooling_name: the sub-word that stands for a word: first, last, or average.
            noise: the dropout.
        """
        ids, mask, types, positions = (jnp.asarray(array) for array in batch)
        if words is None:
            if self.encoder.config.tokens.sentence_position is None:
                positions = pooling.last_positions(pooling.own_tokens(mask))[:, 0]
            return self.head(self.encoder.last(ids, mask, types, positions, noise)[:, 0], noise)
        hidden = self.encoder.last(ids, mask, types, noise=noise)
        return self.head(pooling.words(pooling_name, hidden, *(jnp.asarray(array) for array in words)), noise)


def head_table(encoder: Encoder, words: bool) -> HeadTable:
    """The head that an architecture is fine-tuned with.

    Raises:
        UserError: it has none for words.
    """
    table = encoder.word_head if words else encoder.sentence_head
    if table is None:
        raise UserError(
            f"{encoder.config.title} cannot be fine-tuned on labelled words, since Hugging Face's model has no head "
            "for them: choose another encoder, or a task of sentences."
        )
    return table


def load_classifier(
    folder: Path, n_outputs: int, words: bool, n_layers: int = -1, seed: int = 42, fine_tuned: bool = False
) -> tuple[Classifier, DropoutRates]:
    """An encoder with a head, float32, and the rates of its dropout.

    Args:
        folder: a Hugging Face folder.
        n_outputs: the number of classes, or 1 for scores.
        words: whether words are classified.
        n_layers: the first so many layers alone, with the norm after the last where the encoder has one; -1: all.
        seed: of the head's weights; what the checkpoint has of it before the output, such as BERT's pooler, is taken.
        fine_tuned: take the output too.

    Raises:
        UserError: if the folder is not a checkpoint of a supported architecture, or it has no such head.
    """
    encoder = load_encoder(folder)
    if not -1 <= n_layers <= encoder.config.n_layers:
        raise UserError(
            f"config.finetune.n_layers={n_layers}: a layer that does not exist; the model has "
            f"{encoder.config.n_layers}."
        )
    if n_layers >= 0:
        encoder = encoder.first_layers(n_layers, keep_norm=True)
    table, raw = head_table(encoder, words), pretrained.read_config(folder)
    head = Head(table, encoder.config, n_outputs, rngs=nnx.Rngs(seed))
    head = heads.with_pretrained(head, table, folder, encoder.weights.prefix, fine_tuned)
    dropouts: dict[str, Any] = {**encoder.dropouts, "head": table.rate_key(raw)}
    return Classifier(encoder, head), read_rates(dropouts, raw, folder / pretrained.CONFIG)
