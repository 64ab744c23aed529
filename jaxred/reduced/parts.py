"""What a reduced model consists of next to its encoder and tokenizer: the head, and the facts."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num

from jaxred.probing.outputs import linear_outputs

ARRAYS = ("layers", "neurons", "weights", "bias")


@dataclass(frozen=True)
class Head:
    """A linear map from some neurons: outputs = activations[layers, neurons] @ weights + bias."""

    layers: Int[np.ndarray, " neuron"]  # 0 is the embedding output
    neurons: Int[np.ndarray, " neuron"]  # the index in that layer
    weights: Float[np.ndarray, "neuron output"]
    bias: Float[np.ndarray, " output"]

    @classmethod
    def of_columns(
        cls,
        columns: Int[np.ndarray, " column"],
        weights: Float[np.ndarray, "column output"],
        bias: Float[np.ndarray, " output"],
        hidden_size: int,
    ) -> "Head":
        """The head of a probe, whose columns are numbered layer * hidden_size + index, without those of no weight."""
        used = np.flatnonzero((weights != 0).any(1))
        layers, neurons = np.divmod(columns[used].astype(np.int32), np.int32(hidden_size))
        return cls(layers, neurons, weights[used].astype(np.float32), bias.astype(np.float32))

    @property
    def top_layer(self) -> int:
        """The highest layer that a neuron is of; 0 without neurons."""
        return int(self.layers.max(initial=0))

    def __len__(self) -> int:
        return len(self.layers)

    def outputs(self, activations: Num[np.ndarray, "row neuron"]) -> Float[np.ndarray, "row output"]:
        """The outputs for the activations of its neurons, summed in float64."""
        return linear_outputs(activations, np.arange(len(self)), self.weights, self.bias)

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name, as files have them."""
        return {name: np.ascontiguousarray(getattr(self, name)) for name in ARRAYS}


@dataclass(frozen=True)
class Facts:
    """What must be known of a reduced model to use it."""

    task: str
    kind: str  # classification or regression
    metric: str  # one of config.METRICS
    classes: list[str]  # by output; empty for regression
    rows: str  # what is labelled: sentence or word
    pairs: bool | None  # whether a text is a pair of sentences; None: not known, either is taken
    pooling: str  # of sentences cls, last, mean, max; of words last, first, average
    max_length: int  # tokens that a text is cut to, special ones included
    compute_dtype: str  # of the encoder's products
    dtype: str  # that activations are rounded to before the head, as the store of the run was
    window_rows: int  # texts that are sorted by length and packed into batches together
    final_norm: bool  # whether the encoder's last hidden states are normalised; a cut encoder's are not

    def check_head(self, head: Head) -> None:
        """Checks that the head has an output for every class.

        Raises:
            ValueError: if it has not, or its arrays do not fit together.
        """
        n_outputs = len(self.classes) or 1
        shapes: dict[str, tuple[Any, ...]] = {
            "layers": (len(head),),
            "neurons": (len(head),),
            "weights": (len(head), n_outputs),
            "bias": (n_outputs,),
        }
        for name, shape in shapes.items():
            if getattr(head, name).shape != shape:
                raise ValueError(f"the head's {name} are of shape {getattr(head, name).shape}, not {shape}")


@dataclass(frozen=True)
class Made:
    """What a reduced model was made of."""

    run: str
    encoder: str
    jaxred: str  # version
    date: str
    identity: dict[str, Any] = field(default_factory=dict)  # of the activations that the head was trained on
