"""A reduced model as one ONNX file: encoder, pooling and head, for any number of texts of any length."""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxred.errors import UserError
from jaxred.io.files import replace_file
from jaxred.io.paths import local
from jaxred.models import pooling
from jaxred.models.encoder import keep_all
from jaxred.reduced.lax_programs import replayed

if TYPE_CHECKING:
    from jaxred.reduced.model import ReducedModel

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OPSET = 18
_LARGEST = 2**31 - 2**20  # bytes of a file: a limit of ONNX
_TOLERANCE = 1e-3  # of the largest output; beyond it, the translation is wrong and not rounded otherwise
_CHECKED = ((3, 7), (2, 12))  # texts and tokens


def refuse_present(path: str | Path, overwrite: bool) -> None:
    """Rejects a place where something is already that is not to be replaced.

    Raises:
        UserError: saying so.
    """
    file = local(path, "path")
    if file.is_dir() or (file.exists() and not overwrite):
        raise UserError(f"{path} is there already: choose another place, or pass overwrite=True to replace the file.")


def write(model: "ReducedModel", path: str | Path, overwrite: bool = False) -> Path:
    """Writes a model as an ONNX file, by jax2onnx, and checks in onnxruntime that it gives the same.

    Its inputs are what a tokenizer of Hugging Face gives, int64 [text, token]. Its outputs are, of classification,
    `logits` and `probabilities` [text, class]; of regression, `scores` [text]. Of a task of labelled words they are
    of every token, [text, token, class] and [text, token]: the word's is that of its first or last token, or with the
    pooling average the mean of its tokens' logits or scores.

    Args:
        model: the model.
        path: the file.
        overwrite: replace a file.

    Raises:
        UserError: the packages of the extra `onnx` are missing, there is a file already, the architecture cannot be
            translated, the model is too large, or the file cannot be written.
    """
    file = local(path, "path")
    refuse_present(path, overwrite)
    onnx, _ = _packages()
    title = model.encoder.config.title
    if model.facts.compute_dtype != "float32":
        raise UserError(
            f"The model computes in {model.facts.compute_dtype}, but ONNX files are of float32: run the study with "
            "config.encoder.compute_dtype='float32'."
        )
    if model.card.small.n_bytes > _LARGEST:
        raise UserError(f"The model has {model.card.small.n_bytes / 1e9:,.1f} GB, but an ONNX file at most 2.1 GB.")
    function, names = _function(model)
    try:
        with _quiet():
            proto = translated(function, names)
    except Exception as error:  # of tracing, and of what jax2onnx has no translation for
        if isinstance(error, MemoryError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160].rstrip(".")
        raise UserError(
            f"An encoder of the architecture {title} cannot be exported to ONNX ({reason}): export the folder instead."
        ) from error
    facts = {"task": model.facts.task, "pooling": model.facts.pooling, "max_length": model.facts.max_length}
    about = {**facts, "rows": model.facts.rows, "classes": model.classes}
    onnx.helper.set_model_props(proto, {name: json.dumps(value) for name, value in about.items()})
    content = proto.SerializeToString()
    _check(content, function, model, title)
    replace_file(file, lambda opened: opened.write(content))
    return file


def _packages() -> tuple[Any, Any]:
    try:
        import jax2onnx  # noqa: F401  # pyright: ignore[reportMissingImports]
        import onnx  # pyright: ignore[reportMissingImports]
        import onnxruntime  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"Exporting to ONNX needs the package {error.name}: install the extra, as in pip install 'jaxred[onnx]'."
        ) from error
    return onnx, onnxruntime


