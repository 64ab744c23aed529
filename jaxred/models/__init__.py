"""Pretrained encoders: a Hugging Face folder becomes a model that returns the hidden states of every layer.

Every encoder has

- `config.n_layers`, `config.hidden_size`, and what the tokenizer must know: `config.model_type`, `config.tokens`,
  `config.vocab_size`, `config.type_vocab_size`, `config.usable_length`;
- `model(input_ids, attention_mask, token_type_ids, reduce)`: the hidden states of layer 0 (the embeddings) to n_layers;
- `model.first_layers(k)`, the model cut to its first k layers, and `model.n_parameters(k)`, the size of that.

`docs/adding-an-encoder.md` says how to add one.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxred.models.encoder import Encoder
    from jaxred.models.loading import abstract_encoder, load_encoder

# Imported when they are used, since Flax takes a quarter of a second.
_WHERE = {
    "Encoder": "encoder",
    "abstract_encoder": "loading",
    "load_encoder": "loading",
}
__all__ = ["Encoder", "abstract_encoder", "load_encoder"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"jaxred.models has no {name!r}")
    return getattr(importlib.import_module(f"jaxred.models.{_WHERE[name]}"), name)
