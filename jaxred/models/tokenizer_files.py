"""The files of a folder that make its tokenizer: which they are, and their digest."""

import hashlib
import json
from pathlib import Path
from typing import Any

from jaxred.errors import UserError
from jaxred.io.git_lfs import refuse_pointer
from jaxred.models.token_layout import FAST

_SENTENCEPIECE = "spiece.model"

_CONFIG = "tokenizer_config.json"
_FILES = (
    FAST,
    "vocab.txt",
    _SENTENCEPIECE,
    _CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
)
# What transformers takes where the files of the tokenizer's own class are not there.
_OTHERS = ("tokenizer.*.json", "tokenizer.model*", "tekken.json", "tiktoken.model*", "vocab.json", "merges.txt")


def files(folder: Path) -> list[Path]:
    """The files that a folder's tokenizer may be read from, whatever their names.

    Raises:
        UserError: if the tokenizer's configuration is broken, or names a file outside the folder.
    """
    config = settings(folder)
    named = config.get("fast_tokenizer_files", [])
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise UserError(f"{folder / _CONFIG}: fast_tokenizer_files={named!r} must be a list of file names.")
    for name in named:
        if Path(name).name != name or "\\" in name:
            raise UserError(
                f"{folder / _CONFIG}: fast_tokenizer_files names {name!r}, but a tokenizer is read from files in its "
                "own folder alone: name a file there."
            )
    for key in ("vocab", "merges", "tokenizer_object"):
        if isinstance(config.get(key), str):  # which would be opened as a file, wherever it is
            raise UserError(f"{folder / _CONFIG}: {key}={config[key]!r} is not supported: leave it out.")
    paths = {folder / name for name in (*_FILES, *named)} | {p for pattern in _OTHERS for p in folder.glob(pattern)}
    return sorted(path for path in paths if path.is_file())


def tokenizer_digest(folder: Path) -> str:
    """The SHA-256, in hexadecimal, of the names and contents of a folder's tokenizer files.

    Raises:
        UserError: as `files`.
    """
    digest = hashlib.sha256()
    for path in files(folder):
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def settings(folder: Path) -> dict[str, Any]:
    """The object in a folder's tokenizer_config.json; empty where there is none.

    Raises:
        UserError: if it is no object of JSON.
    """
    path = folder / _CONFIG
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        refuse_pointer(path)
        raise UserError(f"{path} is not JSON ({error}): download it again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must be an object of settings: download it again.")
    return content


def no_tokenizer(folder: Path, vocabularies: tuple[str, ...]) -> str:
    """What is wrong with a folder without any of the files that make a tokenizer."""
    if (folder / _SENTENCEPIECE).is_file():
        # Of transformers 5.23's own reading of it, half of SST-2's sentences differ from SentencePiece's.
        return (
            f"{folder} has its tokenizer as {_SENTENCEPIECE} alone, of which transformers makes one that cuts words at "
            f"hyphens and full stops: put the {FAST} of the same model next to it, such as that of xlnet-base-cased."
        )
    if len(vocabularies) == 1:
        return f"{folder} has no tokenizer: {vocabularies[0]} is not there."
    return f"{folder} has no tokenizer: neither {' nor '.join(vocabularies)} is there."
