"""BERT, an encoder that returns the hidden states of every layer.

Reference: Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding" (NAACL 2019). The numbers are those of Hugging Face's `BertModel`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from jaxred.errors import UserError
from jaxred.models.activations import ACTIVATIONS
from jaxred.models.checkpoint import WeightTable


@dataclass(frozen=True)
class BertConfig:
    """The shape of a BERT; the defaults are Hugging Face's, for keys that a `config.json` leaves out."""

    model_type: ClassVar[str] = "bert"

    vocab_size: int = 30522
    hidden_size: int = 768
    n_layers: int = 12
    n_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], path: Path) -> "BertConfig":
        """Reads the object of a Hugging Face `config.json`.

        Args:
            raw: the object; keys that do not change the forward pass are not looked at.
            path: the file it came from, for messages.

        Raises:
            UserError: naming the setting that is impossible, or that would change the numbers and is not supported.
        """
        for key, allowed in _ONLY.items():
            if raw.get(key, allowed) != allowed:
                raise UserError(
                    f"{path}: {key}={raw[key]!r} is not supported: jaxred runs BERT with {key}={allowed!r} only."
                )
        values = {}
        for field in dataclasses.fields(cls):
            key = _HUGGING_FACE_KEYS.get(field.name, field.name)
            value = raw.get(key, field.default)
            if field.name == "pad_token_id" and value is None:
                value = field.default
            _check(path, key, value, field.type)
            values[field.name] = value
        config = cls(**values)
        if config.hidden_size % config.n_heads:
            raise UserError(
                f"{path}: hidden_size={config.hidden_size} does not divide into "
                f"num_attention_heads={config.n_heads}: it must be a multiple of it."
            )
        return config

    def to_dict(self) -> dict[str, Any]:
        """The object of a Hugging Face `config.json` that `from_dict` reads back."""
        fields = {_HUGGING_FACE_KEYS.get(name, name): value for name, value in dataclasses.asdict(self).items()}
        return {"architectures": ["BertModel"], "model_type": self.model_type, **fields}


_HUGGING_FACE_KEYS = {"n_layers": "num_hidden_layers", "n_heads": "num_attention_heads"}
_ONLY = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}


