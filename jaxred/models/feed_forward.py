"""The feed-forward networks of layers, of which an architecture takes one."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxred.models.activation_functions import ACTIVATIONS
from jaxred.models.dropout import SILENT, Noise
from jaxred.models.linear import linear, mapped


class FeedForward(nnx.Module):
    """output(activation(intermediate(x))); products in `dtype`, the activation in float32."""

    def __init__(self, size: int, inner: int, activation: str, dtype: jnp.dtype, *, bias: bool = True, rngs: nnx.Rngs):
        self.intermediate = linear(size, inner, dtype, rngs, bias)
        self.output = linear(inner, size, dtype, rngs, bias)
        self.activation = ACTIVATIONS[activation]

    def __call__(
        self, hidden: Float[Array, "batch token hidden"], noise: Noise = SILENT
    ) -> Float[Array, "batch token hidden"]:
        activated = self.activation(self.intermediate(hidden).astype(jnp.float32))
        return self.output(noise("inner", activated)).astype(jnp.float32)


class GatedFeedForward(nnx.Module):
    """output(activation(gate(x)) * intermediate(x)); products in `dtype`, the rest in float32.

    Reference: Shazeer, "GLU Variants Improve Transformer" (2020).
    """

    def __init__(self, size: int, inner: int, activation: str, dtype: jnp.dtype, *, bias: bool = False, rngs: nnx.Rngs):
        self.gate = linear(size, inner, dtype, rngs, bias)
        self.intermediate = linear(size, inner, dtype, rngs, bias)
        self.output = linear(inner, size, dtype, rngs, bias)
        self.activation = ACTIVATIONS[activation]

    def __call__(
        self, hidden: Float[Array, "batch token hidden"], noise: Noise = SILENT
    ) -> Float[Array, "batch token hidden"]:
        gate, inner = (x.astype(jnp.float32) for x in mapped(hidden, self.gate, self.intermediate))
        return self.output(noise("inner", self.activation(gate) * inner)).astype(jnp.float32)
