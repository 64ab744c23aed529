"""Layers of two kinds, one of which attends within a window."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

_Tree = TypeVar("_Tree", bound=Any)


def of_layer(kinds: tuple[bool, ...], index: int | Int[Array, ""], full: _Tree, sliding: _Tree) -> _Tree:
    """What a layer attends by: each leaf of one of two trees.

    Args:
        kinds: of every layer, whether it attends within a window.
        index: the layer, which may be traced.
        full: what layers without a window attend by.
        sliding: what layers with a window attend by, of the same structure and shapes; a leaf that is the same array in
            both is taken without a choice.
    """
    if not any(kinds):
        return full
    if all(kinds):
        return sliding
    slides = jnp.asarray(kinds)[index]
    return jax.tree.map(lambda one, other: one if one is other else jnp.where(slides, other, one), full, sliding)
