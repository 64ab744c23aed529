"""The safetensors files of Hugging Face folders to parameters by a table of names, and back."""

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxred.errors import UserError
from jaxred.io.git_lfs import refuse_pointer
from jaxred.io.memory import available_bytes
from jaxred.models.pretrained import CONFIG, WEIGHTS, weight_files
from jaxred.models.weight_table import WeightTable

log = logging.getLogger("jaxred")

_MOST_DIFFERENCES = 3  # of a kind, that an error names; it counts the others
_FLOATS = ("F64", "F32", "F16", "BF16")
_ALIGNMENT = 64  # bytes


@runtime_checkable
class _Encoder(Protocol):
    weights: ClassVar[WeightTable]
    config: Any


_AnyEncoder = TypeVar("_AnyEncoder", bound=_Encoder)


def load_weights(model: _AnyEncoder, folder: Path) -> _AnyEncoder:
    """A model of the same structure, filled from the folder's safetensors files.

    Every tensor of the checkpoint must be known, and every parameter of the model filled. Tensors may be of any
    floating type; parameters keep the model's.

    Args:
        model: an encoder, which may be abstract (`nnx.eval_shape`).
        folder: a Hugging Face folder.

    Raises:
        UserError: if there are no safetensors files, one cannot be read, or names, shapes or types differ; one error
            names the first that differ and counts the others.
    """
    graphdef, state = nnx.split(model)
    parameters = dict(nnx.to_flat_state(state))
    tensors = _match(model, parameters, folder)  # before memory is asked for, which a wrong configuration would waste
    _require_memory(parameters.values(), folder)
    filled = {}
    for path, parameter in parameters.items():
        array = _aligned(parameter.shape, parameter.dtype)
        if model.weights.absent:
            array[...] = 1
        for name, slot in model.weights.slots(path, array).items():
            file, stored_name = tensors[name]
            whole = slot.stored.n_parts == 1
            slot.view[...] = file.get_tensor(stored_name) if whole else file.get_slice(stored_name)[slot.index]
        filled[path] = parameter.replace(jnp.asarray(array))
    return nnx.merge(graphdef, nnx.from_flat_state(filled))


def _aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array without values that JAX takes as it lies on a CPU, without a second copy of it."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(n_bytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + n_bytes].view(dtype).reshape(shape)


