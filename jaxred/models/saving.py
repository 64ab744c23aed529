"""An encoder, whole or cut, as a plain Hugging Face folder."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from safetensors.numpy import save_file

from jaxred.errors import UserError
from jaxred.models import checkpoint, pretrained, tokenizer_files
from jaxred.models.encoder import Encoder
from jaxred.models.loading import abstract_encoder


def save_folder(model: Encoder, source: Path, folder: Path) -> None:
    """Writes an encoder so that transformers and `load_encoder` read it: configuration, weights, tokenizer.

    The configuration is the source's, with the encoder's number of layers. An encoder that was cut has no norm after
    its layers, but a folder must have one where the architecture does: it is then the whole model's.

    Args:
        model: the encoder.
        source: the Hugging Face folder that it came from.
        folder: where the files go; it must exist.

    Raises:
        UserError: if the source is not such a folder any more, or a cut encoder cannot be described by a configuration.
        OSError: if the folder cannot be written.
    """
    raw = config_of(model, pretrained.read_config(source), source / pretrained.CONFIG)
    tensors = checkpoint.state_dict(model, None)
    if model.final_norm is None:
        tensors |= checkpoint.read_part(abstract_encoder(source), "final_norm", source)
    (folder / pretrained.CONFIG).write_text(json.dumps(raw, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file(tensors, folder / pretrained.WEIGHTS, metadata={"format": "pt"})
    for path in tokenizer_files.files(source):
        shutil.copyfile(path, folder / path.name)
    shutil.copymode(folder / pretrained.CONFIG, folder / pretrained.WEIGHTS)  # safetensors leaves it to its owner


def config_of(model: Encoder, source: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The `config.json` of an encoder that may be cut.

    Args:
        model: the encoder.
        source: the object of the `config.json` that it was loaded by.
        path: of that file, for messages.

    Raises:
        UserError: if the layers share weights in a way that is not the architecture's for so few layers.
    """
    config = type(model).config_type
    names = config.keys.get("n_layers", ("n_layers",))
    before = next((source[name] for name in names if name in source), model.depth)
    n_layers = model.config.n_layers
    raw: dict[str, Any] = dict(source)
    for name in [name for name in names if name in source] or [names[0]]:
        raw[name] = n_layers
    for name, value in source.items():  # such as layer_types
        if "layer" in name and isinstance(value, list) and len(value) == before:
            raw[name] = value[:n_layers]
    raw["architectures"] = [config.model_class]
    raw.pop("torch_dtype", None)
    rounded = any(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(model.embeddings))
    raw["dtype"] = "bfloat16" if rounded else "float32"
    if hasattr(model.config, "n_groups"):
        raw["num_hidden_groups"] = _groups(model, path)
    return raw


def _groups(model: Encoder, path: Path) -> int:
    """The number of groups that share weights, which transformers spreads evenly over the layers."""
    used = [model.stored_layer(layer) for layer in range(model.config.n_layers)]
    n_groups = len({*used}) or 1
    if used != [math.floor(layer / (len(used) / n_groups)) for layer in range(len(used))]:
        raise UserError(
            f"{path}: of an encoder whose layers share {model.config.n_groups} groups of weights, the first "
            f"{len(used)} layers are no encoder of their own: choose a set that ends with a group."
        )
    return n_groups
