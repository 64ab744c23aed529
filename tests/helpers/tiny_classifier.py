"""Tiny random encoders with random heads, their texts, and the same BERT in NumPy with neurons and layers removed."""

import math
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from helpers import small_models
from jaxred.ablation.batches import Batch, batches_of
from jaxred.ablation.interventions import Interventions
from jaxred.finetuning.batches import Rows
from jaxred.finetuning.classifier import Classifier, head_table, load_classifier
from jaxred.models import heads
from jaxred.models.checkpoint import state_dict
from jaxred.models.tokenization import Tokenizer

TEXTS = small_models.TEXTS[:14]


class Tiny(NamedTuple):
    """A model and rows for it."""

    folder: Path
    model: Classifier
    tokenizer: Tokenizer
    rows: Rows

    def batches(self, budget: int = 96, seed: int = 0) -> list[Batch]:
        return batches_of(self.rows, self.tokenizer, budget, seed)

    @property
    def shape(self) -> tuple[int, int]:
        return self.model.encoder.config.n_layers + 1, self.model.encoder.config.hidden_size


def tiny(folder: Path, model_type: str = "bert", words: bool = False, seed: int = 0, n_outputs: int = 3) -> Tiny:
    """A random model whose head's weights are large enough that answers differ."""
    small_models.write_encoder(folder, model_type, seed)
    model, _ = load_classifier(folder, n_outputs, words)
    graph, state = nnx.split(model.head)
    random = np.random.default_rng(seed)
    drawn = jax.tree.map(lambda leaf: jax.numpy.asarray(random.normal(0, 0.7, leaf.shape), "float32"), state)
    model = Classifier(model.encoder, nnx.merge(graph, drawn))
    tokenizer = Tokenizer(folder, model.encoder.config)
    if words:
        of_words = tokenizer.encode_words([text.split() for text in TEXTS], small_models.MAX_LENGTH)
        return Tiny(folder, model, tokenizer, Rows(of_words.tokens, np.zeros(len(of_words.start), np.int32), of_words))
    tokens = tokenizer.encode(TEXTS, None, small_models.MAX_LENGTH)
    return Tiny(folder, model, tokenizer, Rows(tokens, np.zeros(len(TEXTS), np.int32)))


def random_sets(shape: tuple[int, int], n_sets: int = 6, seed: int = 0) -> Interventions:
    """Nothing, then random neurons in random layers, some with a skipped layer."""
    random = np.random.default_rng(seed)
    removed, skipped = np.zeros((n_sets, *shape), bool), np.zeros((n_sets, shape[0]), bool)
    for number in range(1, n_sets):
        layers = random.random(shape[0]) < 0.6
        removed[number] = (random.random(shape) < random.random()) & layers[:, None]
        skipped[number, 1:] = (random.random(shape[0] - 1) < 0.5) & (number % 2 == 0)
    return Interventions(removed, skipped)


class NumPyBert:
    """BERT in float64, in the plainest way: one sentence at a time."""

    def __init__(self, made: Tiny):
        self.config, encoder = made.model.encoder.config, made.model.encoder
        self.weights = {name: np.float64(array) for name, array in state_dict(encoder).items()}
        head = heads.state_dict(made.model.head, head_table(encoder, words=False))
        self.head = {name: np.float64(array) for name, array in head.items()}

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + self.config.layer_norm_eps)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def embeddings(self, ids: np.ndarray, types: np.ndarray) -> np.ndarray:
        names = (f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type"))
        word, position, segment = (self.weights[name] for name in names)
        return self._norm("embeddings.LayerNorm", word[ids] + position[: len(ids)] + segment[types])

    def layer(self, number: int, x: np.ndarray) -> np.ndarray:
        at, n_heads = f"encoder.layer.{number}", self.config.n_heads
        query, key, value = (
            self._linear(f"{at}.attention.self.{kind}", x).reshape(len(x), n_heads, -1).swapaxes(0, 1)
            for kind in ("query", "key", "value")
        )
        logits = query @ key.swapaxes(1, 2) / math.sqrt(query.shape[-1])
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True) @ value).swapaxes(0, 1).reshape(len(x), -1)
        x = self._norm(f"{at}.attention.output.LayerNorm", x + self._linear(f"{at}.attention.output.dense", mixed))
        inner = self._linear(f"{at}.intermediate.dense", x)
        inner = inner * (1 + np.vectorize(math.erf)(inner / math.sqrt(2))) / 2
        return self._norm(f"{at}.output.LayerNorm", x + self._linear(f"{at}.output.dense", inner))

    def states(self, ids, types, removed=None, skipped=None, fills=None) -> list[np.ndarray]:
        """Every layer's output at every token; `fills` [layer][token, hidden] or [layer, hidden]."""
        found = []
        for layer in range(self.config.n_layers + 1):
            x = self.embeddings(ids, types) if layer == 0 else found[-1]
            if layer > 0 and not (skipped is not None and skipped[layer]):
                x = self.layer(layer - 1, x)
            found.append(x if removed is None else np.where(removed[layer], fills[layer], x))
        return found

    def outputs(self, states: list[np.ndarray]) -> np.ndarray:
        pooled = np.tanh(states[-1][0] @ self.head["bert.pooler.dense.weight"].T + self.head["bert.pooler.dense.bias"])
        return pooled @ self.head["classifier.weight"].T + self.head["classifier.bias"]
