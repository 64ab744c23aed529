"""The norms of encoders, in float32."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def layer_norm(size: int, epsilon: float, rngs: nnx.Rngs, use_bias: bool = True) -> nnx.LayerNorm:
    """A layer norm whose variance is that of the centred values."""
    return nnx.LayerNorm(size, epsilon=epsilon, use_bias=use_bias, use_fast_variance=False, rngs=rngs)


class RMSNorm(nnx.Module):
    """x / sqrt(mean(x^2) + epsilon) * (offset + scale), over the last axis.

    Reference: Zhang and Sennrich, "Root Mean Square Layer Normalization" (NeurIPS 2019).
    """

    def __init__(self, size: int, epsilon: float, offset: float = 0.0):
        self.scale = nnx.Param(jnp.full(size, 1.0 - offset))
        self.epsilon, self.offset = epsilon, offset

    def __call__(self, x: Float[Array, "*rows size"]) -> Float[Array, "*rows size"]:
        scale = self.scale[...] + self.offset if self.offset else self.scale[...]
        root = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + self.epsilon)
        return x * root * scale.reshape((1,) * (x.ndim - 1) + scale.shape)
