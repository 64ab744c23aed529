"""Layers of two kinds, one of which attends within a window: as `config.json` has them, and in the encoder's scan."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxred.errors import UserError

FULL, SLIDING = "full_attention", "sliding_attention"

_Tree = TypeVar("_Tree", bound=Any)


def kinds_of_layers(raw: Mapping[str, Any], n_layers: int, path: Path) -> tuple[str, ...] | None:
    """The kind of every layer, where the object of a `config.json` says it; None where it does not.

    Raises:
        UserError: if it is no list of kinds, one a layer.
    """
    kinds = raw.get("layer_types")
    if kinds is None:
        return None
    if not isinstance(kinds, list) or len(kinds) != n_layers or not all(kind in (FULL, SLIDING) for kind in kinds):
        raise UserError(
            f"{path}: layer_types={str(kinds)[:60]} is not possible: it must be a list of num_hidden_layers="
            f"{n_layers} texts, each {FULL} or {SLIDING}."
        )
    return tuple(kinds)


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
