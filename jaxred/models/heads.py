"""The heads by which encoders are fine-tuned: those of Hugging Face's models for sentences and for words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxred.errors import UserError
from jaxred.models.activation_functions import ACTIVATIONS
from jaxred.models.checkpoint import stored_tensors
from jaxred.models.dropout import Noise
from jaxred.models.linear import linear
from jaxred.models.norms import layer_norm


@dataclass(frozen=True)
class HeadTable:
    """A head as an architecture's checkpoints have it: output(dropout(norm(activation(dense(x))))), of which only the
    output is in all.
    """

    output: str  # the name of the linear map to the classes
    output_bias: bool = True
    dense: str = ""  # the name of the linear map before it; empty: there is none
    dense_bias: bool = True
    activation: str = "tanh"
    norm: str = ""  # the name of the norm after the activation; empty: there is none
    dropout: tuple[tuple[str, ...], float] = ((), 0.0)  # keys of the rate in config.json, the first that is not null
    drops_before_dense: bool = False  # too
    settings: Mapping[str, Any] = field(default_factory=dict)  # of config.json, with which this is the head

    def rate_key(self, raw: Mapping[str, Any]) -> tuple[str, float]:
        """The key of the dropout before the output, and the rate where it is missing."""
        keys, default = self.dropout
        return next((key for key in keys if raw.get(key) is not None), (*keys, "dropout")[0]), default


def pooled_head(dropout: tuple[tuple[str, ...], float], activation: str = "tanh") -> HeadTable:
    """The head of RoBERTa's kin: a dense map of the first token's vector, and the output."""
    dense, output = "classifier.dense", "classifier.out_proj"
    return HeadTable(output, dense=dense, activation=activation, dropout=dropout, drops_before_dense=True)


CLASSIFIER_DROPOUT = (("classifier_dropout", "hidden_dropout_prob"), 0.1)  # the rate of most heads


class Head(nnx.Module):
    """From the vector of a sentence or a word to a score for each class."""

    def __init__(self, table: HeadTable, config: Any, n_outputs: int, *, rngs: nnx.Rngs):
        """Draws random weights, from a normal distribution of deviation 0.02, as Hugging Face's models do.

        Args:
            table: the architecture's.
            config: the encoder's configuration.
            n_outputs: the number of classes, or 1 for scores.
            rngs: the source of the weights.
        """
        size, float32 = config.hidden_size, jnp.dtype("float32")
        self.dense = linear(size, size, float32, rngs, table.dense_bias) if table.dense else None
        has_bias = getattr(config, "norm_bias", True)
        self.norm = layer_norm(size, config.layer_norm_eps, rngs, has_bias) if table.norm else None
        self.output = linear(size, n_outputs, float32, rngs, table.output_bias)
        self.activation = ACTIVATIONS[table.activation]
        self.drops_before_dense = table.drops_before_dense

    def __call__(self, vectors: Float[Array, "row hidden"], noise: Noise) -> Float[Array, "row class"]:
        """The scores of vectors.

        Args:
            vectors: of the encoder's last layer.
            noise: the dropout.
        """
        hidden = vectors[None]
        if self.dense is not None:
            if self.drops_before_dense:
                hidden = noise.of_layer(-1)("head", hidden)
            hidden = self.activation(self.dense(hidden))
        if self.norm is not None:
            hidden = self.norm(hidden)
        return self.output(noise("head", hidden))[0]


def _names(table: HeadTable) -> dict[str, str]:
    """Path in the head -> name in the checkpoint."""
    names = {"output.kernel": f"{table.output}.weight", "output.bias": f"{table.output}.bias"}
    if table.dense:
        names |= {"dense.kernel": f"{table.dense}.weight", "dense.bias": f"{table.dense}.bias"}
    if table.norm:
        names |= {"norm.scale": f"{table.norm}.weight", "norm.bias": f"{table.norm}.bias"}
    return names


def state_dict(head: Head, table: HeadTable) -> dict[str, np.ndarray]:
    """The head's weights under their Hugging Face names."""
    names, tensors = _names(table), {}
    for path, leaf in nnx.to_flat_state(nnx.state(head)):
        array = np.asarray(leaf[...], np.float32)
        tensors[names[".".join(map(str, path))]] = np.ascontiguousarray(array.T) if path[-1] == "kernel" else array
    return tensors


def with_pretrained(head: Head, table: HeadTable, folder: Path, prefix: str, output: bool = False) -> Head:
    """The head with what a folder's checkpoint has of it before the output, such as BERT's pooler.

    Args:
        head: of random weights.
        table: its names.
        folder: a Hugging Face folder.
        prefix: which a checkpoint without a task head leaves out of the names.
        output: take the output too, of a checkpoint that was fine-tuned.

    Raises:
        UserError: the output is asked for, and it is not there or of other classes.
    """
    graph, state = nnx.split(head)
    names, flat = _names(table), dict(nnx.to_flat_state(state))
    stored_names = [names[".".join(map(str, path))] for path in flat]
    stored = stored_tensors(folder, [*stored_names, *(name.removeprefix(prefix) for name in stored_names)])
    for path, leaf in flat.items():
        name = names[".".join(map(str, path))]
        is_output = path[0] == "output"
        array = stored.get(name, stored.get(name.removeprefix(prefix)))
        if array is not None and path[-1] == "kernel":
            array = array.T
        fits = array is not None and array.shape == leaf.shape
        if is_output and output and not fits:
            raise UserError(f"{folder} has no fine-tuned head of {leaf.shape[-1]} outputs: {name} is missing.")
        if fits and (output or not is_output):
            flat[path] = leaf.replace(jnp.asarray(array, jnp.float32))
    return nnx.merge(graph, nnx.from_flat_state(flat))