def _function(model: "ReducedModel") -> tuple[Callable[..., tuple[jax.Array, ...]], tuple[str, ...]]:
    """From token ids, mask and segments to the outputs, and their names."""
    head, facts, encoder = model.head, model.facts, model.encoder
    words = facts.rows == "word"

    def vectors(input_ids: jax.Array, mask: jax.Array, token_type_ids: jax.Array) -> jax.Array:
        tokens = input_ids, mask, token_type_ids
        if words:
            return encoder(*tokens, keep_all)
        if facts.pooling in ("cls", "last"):
            first = facts.pooling == "cls" and encoder.config.tokens.sentence_position == "first"
            last = jnp.sum(mask.astype(jnp.int32), axis=1) - 1  # padding is on the right of all that can be exported
            at = 0 * last if first else jnp.maximum(last, 0)
            return encoder.at(at[:, None], *tokens)[:, :, 0]
        of_sentence = {"mean": pooling.mean, "max": pooling.max}[facts.pooling]
        return encoder(*tokens, lambda hidden: of_sentence(hidden, pooling.own_tokens(mask))[:, 0])

    def outputs(input_ids: jax.Array, attention_mask: jax.Array, token_type_ids: jax.Array) -> tuple[jax.Array, ...]:
        kept = vectors(input_ids, attention_mask != 0, token_type_ids)
        logits: Any = head.bias.reshape((1,) * (kept.ndim - 2) + (-1,))
        for layer in np.unique(head.layers).tolist():  # a product for each layer, and no gather over all of them
            of_layer = head.layers == layer
            neurons = jnp.take(kept[layer], head.neurons[of_layer], axis=-1).astype(facts.dtype).astype(jnp.float32)
            logits = logits + jnp.matmul(neurons, head.weights[of_layer], precision=jax.lax.Precision.HIGHEST)
        if not isinstance(logits, jax.Array):
            logits = jnp.zeros((*kept.shape[1:-1], 1), jnp.float32) + logits
        return (logits, jax.nn.softmax(logits)) if facts.classes else (logits[..., 0],)

    return outputs, ("logits", "probabilities") if facts.classes else ("scores",)


def translated(function: Callable[..., Any], names: tuple[str, ...]) -> Any:
    """The ONNX model of a function."""
    from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports]

    shape = jax.export.symbolic_shape("texts, tokens")
    inputs = [jax.ShapeDtypeStruct(shape, jnp.int32)] * len(INPUTS)
    program = jax.make_jaxpr(function)(*inputs)
    proto = to_onnx(replayed(program), inputs, model_name="jaxred", opset=OPSET, input_names=INPUTS, output_names=names)
    _take_int64(proto)
    return proto


def _take_int64(proto: Any) -> None:
    """Makes the inputs int64, as tokenizers give them."""
    from onnx import TensorProto, helper  # pyright: ignore[reportMissingImports]

    graph, casts = proto.graph, []
    for graph_input in graph.input:
        if graph_input.name in INPUTS:
            narrow = f"{graph_input.name}_int32"
            for node in graph.node:
                for i, name in enumerate(node.input):
                    if name == graph_input.name:
                        node.input[i] = narrow
            graph_input.type.tensor_type.elem_type = TensorProto.INT64
            casts.append(helper.make_node("Cast", [graph_input.name], [narrow], to=TensorProto.INT32))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _check(content: bytes, function: Callable[..., Any], model: "ReducedModel", title: str) -> None:
    """Compares the file's outputs with the function's.

    Raises:
        UserError: they differ.
    """
    _, onnxruntime = _packages()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    random, config = np.random.default_rng(0), model.encoder.config
    for n_texts, n_tokens in _CHECKED:
        n_tokens = min(n_tokens, model.facts.max_length)
        ids = random.integers(0, config.vocab_size, (n_texts, n_tokens))
        mask = (np.arange(n_tokens) < random.integers(1, n_tokens + 1, (n_texts, 1))).astype(np.int64)
        arrays = [ids, mask, np.zeros_like(ids)]
        scores = session.run(None, dict(zip(INPUTS, arrays, strict=True)))[0]
        expected = np.asarray(jax.jit(function)(*(array.astype(np.int32) for array in arrays))[0])
        real = mask.astype(bool) if expected.shape[:2] == mask.shape else slice(None)
        if not np.allclose(scores[real], expected[real], rtol=0, atol=_TOLERANCE * max(1, np.abs(expected).max())):
            raise UserError(
                f"The ONNX file of this encoder, of the architecture {title}, would give other outputs than jaxred: "
                "export the folder instead."
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the notes of onnx_ir on values without a type off the screen."""
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
