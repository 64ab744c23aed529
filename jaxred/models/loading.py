"""A Hugging Face folder to an encoder."""

import importlib
import logging
from pathlib import Path

from flax import nnx

from jaxred.errors import UserError
from jaxred.models import checkpoint, pretrained
from jaxred.models.encoder import Encoder

log = logging.getLogger("jaxred")

ARCHITECTURES = {
    "albert": ("albert", "Albert"),
    "bert": ("bert", "Bert"),
    "camembert": ("roberta", "Camembert"),
    "deberta-v2": ("deberta", "DebertaV2"),
    "distilbert": ("distilbert", "DistilBert"),
    "electra": ("electra", "Electra"),
    "gemma2": ("gemma2", "Gemma2"),
    "gemma3_text": ("gemma3", "Gemma3"),
    "gpt2": ("gpt2", "GPT2"),
    "llama": ("llama", "Llama"),
    "mistral": ("mistral", "Mistral"),
    "modernbert": ("modernbert", "ModernBert"),
    "mpnet": ("mpnet", "MPNet"),
    "qwen2": ("qwen2", "Qwen2"),
    "qwen3": ("qwen3", "Qwen3"),
    "roberta": ("roberta", "Roberta"),
    "xlm-roberta": ("roberta", "XLMRoberta"),
    "xlnet": ("xlnet", "XLNet"),
}
"""model_type of a `config.json` -> the module of this package, and the encoder in it."""


def architecture(model_type: str) -> type[Encoder]:
    """The encoder that runs models of a type."""
    module, name = ARCHITECTURES[model_type]
    return getattr(importlib.import_module(f"jaxred.models.{module}"), name)


def load_encoder(folder: Path, n_layers: int = -1, compute_dtype: str = "float32") -> Encoder:
    """The encoder in a Hugging Face folder, as inference runs it.

    Args:
        folder: a folder with `config.json` and safetensors weights; see `pretrained.resolve` for names.
        n_layers: keep only the first so many layers; -1: all.
        compute_dtype: float32 (true float32 products) or bfloat16.

    Raises:
        UserError: if the folder is not a checkpoint of a supported architecture, its weights do not fit its
            configuration, or the model has fewer layers.

    Example:
        >>> load_encoder(pretrained.resolve("all-MiniLM-L6-v2"))
        <Bert: 6 layers x 384 neurons, 22,565,376 parameters>
    """
    abstract = abstract_encoder(folder, compute_dtype)
    most = abstract.config.n_layers
    if not -1 <= n_layers <= most:
        raise UserError(f"config.encoder.n_layers={n_layers}: a layer that does not exist; the model has {most}.")
    model = checkpoint.load_weights(abstract, folder)
    if n_layers == -1:
        return model
    if n_layers < most and model.final_norm is not None:
        log.info(
            "%s: cut to %d of %d layers, the encoder ends without the norm that follows its last layer",
            folder,
            n_layers,
            most,
        )
    return model.first_layers(n_layers)


def abstract_encoder(folder: Path, compute_dtype: str = "float32") -> Encoder:
    """The encoder that a folder's `config.json` describes, of shapes and types alone.

    Raises:
        UserError: if the folder is not a checkpoint of a supported architecture.
    """
    raw = pretrained.read_config(folder)
    if raw["model_type"] not in ARCHITECTURES:
        raise UserError(
            f"{folder / 'config.json'}: model_type={raw['model_type']!r} is not supported: "
            f"jaxred runs {', '.join(sorted(ARCHITECTURES))}. The way in for another encoder: extract its activations "
            "with a tool that runs it, make stores of them with jaxred convert (docs/stores.md), and study those "
            "with --config=configs/stores.py."
        )
    encoder_type = architecture(raw["model_type"])
    config = encoder_type.config_type.from_dict(raw, folder / "config.json")
    return nnx.eval_shape(lambda: encoder_type(config, compute_dtype, rngs=nnx.Rngs(0)))
