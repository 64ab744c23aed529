"""A checkpoint whose weights are PyTorch's `pytorch_model.bin` to one in safetensors, which jaxred reads.

This is the one place that opens a pickle, by PyTorch's weights-only loader, which builds tensors and nothing else. It
needs PyTorch, and is run once, by a launcher of its own.
"""

import importlib.util
import pickle
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from jaxred.errors import UserError
from jaxred.io.files import UNFINISHED, read_json, replace_file
from jaxred.io.git_lfs import refuse_pointer
from jaxred.io.locks import lock
from jaxred.models import abstract_encoder, checkpoint

_WEIGHTS, _INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_OTHERS = ("*.json", "*.txt", "*.model")  # the configuration and the tokenizer, which go along


def convert(source: Path, target: Path) -> Path:
    """Writes `target/model.safetensors` of the weights in `source/pytorch_model.bin` or its shards.

    Names, shapes and types are those of the file, heads included. Nothing is left behind unless the result is a
    checkpoint that jaxred reads.

    Args:
        source: a Hugging Face folder of a supported architecture.
        target: a folder that need not exist; it gets the configuration and the tokenizer too. May be `source`.

    Returns:
        The file that was written.

    Raises:
        UserError: if PyTorch is not installed; if the folder is not of a supported architecture, has no such weights
            or has safetensors already; if a file is more than tensors by name; if the weights do not fit the
            configuration.
    """
    model = abstract_encoder(source)
    with lock(target, leftovers=["converting", *_OTHERS]):
        return _convert(model, source, target)


def _convert(model: Any, source: Path, target: Path) -> Path:
    file = target / "model.safetensors"
    for folder in {source, target}:
        if any(folder.glob("model*.safetensors*")):
            raise UserError(f"{folder} has safetensors weights already: nothing is to be converted.")
    files = _files(source)
    for path in files:
        refuse_pointer(path)
    if not importlib.util.find_spec("torch"):
        raise UserError("Reading pytorch_model.bin needs PyTorch, which is not installed: pip install torch.")
    tensors: dict[str, Any] = {}
    for path in files:
        tensors |= _load(path)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".converting.", suffix=UNFINISHED) as name:
        trial = Path(name)
        _save(tensors, trial / file.name)
        shutil.copy(source / "config.json", trial)
        try:
            checkpoint.check(model, trial)
        except UserError as error:
            raise UserError(str(error).replace(str(trial), str(source))) from error
        if source.resolve() != target.resolve():
            for path in (path for pattern in _OTHERS for path in source.glob(pattern) if path.name != _INDEX):
                replace_file(target / path.name, lambda out, path=path: out.write(path.read_bytes()))
        (trial / file.name).replace(file)
    return file


def _files(source: Path) -> list[Path]:
    if (source / _WEIGHTS).is_file():
        return [source / _WEIGHTS]
    if not (source / _INDEX).is_file():
        raise UserError(f"{source} has no weights to convert: neither {_WEIGHTS} nor {_INDEX} is there.")
    try:
        shards = sorted(set(read_json(source / _INDEX)["weight_map"].values()))
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f'{source / _INDEX} is not an index of shards: it must have a "weight_map".') from error
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or "\\" in shard:
            raise UserError(f"{source / _INDEX} names the shard {shard!r}: a shard must be a file next to the index.")
        if not (source / shard).is_file():
            raise UserError(f"{source / _INDEX} names the shard {shard!r}, which is missing: download it again.")
    return [source / shard for shard in shards]


def _load(path: Path) -> dict[str, Any]:
    import torch  # pyright: ignore[reportMissingImports]

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than tensors, or is no PyTorch file: PyTorch's weights-only loader rejects it, "
            f"and jaxred runs nothing that a checkpoint holds. Get it in safetensors from where it came."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is truncated or not a PyTorch file: download it again.") from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in content.items()
    ):
        raise UserError(f"{path} is not a state_dict: it must hold tensors by name, and nothing else.")
    return content


def _save(tensors: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save_file  # pyright: ignore[reportMissingImports]

    # Cloned, for tied weights are one memory under two names, which safetensors does not store.
    try:
        save_file({name: t.detach().clone().contiguous() for name, t in tensors.items()}, path, {"format": "pt"})
    except OSError as error:
        raise UserError(f"Cannot write {path.parent.parent} ({error.strerror or error}): make room.") from error
