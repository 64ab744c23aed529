"""Reduced models of tiny random encoders with random heads, and what they should say of texts."""

import dataclasses
from pathlib import Path

import numpy as np

from helpers import tiny_encoder
from helpers.encoder_agreement import tiny_config
from helpers.trained_tokenizers import write_tokenizer
from jaxred.models import checkpoint, load_encoder
from jaxred.models.loading import architecture
from jaxred.models.tokenization import Tokenizer
from jaxred.reduced.card import Card, CardScores, Size
from jaxred.reduced.model import ReducedModel
from jaxred.reduced.parts import Facts, Head, Made

TEXTS = [
    f"{subject} {verb} {how}{end}"
    for subject in ("the film", "A plot", "its Ending", "nobody's café", "Überraschung")
    for verb in ("is", "was")
    for how in ("fine", "rather slow -- very slow", "over-long and then very much too long for such a small film")
    for end in (".", " !")
]
MAX_LENGTH = 16


def write_encoder(folder: Path, model_type: str, seed: int = 0) -> Path:
    """A tiny random encoder of a type, with its kind of tokenizer."""
    n_tokens = write_tokenizer(folder, model_type, TEXTS)
    config = dataclasses.replace(tiny_config(model_type), vocab_size=n_tokens)
    if any(field.name == "pad_token_id" for field in dataclasses.fields(config)):
        config = dataclasses.replace(config, pad_token_id=2)  # the tokenizer's, where it has one
    checkpoint.save(tiny_encoder.random_encoder(architecture(model_type), config, seed), folder)
    return folder


def random_model(source: Path, n_layers: int, classes: tuple[str, ...] = ("bad", "good", "odd"), **facts):
    """The encoder of a folder, cut to its first layers, with a head on some neurons of all of these."""
    whole = load_encoder(source)
    encoder, rng = whole.first_layers(n_layers), np.random.default_rng(n_layers)
    chosen = np.sort(rng.choice((n_layers + 1) * 12, 9, replace=False))
    chosen[-1] = n_layers * 12 + 5  # one of the last layer
    head = Head.of_columns(chosen, rng.normal(size=(9, len(classes) or 1)), rng.normal(size=len(classes) or 1), 12)
    known = {
        "task": "films", "kind": "classification" if classes else "regression",
        "metric": "accuracy" if classes else "pearson", "classes": list(classes), "rows": "sentence", "pairs": None,
        "pooling": "last", "max_length": MAX_LENGTH, "compute_dtype": "float32", "dtype": "float32", "window_rows": 64,
        "final_norm": encoder.final_norm is not None, **facts,
    }  # fmt: skip
    size = Size(n_layers, 9, encoder.n_parameters(n_layers), 4 * encoder.n_parameters(n_layers))
    scores = {name: CardScores(0.8, 0.02, 0.75, (0.7, 0.8)) for name in ("whole", "small")}
    made = Made("run", source.name, "0.1.0", "2026-11-01")
    card = Card("a set", True, size, size, scores, None, Facts(**known), made)
    return ReducedModel(encoder, Tokenizer(source, encoder.config), head, card, source)


def rows_of(model, states):
    """The outputs of a model's head for hidden states [row, layer, neuron] of the whole encoder."""
    columns = np.asarray(states)[:, model.head.layers, model.head.neurons]
    return columns.astype(np.float64) @ model.head.weights.astype(np.float64) + model.head.bias
