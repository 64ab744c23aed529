"""NumPy's files: `.npy` with the activations [row, layer, neuron] alone, `.npz` with labels and positions in addition.

An `.npz` holds the arrays

    hidden_states    [row, layer, neuron], or [row, neuron] of one layer, of floats
    labels           [row], texts (classes) or floats (scores); whole numbers are taken as names of classes
    sentence_index   [row], the position of the row's sentence in the text
    word_index       [row], the position of the row's word in its sentence; only where a row is a word

of which all but the first may be missing in a file of others. The large array is read and written in pieces, so that
memory does not grow with the file. Arrays of objects, which are pickles, are refused.
"""

import contextlib
import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from jaxtyping import Float, Int

from jaxred.data.lines import LONGEST_CLASS
from jaxred.errors import UserError
from jaxred.io.files import MEMORY_SHARE, file_digest, refuse_special
from jaxred.io.git_lfs import refuse_pointer
from jaxred.io.memory import available_bytes

SUFFIXES = (".npy", ".npz")
HIDDEN_STATES = "hidden_states"
_PIECE_BYTES = 16 * 2**20
_File = IO[bytes] | io.BufferedIOBase  # which a member of an archive is


@dataclass(frozen=True)
class ArrayFile:
    """What a file holds, but for the activations."""

    path: Path
    n_rows: int
    n_layers: int
    hidden_size: int
    digest: str  # `jaxred.io.files.file_digest`
    labels: np.ndarray | None  # [row], texts (as objects) or float64
    sentence_index: Int[np.ndarray, " row"] | None
    word_index: Int[np.ndarray, " row"] | None

    def read(self, first: int = 0) -> Iterator[Float[np.ndarray, "row layer neuron"]]:
        """The activations of the rows from `first` on, in pieces.

        Raises:
            UserError: the file is damaged, or holds a value that float32 cannot hold, or that is no number.
        """
        with _array(self.path) as (file, shape, dtype):
            row_bytes = self.n_layers * self.hidden_size * dtype.itemsize
            if shape[0] != self.n_rows:
                raise UserError(f"{self.path} was changed while it was read: run again.")
            _skip(file, first * row_bytes)
            step = max(1, _PIECE_BYTES // row_bytes)
            for start in range(first, self.n_rows, step):
                n_rows = min(step, self.n_rows - start)
                raw = _exactly(file, n_rows * row_bytes, self.path)
                block = np.frombuffer(raw, dtype).reshape(n_rows, self.n_layers, self.hidden_size)
                with np.errstate(over="ignore"):
                    narrow = block.astype(np.float32, copy=False)
                if not np.isfinite(narrow).all():
                    row, layer, neuron = (int(i) for i in np.argwhere(~np.isfinite(narrow))[0])
                    raise UserError(
                        f"{self.path}: the value of row {start + row}, layer {layer}, neuron {neuron} is "
                        f"{block[row, layer, neuron]}, but a finite number that float32 can hold is expected: extract "
                        "the row again."
                    )
                yield narrow


def open_array(path: Path) -> ArrayFile:
    """Reads all of a file but the activations.

    Raises:
        UserError: the file is missing, damaged, cut short, holds objects, or its arrays do not fit together.
    """
    with _array(path) as (_, shape, _):
        n_rows, n_layers, hidden_size = shape
    companions = {"labels": None, "sentence_index": None, "word_index": None}
    if path.suffix.lower() == ".npz":
        with _told(path), zipfile.ZipFile(path) as archive:
            _check_members(archive, path)
            present = {info.filename.removesuffix(".npy") for info in archive.infolist()}
            companions = {
                name: _vector(archive, name, n_rows, path) if name in present else None for name in companions
            }
    index = {name: _index(companions[name], name, path) for name in ("sentence_index", "word_index")}
    return ArrayFile(
        path, n_rows, n_layers, hidden_size, file_digest(path), _labels(companions["labels"], path), **index
    )


def write(
    file: BinaryIO,
    suffix: str,
    blocks: Iterator[Float[np.ndarray, "row layer neuron"]],
    shape: tuple[int, int, int],
    dtype: str,
    companions: dict[str, np.ndarray],
) -> None:
    """Writes a file.

    Args:
        file: open for writing.
        suffix: .npy, without `companions`, or .npz.
        blocks: the activations, in pieces, of the type that is written.
        shape: of all of them.
        dtype: float32 or float16.
        companions: the other arrays.
    """
    if suffix == ".npy":
        return _write_array(file, blocks, shape, dtype)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(f"{HIDDEN_STATES}.npy", "w", force_zip64=True) as member:
            _write_array(member, blocks, shape, dtype)
        for name, values in companions.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, values, allow_pickle=False)
            archive.writestr(f"{name}.npy", buffer.getvalue())