def _check(path: Path, key: str, value: Any, kind: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is str:
        valid, allowed = isinstance(value, str) and value in ACTIVATIONS, f"one of {', '.join(sorted(ACTIVATIONS))}"
    elif kind is float:
        valid, allowed = number and 0 < value < math.inf, "a number above 0"
    else:
        least = 0 if key in ("num_hidden_layers", "pad_token_id") else 1
        valid, allowed = number and isinstance(value, int) and value >= least, f"a whole number of at least {least}"
    if not valid:
        raise UserError(f"{path}: {key}={value!r} is not possible: it must be {allowed}.")


class Embeddings(nnx.Module):
    """The sum of word, token type and position embeddings, normalised: layer 0."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        self.word = nnx.Embed(config.vocab_size, config.hidden_size, rngs=rngs)
        self.token_type = nnx.Embed(config.type_vocab_size, config.hidden_size, rngs=rngs)
        self.position = nnx.Embed(config.max_position_embeddings, config.hidden_size, rngs=rngs)
        self.norm = _layer_norm(config, rngs)

    def __call__(
        self, input_ids: Int[Array, "batch token"], token_type_ids: Int[Array, "batch token"]
    ) -> Float[Array, "batch token hidden"]:
        positions = jnp.arange(input_ids.shape[1])[None]
        return self.norm(self.word(input_ids) + self.token_type(token_type_ids) + self.position(positions))


class Layer(nnx.Module):
    """Self-attention and a feed-forward network, each added to its input and then normalised.

    Products are taken in `dtype`; softmax, activation, layer norms and the residual sums in float32.
    """

    def __init__(self, config: BertConfig, dtype: jnp.dtype, *, rngs: nnx.Rngs):
        def linear(n_in: int, n_out: int) -> nnx.Linear:
            return nnx.Linear(
                n_in,
                n_out,
                dtype=dtype,
                param_dtype=dtype,
                precision=Precision.HIGHEST,
                dot_general=_blocked_dot_general if dtype == jnp.float32 else jax.lax.dot_general,
                kernel_init=nnx.initializers.normal(0.02),
                rngs=rngs,
            )

        self.query = linear(config.hidden_size, config.hidden_size)
        self.key = linear(config.hidden_size, config.hidden_size)
        self.value = linear(config.hidden_size, config.hidden_size)
        self.attention_output = linear(config.hidden_size, config.hidden_size)
        self.attention_norm = _layer_norm(config, rngs)
        self.intermediate = linear(config.hidden_size, config.intermediate_size)
        self.output = linear(config.intermediate_size, config.hidden_size)
        self.output_norm = _layer_norm(config, rngs)
        self.n_heads = config.n_heads
        self.activation = ACTIVATIONS[config.hidden_act]

    def __call__(
        self, hidden: Float[Array, "batch token hidden"], attention_mask: Bool[Array, "batch token"]
    ) -> Float[Array, "batch token hidden"]:
        context = self.attention_output(self.attend(hidden, attention_mask))
        hidden = self.attention_norm(hidden + context.astype(jnp.float32))
        activated = self.activation(self.intermediate(hidden).astype(jnp.float32))
        return self.output_norm(hidden + self.output(activated).astype(jnp.float32))

    def attend(
        self, hidden: Float[Array, "batch token hidden"], attention_mask: Bool[Array, "batch token"]
    ) -> Float[Array, "batch token hidden"]:
        """Multi-head attention of every token to the real ones: softmax(Q K^T / sqrt(head size)) V."""

        def heads(x: Float[Array, "batch token hidden"]) -> Float[Array, "batch head token size"]:
            return x.reshape(*x.shape[:2], self.n_heads, -1).swapaxes(1, 2)

        query, key, value = heads(self.query(hidden)), heads(self.key(hidden)), heads(self.value(hidden))
        scores = jnp.einsum(
            "bhqs,bhks->bhqk", query, key, precision=Precision.HIGHEST, preferred_element_type=jnp.float32
        ) / math.sqrt(query.shape[-1])
        scores = jnp.where(attention_mask[:, None, None, :], scores, jnp.finfo(jnp.float32).min)
        weights = jax.nn.softmax(scores).astype(value.dtype)
        context = jnp.einsum("bhqk,bhks->bhqs", weights, value, precision=Precision.HIGHEST)
        return context.swapaxes(1, 2).reshape(hidden.shape)


class Bert(nnx.Module):
    """A BERT encoder whose layers are stacked: every leaf of `layers` has a leading layer axis.

    Inference only: there is no dropout. In float32 the products are true float32 ones on every device.
    """

    weights: ClassVar[WeightTable] = WeightTable(
        names={
            "embeddings.word.embedding": "embeddings.word_embeddings.weight",
            "embeddings.token_type.embedding": "embeddings.token_type_embeddings.weight",
            "embeddings.position.embedding": "embeddings.position_embeddings.weight",
            "embeddings.norm.scale": "embeddings.LayerNorm.weight",
            "embeddings.norm.bias": "embeddings.LayerNorm.bias",
            "layers.query.kernel": "encoder.layer.{}.attention.self.query.weight",
            "layers.query.bias": "encoder.layer.{}.attention.self.query.bias",
            "layers.key.kernel": "encoder.layer.{}.attention.self.key.weight",
            "layers.key.bias": "encoder.layer.{}.attention.self.key.bias",
            "layers.value.kernel": "encoder.layer.{}.attention.self.value.weight",
            "layers.value.bias": "encoder.layer.{}.attention.self.value.bias",
            "layers.attention_output.kernel": "encoder.layer.{}.attention.output.dense.weight",
            "layers.attention_output.bias": "encoder.layer.{}.attention.output.dense.bias",
            "layers.attention_norm.scale": "encoder.layer.{}.attention.output.LayerNorm.weight",
            "layers.attention_norm.bias": "encoder.layer.{}.attention.output.LayerNorm.bias",
            "layers.intermediate.kernel": "encoder.layer.{}.intermediate.dense.weight",
            "layers.intermediate.bias": "encoder.layer.{}.intermediate.dense.bias",
            "layers.output.kernel": "encoder.layer.{}.output.dense.weight",
            "layers.output.bias": "encoder.layer.{}.output.dense.bias",
            "layers.output_norm.scale": "encoder.layer.{}.output.LayerNorm.weight",
            "layers.output_norm.bias": "encoder.layer.{}.output.LayerNorm.bias",
        },
        prefix="bert.",
        renamed={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
        ignored=r"(pooler|cls|classifier|qa_outputs)\..*|embeddings\.(position_ids|token_type_ids)",
    )

    def __init__(self, config: BertConfig, compute_dtype: str = "float32", *, rngs: nnx.Rngs):
        """Draws random weights.

        Args:
            config: the shape.
            compute_dtype: float32 or bfloat16, the type of the layers' kernels and products.
            rngs: the source of the weights.
        """
        dtype = jnp.dtype(compute_dtype)
        self.config = config
        self.embeddings = Embeddings(config, rngs=rngs)
        self.layers = nnx.vmap(lambda rngs: Layer(config, dtype, rngs=rngs))(rngs.split(config.n_layers))

    def __call__(
        self,
        input_ids: Int[Array, "batch token"],
        attention_mask: Bool[Array, "batch token"],
        token_type_ids: Int[Array, "batch token"],
        reduce: Callable[[Float[Array, "batch token hidden"]], Float[Array, "..."]] = lambda hidden: hidden,
    ) -> Float[Array, "layer ..."]:
        """The hidden states of the embeddings (layer 0) and of every layer after them.

        Args:
            input_ids: the tokens.
            attention_mask: True at real tokens, False at padding.
            token_type_ids: 0 in the first sentence, 1 in the second.
            reduce: what is kept of each layer, such as one vector a sentence; the rest never leaves the scan.

        Returns:
            `reduce` of every layer's float32 hidden states, stacked; without `reduce`, (layer, batch, token, hidden).

        Raises:
            UserError: if the batch is longer than the model has positions.
        """
        n_tokens, n_positions = input_ids.shape[1], self.config.max_position_embeddings
        if n_tokens > n_positions:
            raise UserError(
                f"A batch of {n_tokens} tokens a row does not fit the model's {n_positions} positions: "
                f"lower config.extraction.max_length to at most {n_positions}."
            )

        def step(
            hidden: Float[Array, "batch token hidden"], layer: Layer
        ) -> tuple[Float[Array, "batch token hidden"], Float[Array, "..."]]:
            hidden = layer(hidden, attention_mask)
            return hidden, reduce(hidden)

        embedded = self.embeddings(input_ids, token_type_ids)
        _, layers = jax.lax.scan(step, embedded, self.layers)
        return jnp.concatenate([reduce(embedded)[None], layers])

    def first_layers(self, n_layers: int) -> "Bert":
        """The encoder cut to its embeddings and first `n_layers` layers; the embeddings are shared, not copied.

        Raises:
            ValueError: unless 0 <= n_layers <= config.n_layers.
        """
        self._check_n_layers(n_layers)
        cut = nnx.merge(*nnx.split(self))
        cut.config = dataclasses.replace(self.config, n_layers=n_layers)
        cut.layers = jax.tree.map(lambda leaf: leaf[:n_layers], self.layers)
        return cut

    def n_parameters(self, n_layers: int) -> int:
        """The number of parameters of the encoder cut to its first `n_layers` layers, embeddings included.

        Raises:
            ValueError: unless 0 <= n_layers <= config.n_layers.
        """
        self._check_n_layers(n_layers)
        embeddings = sum(leaf.size for leaf in jax.tree.leaves(self.embeddings))
        return embeddings + n_layers * sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(self.layers))

    def _check_n_layers(self, n_layers: int) -> None:
        if not 0 <= n_layers <= self.config.n_layers:
            raise ValueError(f"n_layers={n_layers} is not between 0 and the model's {self.config.n_layers}.")


_BLOCK = 192


def _blocked_dot_general(
    x: Float[Array, "batch token inner"], kernel: Float[Array, "inner outer"], dimension_numbers: Any, **kwargs: Any
) -> Float[Array, "batch token outer"]:
    """`jax.lax.dot_general` of x and kernel, as a sum of products over blocks of the inner axis.

    The rounding of a float32 sum grows with its length, and XLA's order of summation changes with the number of rows.
    Summed whole, a sentence's mean vector alone and in a batch can differ by more than 1e-6; in blocks it does not.
    """
    products = (
        jax.lax.dot_general(x[..., start : start + _BLOCK], kernel[start : start + _BLOCK], dimension_numbers, **kwargs)
        for start in range(0, kernel.shape[0], _BLOCK)
    )
    return functools.reduce(jnp.add, products)


def _layer_norm(config: BertConfig, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps, use_fast_variance=False, rngs=rngs)
