"""The folder of a reduced model: written whole, and read only as it was written.

::

    reduced.json         what the model is, and the SHA-256 of every other file
    head.safetensors     the layers and indices of the neurons, weights and bias
    head.npz             the same for NumPy
    encoder/             a Hugging Face folder: config.json, model.safetensors, tokenizer.json and others
    README.md            the card
"""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as arrays_from_bytes
from safetensors.numpy import save as as_bytes

from jaxred.errors import UserError
from jaxred.io.files import read_json, refuse_special, unfinished_folder, write_text
from jaxred.io.paths import local
from jaxred.io.records import from_json, to_json
from jaxred.io.result_files import as_json, plain, with_digest, without_digest
from jaxred.models import Encoder, load_encoder
from jaxred.models.saved_tokenizer import SavedTokenizer, SpecialTokens
from jaxred.models.saving import save_folder
from jaxred.models.token_layout import FAST
from jaxred.models.tokenization import Tokenizer
from jaxred.reduced.card import Card
from jaxred.reduced.parts import ARRAYS, Head

if TYPE_CHECKING:
    from jaxred.reduced.model import ReducedModel

FORMAT, VERSION = "jaxred.reduced", 1
INDEX, HEAD, NUMPY_HEAD, ENCODER, CARD = "reduced.json", "head.safetensors", "head.npz", "encoder", "README.md"
_NEEDED = (HEAD, f"{ENCODER}/config.json", f"{ENCODER}/model.safetensors", f"{ENCODER}/{FAST}")


def write(model: "ReducedModel", path: str | Path, overwrite: bool) -> Path:
    """Writes a model's folder next to its place, and renames it when it is whole.

    Raises:
        UserError: as `ReducedModel.save`.
    """
    folder = local(path, "path").absolute()
    refuse_present(path, overwrite)
    unfinished = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = unfinished_folder(folder)
        _write_files(model, unfinished / "new")
        if folder.exists():
            os.replace(folder, unfinished / "old")
        os.replace(unfinished / "new", folder)
    except (OSError, SafetensorError) as error:
        if unfinished is not None and (unfinished / "old").exists() and not folder.exists():
            with contextlib.suppress(OSError):
                os.replace(unfinished / "old", folder)
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"Cannot write {path} ({reason}): make room, or choose another place.") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def refuse_present(path: str | Path, overwrite: bool) -> None:
    """Rejects a place where something is already that is not to be replaced.

    Raises:
        UserError: saying what is there.
    """
    folder = local(path, "path").absolute()
    if not os.path.lexists(folder):
        return
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        return
    if not (folder / INDEX).is_file():
        raise UserError(f"{path} is there, and is no reduced model: choose another place.")
    if folder.is_symlink():
        raise UserError(f"{path} is a link to a reduced model: pass the folder itself.")
    if not overwrite:
        raise UserError(f"{path} holds a reduced model: choose another place, or pass overwrite=True to replace it.")


def _write_files(model: "ReducedModel", folder: Path) -> None:
    encoder = folder / ENCODER
    encoder.mkdir(parents=True)
    save_folder(model.encoder, model.source, encoder)
    saved = model.tokenizer.saved
    write_text(encoder / FAST, saved.to_json())
    (folder / HEAD).write_bytes(as_bytes(model.head.arrays()))
    arrays: dict[str, Any] = {**model.head.arrays(), "classes": np.array(model.classes, str)}
    np.savez(folder / NUMPY_HEAD, **arrays)
    write_text(folder / CARD, str(model.card))
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    for file in files.values():
        with file.open("rb") as written:
            os.fsync(written.fileno())
    content = {
        "format": FORMAT,
        "version": VERSION,
        "card": to_json(model.card),
        "tokens": to_json(saved.special),
        "files": {name: _sha256(file) for name, file in files.items()},
    }
    write_text(folder / INDEX, as_json(with_digest(plain(content)), indent=True) + "\n")


def read(path: str | Path) -> tuple[Encoder, Tokenizer, Head, Card, Path]:
    """The parts of a model in a folder.

    Raises:
        UserError: as `load_reduced`.
    """
    folder = local(path, "path")
    content = _index(folder, path)
    try:
        card, special = from_json(Card, content["card"]), from_json(SpecialTokens, content["tokens"])
        files = {str(name): str(digest) for name, digest in content["files"].items()}
        missing = [name for name in _NEEDED if name not in files]
        if missing:
            raise ValueError(f"it does not list {missing[0]}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: {INDEX} is not what jaxred wrote ({error}): export the model again.") from error
    for name, digest in files.items():
        _check(folder, name, digest)
    facts, encoder_folder = card.facts, folder / ENCODER
    encoder = load_encoder(encoder_folder, compute_dtype=facts.compute_dtype)
    if not facts.final_norm:
        encoder.final_norm = None
    tokenizer = Tokenizer(encoder_folder, encoder.config, SavedTokenizer.read(encoder_folder / FAST, special))
    try:
        arrays = arrays_from_bytes((folder / HEAD).read_bytes())
        head = Head(*(arrays[name] for name in ARRAYS))
        facts.check_head(head)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{path}: {HEAD} is not what jaxred wrote ({error}): export the model again.") from error
    return encoder, tokenizer, head, card, encoder_folder


def _index(folder: Path, path: str | Path) -> dict[str, Any]:
    """What `reduced.json` says."""
    if not folder.is_dir():
        raise UserError(f"{path} is not a folder: pass one that `jaxred export` or ReducedModel.save wrote.")
    if not os.path.lexists(folder / INDEX):
        raise UserError(f"{path} is no reduced model: it has no {INDEX}; pass a folder that `jaxred export` wrote.")
    _inside(folder, INDEX)
    try:
        content = read_json(folder / INDEX)
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: {INDEX} cannot be read ({error}): export the model again.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: {INDEX} is not of a reduced model: pass a folder that `jaxred export` wrote.")
    if content.get("version") != VERSION:
        raise UserError(
            f"{path} is a reduced model of version {content.get('version')!r}, but this jaxred reads version "
            f"{VERSION}: use the jaxred that wrote it, or export the model again."
        )
    try:
        return without_digest(content)
    except ValueError:
        raise UserError(
            f"{path}: {INDEX} has been changed since it was written: copy the folder again, or export the model again."
        ) from None


def _check(folder: Path, name: str, digest: str) -> None:
    """Rejects a file that is not what was written."""
    file = _inside(folder, name)
    refuse_special(file, "a file of a reduced model")
    try:
        found = _sha256(file)
    except FileNotFoundError:
        raise UserError(f"{folder}: {name} is missing: copy the folder again, or export the model again.") from None
    except OSError as error:
        raise UserError(f"{folder}: {name} cannot be read ({error.strerror}): make it a readable file.") from None
    if found != digest:
        raise UserError(
            f"{folder}: {name} has been changed since it was written: copy the folder again, or export the model again."
        )


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder, which no link leads out of."""
    parts, root = PurePosixPath(name), folder.resolve()
    file = folder / name
    if parts.is_absolute() or ".." in parts.parts or "\\" in name or not file.resolve().is_relative_to(root):
        raise UserError(
            f"{folder}: {name} leads out of the folder: put the file itself there, or export the model again."
        )
    return file


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