def _write_array(
    file: _File,
    blocks: Iterator[Float[np.ndarray, "row layer neuron"]],
    shape: tuple[int, int, int],
    dtype: str,
) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
    for block in blocks:
        file.write(np.ascontiguousarray(block, np.dtype(dtype)).data)


@contextlib.contextmanager
def _array(path: Path) -> Iterator[tuple[_File, tuple[int, int, int], np.dtype]]:
    """The activations' bytes, their shape and type."""
    with contextlib.ExitStack() as stack:
        refuse_special(path, "a file of activations")
        with _told(path):
            if path.suffix.lower() == ".npz":
                archive = stack.enter_context(zipfile.ZipFile(path))
                _check_members(archive, path)
                names = [name.removesuffix(".npy") for name in archive.namelist()]
                if HIDDEN_STATES not in names:
                    raise UserError(
                        f"{path} has no array {HIDDEN_STATES!r} of activations, but {', '.join(map(repr, names))}: "
                        "save it under that name."
                    )
                member = archive.getinfo(_stored_name(archive, HIDDEN_STATES))
                file: _File = stack.enter_context(archive.open(member))
                n_bytes = member.file_size
            else:
                file = stack.enter_context(path.open("rb"))
                n_bytes = path.stat().st_size
            shape, fortran, dtype = _header(file)
            n_bytes -= file.tell()
        if dtype.hasobject:
            raise UserError(
                f"{path} holds an array of objects, which is a pickle, and reading one runs whatever is in it: save "
                "the activations as an array of floats."
            )
        if len(shape) == 2:
            shape = (shape[0], 1, shape[1])
        if len(shape) != 3 or 0 in shape or dtype.kind != "f":
            raise UserError(
                f"{path}: the activations are {shape} of {dtype}, but [row, layer, neuron] of floats is expected: save "
                "them so."
            )
        if fortran:
            raise UserError(
                f"{path}: the activations lie in Fortran's order, by which rows cannot be read one after the other: "
                "save np.ascontiguousarray of them."
            )
        _require_values(HIDDEN_STATES, shape, dtype, n_bytes, path)
        _require_memory(HIDDEN_STATES, math.prod(shape[1:]) * dtype.itemsize, path)
        yield file, shape, dtype


def _header(file: _File) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type of the array that follows; the file stands at its first value then."""
    version = np.lib.format.read_magic(file)  # type: ignore[arg-type]
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)  # type: ignore[arg-type]


def _stored_name(archive: zipfile.ZipFile, name: str) -> str:
    return f"{name}.npy" if f"{name}.npy" in archive.namelist() else name


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Rejects an archive that NumPy has not written: members that are encrypted, twice, or pressed otherwise."""
    names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
    for info, name in zip(archive.infolist(), names, strict=True):
        if info.flag_bits & 1:
            fault = "is encrypted"
        elif names.count(name) > 1:
            fault = "occurs twice"
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            fault = f"is compressed by method {info.compress_type}"
        else:
            continue
        raise UserError(
            f"{path}: its member {info.filename!r} {fault}, but an archive as np.savez or np.savez_compressed writes "
            "it is expected: save it with one of these."
        )


