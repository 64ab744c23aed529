"""A pass of the encoder over the tokens of a sample of training sentences, for what the stores do not hold."""

from typing import TYPE_CHECKING

import numpy as np

from jaxred.config import StudyConfig, source_kind
from jaxred.data import load_task
from jaxred.data.examples import WordDataset
from jaxred.models import pretrained
from jaxred.models.tokenization import Tokenizer
from jaxred.runs.sources import IN_MEMORY, OF_PYTHON

if TYPE_CHECKING:
    from jaxred.activations.token_changes import TokenChanges

N_SENTENCES = 500  # at most: the mean over some ten thousand tokens moves little with more


def token_changes_of(config: StudyConfig) -> "TokenChanges | None":
    """Block Influence and angular distance over tokens; None where no text can be read: Python gave it, or others made
    the activations.

    Args:
        config: of what is studied.
    """
    if source_kind(config) or config.task.name in (IN_MEMORY, OF_PYTHON):
        return None
    from jaxred.activations.token_changes import token_changes  # here, because Flax takes half a second to import
    from jaxred.models import load_encoder

    dataset = load_task(config.task)
    folder = pretrained.resolve(config.encoder.path)
    encoder = load_encoder(folder, config.encoder.n_layers, config.encoder.compute_dtype)
    tokenizer, sentences = Tokenizer(folder, encoder.config), dataset.splits["train"]
    if len(sentences) < 2 or encoder.config.n_layers == 0:
        return None
    chosen = np.random.default_rng(0).permutation(len(sentences))[:N_SENTENCES]
    max_length = config.extraction.max_length
    if isinstance(dataset, WordDataset):
        tokens = tokenizer.encode_words([dataset.splits["train"][i].words for i in chosen], max_length).tokens
    else:
        some = [dataset.splits["train"][i] for i in chosen]
        pairs = None if some[0].pair is None else [example.pair or "" for example in some]
        tokens = tokenizer.encode([example.text for example in some], pairs, max_length)
    return token_changes(encoder, tokenizer, tokens)