def stored_tensors(folder: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The tensors of a folder's safetensors files that have one of these names, in float32.

    Raises:
        UserError: a file cannot be read.
    """
    asked = {*names}
    return {name: np.asarray(file.get_tensor(name), np.float32) for file, name in _all_tensors(folder) if name in asked}


def check(model: _Encoder, folder: Path) -> None:
    """Rejects what `load_weights` would refuse, without reading the weights.

    Raises:
        UserError: as `load_weights`.
    """
    _match(model, dict(nnx.to_flat_state(nnx.state(model))), folder)


def state_dict(model: _Encoder, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """The model's weights under their Hugging Face names, as `load_weights` reads them.

    Args:
        model: an encoder.
        dtype: of the tensors; None: that of each parameter.
    """
    tensors: dict[str, np.ndarray] = {}
    for path, leaf in nnx.to_flat_state(nnx.state(model)):
        for name, slot in model.weights.slots(path, np.asarray(leaf[...], dtype=dtype)).items():
            tensors.setdefault(name, np.empty(slot.shape, slot.view.dtype))[slot.index] = slot.view
    return tensors


def read_part(model: _Encoder, part: str, folder: Path) -> dict[str, np.ndarray]:
    """The tensors of one part of a model, by their Hugging Face names, in float32.

    Args:
        model: an encoder, which may be abstract.
        part: the parameters' path begins with it, such as `final_norm`.
        folder: a Hugging Face folder.

    Raises:
        UserError: as `load_weights`.
    """
    parameters = dict(nnx.to_flat_state(nnx.state(model)))
    tensors, arrays = _match(model, parameters, folder), {}
    for path, parameter in parameters.items():
        if path[0] == part:
            for name in model.weights.slots(path, np.broadcast_to(np.float32(0), parameter.shape)):
                file, stored_name = tensors[name]
                arrays[name] = np.asarray(file.get_tensor(stored_name), np.float32)
    return arrays


def save(model: _Encoder, folder: Path) -> None:
    """Writes the model as a Hugging Face folder of a `config.json` and a `model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(model.config.to_dict(), indent=2) + "\n")
    save_file(state_dict(model), folder / WEIGHTS, metadata={"format": "pt"})


def _match(model: _Encoder, parameters: Mapping[Any, Any], folder: Path) -> dict[str, tuple[Any, str]]:
    """Where each of the checkpoint's tensors is; all names, shapes and types agree with the model's."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path, parameter in parameters.items():
        array = np.broadcast_to(np.float32(0), parameter.shape)  # of no memory
        shapes |= {name: slot.shape for name, slot in model.weights.slots(path, array).items()}
    tensors = _open_tensors(folder, model.weights, shapes)
    _check_tensors(shapes, tensors, folder)
    return tensors


def _require_memory(parameters: Iterable[Any], folder: Path) -> None:
    needed = sum(math.prod(p.shape) * np.dtype(p.dtype).itemsize for p in parameters)
    free = available_bytes()
    if needed > free:
        raise UserError(
            f"The weights of {folder} take {needed / 1e9:,.1f} GB of memory, but {free / 1e9:,.1f} GB are "
            "free: choose a smaller model or a larger machine."
        )


def _open_tensors(folder: Path, table: WeightTable, expected: Collection[str]) -> dict[str, tuple[Any, str]]:
    """Canonical name -> (open file, name in it), for the tensors that the table does not ignore."""
    stored = _all_tensors(folder)
    wrapper = _wrapper((name for _, name in stored), table, expected, folder)
    if wrapper:
        log.info("%s: the names of the weights are read without their prefix %r", folder, wrapper)
    by_name: dict[str, tuple[Any, str]] = {}
    for file, stored_name in stored:
        name = table.canonical(stored_name.removeprefix(wrapper))
        if name not in expected and re.fullmatch(table.ignored, name):
            continue
        if name in by_name:
            raise UserError(f"{folder} holds {name} twice, as {by_name[name][1]} and as {stored_name}.")
        by_name[name] = (file, stored_name)
    return by_name


def _all_tensors(folder: Path) -> list[tuple[Any, str]]:
    """Every tensor of a folder's files: the open file, and the name in it."""
    stored: list[tuple[Any, str]] = []
    for path in weight_files(folder):
        try:
            file = safe_open(path, framework="numpy")
        except (MemoryError, OSError) as error:
            raise UserError(f"{path} cannot be opened ({error}): make it a readable file, or close others.") from error
        except SafetensorError as error:
            refuse_pointer(path)
            raise UserError(f"{path} is truncated or not a safetensors file ({error}): download it again.") from error
        stored += [(file, name) for name in file.keys()]  # noqa: SIM118 (not a dict)
    return stored


def _wrapper(names: Iterable[str], table: WeightTable, expected: Collection[str], folder: Path) -> str:
    """What a wrapper of the model put before the names of a checkpoint: `module.`, `_orig_mod.`, `model.` and such.

    It is what stands before most of the encoder's names; heads and other parts may have it or not.

    Raises:
        UserError: if the encoder is there more than once, under several prefixes.
    """
    counts: Counter[str] = Counter()
    for name in map(table.spelled, names):
        starts = [0, *(match.end() for match in re.finditer(r"\.", name))]
        counts.update(name[:start] for start in starts if name[start:] in expected)
    most = max(counts.values(), default=0)
    prefixes = sorted(prefix for prefix, count in counts.items() if count == most)
    if not prefixes or {"", table.prefix} & {*prefixes}:
        return ""
    if len(prefixes) > 1:
        raise UserError(
            f"{folder} holds the weights of {len(prefixes)} encoders, under the prefixes {', '.join(prefixes[:4])}: "
            "save a checkpoint of one of them."
        )
    return prefixes[0].removesuffix(table.prefix)


def _check_tensors(
    expected: Mapping[str, tuple[int, ...]], stored: Mapping[str, tuple[Any, str]], folder: Path
) -> None:
    unknown = [f"{stored[name][1]} is not a weight of this model" for name in sorted(stored.keys() - expected.keys())]
    missing = [f"{name} is missing" for name in sorted(expected.keys() - stored.keys())]
    others = []
    for name in sorted(expected.keys() & stored.keys()):
        file, stored_name = stored[name]
        tensor = file.get_slice(stored_name)
        if tuple(tensor.get_shape()) != expected[name]:
            others.append(f"{stored_name} has shape {tuple(tensor.get_shape())}, not {expected[name]}")
        if tensor.get_dtype() not in _FLOATS:
            others.append(f"{stored_name} has type {tensor.get_dtype()}, not one of {', '.join(_FLOATS)}")
    if unknown or missing or others:
        differences = [text for kind in (unknown, missing, others) if kind for text in _capped(kind)]
        raise UserError(f"{folder} does not hold the weights that its {CONFIG} describes: {'; '.join(differences)}.")


def _capped(differences: list[str]) -> list[str]:
    """The first few differences, and how many more there are."""
    more = len(differences) - _MOST_DIFFERENCES
    return [*differences[:_MOST_DIFFERENCES], f"and so for {more} more names"] if more > 0 else differences
