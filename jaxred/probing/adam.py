"""Optimizers of a family of probes, as optax's gradient transformations over its packed parameters.

All take one more argument in `update`: `rates`, the learning rate of every row of weights and of every bias, which is 0
for a weight that does not exist.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxred.probing.layout import Params

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # as in PyTorch's defaults


class AdamState(NamedTuple):
    """What Adam remembers."""

    first: Params
    second: Params
    count: Float[Array, ""]


class Rule(NamedTuple):
    """What optax calls a GradientTransformationExtraArgs; importing optax for its name alone would take 0.1 s."""

    init: Callable[..., Any]
    update: Callable[..., Any]


def adam() -> Any:
    """Adam with PyTorch's constants, which equals `optax.adam` at the given rates to float32 rounding."""
    import optax

    return optax.GradientTransformationExtraArgs(*ADAM)


def _adam() -> Rule:
    """Takes every array in one pass; new weights depend on nothing but the same places of old ones, so that XLA writes
    them in place. Its first state is on the host.
    """

    def init(params: Any) -> AdamState:
        first, second = (jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), params) for _ in range(2))
        return AdamState(first, second, jnp.float32(0))

    def update(gradients: Any, state: Any, params: Any = None, *, rates: Params, **_: Any) -> tuple[Any, AdamState]:
        del params
        count = state.count + 1
        size = 1 / -jnp.expm1(count * math.log(BETA_1))  # 1 - beta ** count, without its cancellation
        scale = jax.lax.rsqrt(-jnp.expm1(count * math.log(BETA_2)))
        first = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, state.first, gradients)
        second = jax.tree.map(lambda m, g: BETA_2 * m + (1 - BETA_2) * g * g, state.second, gradients)
        updates = jax.tree.map(
            lambda rate, m, n: -(size * rate * m / (jnp.sqrt(n) * scale + EPSILON)), rates, first, second
        )
        return updates, AdamState(first, second, count)

    return Rule(init, update)


ADAM = _adam()  # one object, so that a program is compiled once


@functools.lru_cache(maxsize=16)  # so that an optimizer that is used again is not compiled again
def with_rates(optimizer: Any, learning_rate: float) -> Rule:
    """Any transformation of optax for the probes of a family.

    A probe's updates are scaled by its rate relative to `learning_rate`, so that a probe of that rate is trained by the
    optimizer as it is. Weights that do not exist have neither gradients nor updates.

    Args:
        optimizer: with its own learning rate. It sees the weights of all probes of a part at once: what looks at single
            weights, such as SGD, momentum, RMSProp or AdamW, trains each probe as if it were alone; what looks at norms
            of all, such as `optax.clip_by_global_norm`, does not.
        learning_rate: the configuration's.
    """
    import optax

    inner = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> Any:
        return jax.tree.map(lambda a: jnp.array(a, copy=True), inner.init(params))  # its buffers are given away

    def update(gradients: Any, state: Any, params: Any = None, *, rates: Params, **extra: Any) -> tuple[Any, Any]:
        gradients = jax.tree.map(lambda g, rate: jnp.where(rate > 0, g, 0), gradients, rates)
        updates, state = inner.update(gradients, state, params, **extra)
        return jax.tree.map(lambda u, rate: u * (rate / learning_rate), updates, rates), state

    return Rule(init, update)