def _vector(archive: zipfile.ZipFile, name: str, n_rows: int, path: Path) -> np.ndarray:
    """An array of one value per row; texts as an array of objects, which takes the memory of the texts themselves."""
    member = archive.getinfo(_stored_name(archive, name))
    with archive.open(member) as file:
        shape, _, dtype = _header(file)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded")
        if shape != (n_rows,):
            raise UserError(
                f"{path}: {name} is of shape {shape}, but hidden_states has {n_rows} rows: one value per row "
                "is expected."
            )
        _require_values(name, shape, dtype, member.file_size - file.tell(), path)
        texts = dtype.kind == "U"
        _require_memory(name, dtype.itemsize * (1 if texts else n_rows), path)
        step = max(1, _PIECE_BYTES // max(1, dtype.itemsize)) if texts else n_rows
        values = np.empty(n_rows, object if texts else dtype)
        for start in range(0, n_rows, step):
            size = min(step, n_rows - start)
            raw = _exactly(file, size * dtype.itemsize, path)
            values[start : start + size] = np.ndarray(size, dtype, raw)
        file.read(1)  # past the end, where the archive's checksum is compared
    return values


def _require_values(name: str, shape: tuple[int, ...], dtype: np.dtype, n_bytes: int, path: Path) -> None:
    needed = math.prod(shape) * dtype.itemsize
    if needed > n_bytes:
        raise UserError(
            f"{path}: {name} is {shape} of {dtype} by its header, which are {needed:,} bytes, but {n_bytes:,} follow: "
            "the file is cut short, as by a full disk or a killed run, or damaged; write it again."
        )


def _require_memory(name: str, n_bytes: int, path: Path) -> None:
    free = available_bytes()
    if n_bytes > MEMORY_SHARE * free:
        raise UserError(
            f"{path}: {name} needs {n_bytes / 1e9:,.1f} GB of memory at once, but of the {free / 1e9:,.1f} GB that are "
            f"free it may take {MEMORY_SHARE:.0%}: check that the file is one of activations."
        )


def _exactly(file: _File, n_bytes: int, path: Path) -> bytes:
    with _told(path):
        raw = file.read(n_bytes)
    if len(raw) < n_bytes:
        raise UserError(f"{path} is cut short, as by a full disk or a killed run: write the file again.")
    return raw


def _skip(file: _File, n_bytes: int) -> None:
    file.seek(n_bytes, io.SEEK_CUR)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What NumPy and zipfile raise, in a sentence."""
    try:
        yield
    except UserError:  # which is a ValueError too
        raise
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: a file of activations is expected there; check the path.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, but a file of activations is expected there; check the path.") from None
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        RuntimeError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        refuse_pointer(path)
        reason = str(error).split("\n")[0].rstrip(".")
        if "Object arrays" in reason:
            raise UserError(
                f"{path} holds an array of objects, which is a pickle, and reading one runs whatever is in it: save "
                "labels as texts or numbers."
            ) from None
        raise UserError(
            f"{path} cannot be read as {path.suffix.lower()} ({reason}): it may be cut short; write the file again."
        ) from None


def _labels(values: np.ndarray | None, path: Path) -> np.ndarray | None:
    if values is None:
        return None
    if values.dtype.kind == "O":
        for row, label in enumerate(values.tolist()):
            if len(label) > LONGEST_CLASS:
                raise UserError(
                    f"{path}: the label of row {row} has {len(label):,} characters, but a class has at most "
                    f"{LONGEST_CLASS:,}: check what is saved as labels."
                )
        return values
    if values.dtype.kind in "iub":
        return values.astype(str)
    with np.errstate(over="ignore"):
        scores = values.astype(np.float64) if values.dtype.kind == "f" else None
    if scores is None or not np.isfinite(scores).all():
        raise UserError(f"{path}: labels are of {values.dtype}, but texts, or finite numbers, are expected: fix them.")
    return scores


def _index(values: np.ndarray | None, name: str, path: Path) -> Any:
    if values is None:
        return None
    if values.dtype.kind not in "iu" or values.min() < 0:
        raise UserError(f"{path}: {name} is of {values.dtype}, but whole numbers of at least 0 are expected: fix it.")
    if values.max() > np.iinfo(np.int32).max:
        raise UserError(
            f"{path}: {name} is up to {values.max()}, but positions of at most {np.iinfo(np.int32).max} are expected: "
            "fix it."
        )
    return values.astype(np.int32)
