"""Dropout: which rates a model's `config.json` names, and the noise of one training step."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxred.errors import UserError


@dataclass(frozen=True)
class DropoutRates:
    """The share of values that is set to 0 in training, by where they are."""

    embeddings: float = 0.0
    positions: float = 0.0  # the vectors of relative positions
    attention: float = 0.0  # the weights of attention
    attended: float = 0.0  # what attention adds to the hidden states
    inner: float = 0.0  # the activations inside the feed-forward network
    fed: float = 0.0  # what the feed-forward network adds
    output: float = 0.0  # the hidden states of the last layer
    head: float = 0.0  # what the head is given


Dropouts = Mapping[str, tuple[str, float]]
"""A field of `DropoutRates` -> the key of its rate in `config.json`, and the rate where the key is missing."""


def read_rates(dropouts: Dropouts, raw: Mapping[str, Any], path: Path) -> DropoutRates:
    """The rates that the object of a `config.json` names.

    Args:
        dropouts: of the architecture.
        raw: the object; a key that is null has the rate of one that is missing.
        path: the file, for messages.

    Raises:
        UserError: naming a rate that is not from 0 to below 1.
    """
    rates = {}
    for place, (key, default) in dropouts.items():
        rate = default if raw.get(key) is None else raw[key]
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise UserError(f"{path}: {key}={rate!r} is not possible: it must be a number from 0 to below 1.")
        rates[place] = float(rate)
    return DropoutRates(**rates)


_PLACES = tuple(field.name for field in dataclasses.fields(DropoutRates))


@dataclass(frozen=True)
class Noise:
    """The dropout of one forward pass; without a key there is none, as in inference.

    Reference: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting" (JMLR 2014).
    """

    key: Any = None
    rates: DropoutRates = DropoutRates()

    def of_layer(self, index: Any) -> "Noise":
        """The noise of one layer."""
        return self if self.key is None else Noise(jax.random.fold_in(self.key, len(_PLACES) + index), self.rates)

    def factors(self, place: str, shape: tuple[Any, ...]) -> Float[Array, "..."] | None:
        """0 where a value is dropped, and 1 / (1 - rate) elsewhere; None where nothing is."""
        rate = getattr(self.rates, place)
        if self.key is None or not rate:
            return None
        kept = jax.random.bernoulli(jax.random.fold_in(self.key, _PLACES.index(place)), 1 - rate, shape)
        return kept.astype(jnp.float32) / (1 - rate)

    def __call__(self, place: str, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The values with their dropout."""
        factors = self.factors(place, x.shape)
        return x if factors is None else x * factors.astype(x.dtype)


SILENT = Noise()
