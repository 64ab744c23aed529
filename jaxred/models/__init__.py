"""Pretrained encoders: a Hugging Face folder becomes a model that returns the hidden states of every layer.

Every encoder has

- `config.n_layers`, `config.hidden_size`, and what the tokenizer must know: `config.model_type`, `config.vocab_size`,
  `config.type_vocab_size`, `config.max_position_embeddings`;
- `model(input_ids, attention_mask, token_type_ids, reduce)`: the hidden states of layer 0 (the embeddings) to n_layers;
- `model.first_layers(k)`, the model cut to its first k layers, and `model.n_parameters(k)`, the size of that.

`docs/adding-an-encoder.md` says how to add one.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxred.models.bert import Bert
    from jaxred.models.distilbert import DistilBert
    from jaxred.models.encoder import Encoder
    from jaxred.models.loading import abstract_encoder, load_encoder
    from jaxred.models.xlnet import XLNet

# Imported when they are used, since Flax takes a quarter of a second.
_WHERE = {
    "Bert": "bert",
    "DistilBert": "distilbert",
    "Encoder": "encoder",
    "XLNet": "xlnet",
    "abstract_encoder": "loading",
    "load_encoder": "loading",
}
__all__ = ["Bert", "DistilBert", "Encoder", "XLNet", "abstract_encoder", "load_encoder"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"jaxred.models has no {name!r}")
    return getattr(importlib.import_module(f"jaxred.models.{_WHERE[name]}"), name)
