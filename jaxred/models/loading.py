"""A Hugging Face folder to an encoder."""

from pathlib import Path

from flax import nnx

from jaxred.errors import UserError
from jaxred.models import checkpoint, pretrained
from jaxred.models.bert import Bert
from jaxred.models.distilbert import DistilBert
from jaxred.models.encoder import Encoder
from jaxred.models.xlnet import XLNet

_ARCHITECTURES: dict[str, type[Encoder]] = {
    encoder.config_type.model_type: encoder for encoder in (Bert, DistilBert, XLNet)
}


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
    return model if n_layers == -1 else model.first_layers(n_layers)


def abstract_encoder(folder: Path, compute_dtype: str = "float32") -> Encoder:
    """The encoder that a folder's `config.json` describes, of shapes and types alone.

    Raises:
        UserError: if the folder is not a checkpoint of a supported architecture.
    """
    raw = pretrained.read_config(folder)
    if raw["model_type"] not in _ARCHITECTURES:
        raise UserError(
            f"{folder / 'config.json'}: model_type={raw['model_type']!r} is not supported: "
            f"jaxred runs {', '.join(sorted(_ARCHITECTURES))}. The way in for another encoder: extract its activations "
            "with a tool that runs it, make stores of them with jaxred convert (docs/stores.md), and study those "
            "with --config=configs/stores.py."
        )
    architecture = _ARCHITECTURES[raw["model_type"]]
    config = architecture.config_type.from_dict(raw, folder / "config.json")
    return nnx.eval_shape(lambda: architecture(config, compute_dtype, rngs=nnx.Rngs(0)))
