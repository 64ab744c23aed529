"""Small rewritings for the compiler's sake; none changes a number. Each says what it brings.

`benchmarks/probe_sweep.py --norivals` shows what they bring on a CPU.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def separate(value: Array) -> Array:
    """The value, made before what uses it and not inside of it.

    - Before Adam's pass: the packing of the products stays outside, and the pass is one plain loop over memory.
    - After the slices of a segment's owners: they stay outside the product's kernel, which XLA cannot always tile on a
      GPU with them inside.
    - After a gather whose result several groups slice: it is one gather, which compiles faster than one per group.
    """
    return jax.lax.optimization_barrier(value)


def where_any(absolutes: Float[Array, " probe"], penalty: Float[Array, " probe"]) -> Float[Array, " probe"]:
    """The penalty of every probe that has weights to penalise, by the sums of their absolute values.

    A probe without weights is penalised by nothing either way. But so the new weights depend on everything that reads
    the old ones, and XLA writes them in place instead of keeping a copy of all weights in every step.
    """
    return jnp.where(absolutes > 0, penalty, 0)
