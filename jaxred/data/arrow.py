"""Columns of Parquet files, and of folders that the `datasets` library saved by `save_to_disk`, read by pyarrow alone.

Only texts, numbers and truth values are read; no extension type is given its own Python class, and nothing is executed.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxred.data.lines import MissingFile
from jaxred.errors import UserError
from jaxred.io.files import MEMORY_SHARE, read_json, refuse_special
from jaxred.io.git_lfs import refuse_pointer
from jaxred.io.memory import available_bytes

DATASET_DICT, STATE, INFO = "dataset_dict.json", "state.json", "dataset_info.json"

_BATCH_ROWS = 1024
_STREAM = "Arrow's stream format"
_END = b"\0\0\0\0"  # of a stream that was written to its end


class ArrowColumns(NamedTuple):
    """A file's columns, each of which is read when it is asked for."""

    names: tuple[str, ...]
    n_rows: int
    values: Callable[[int], list[Any]]  # of a column by its number, counted from 0
    class_names: dict[str, list[str]]  # of the columns whose integers stand for named classes (ClassLabel)


def read_parquet(path: Path) -> ArrowColumns:
    """Opens a Parquet file.

    Raises:
        UserError: it is missing, damaged, or no Parquet file; `values` raises it too, for a column of another type than
            text, number or truth value, or one that memory has no room for.
    """
    import pyarrow.parquet

    _check_file(path, "a Parquet file")
    with _errors(path, "Parquet"):
        file = pyarrow.parquet.ParquetFile(path)
        schema, n_rows = file.schema_arrow, file.metadata.num_rows

    def values(column: int) -> list[Any]:
        with _errors(path, "Parquet"), pyarrow.parquet.ParquetFile(path) as file:
            _check_type(schema.field(column), path)
            name = schema.names[column]  # which also selects columns that begin with it and a dot
            batches = file.iter_batches(_BATCH_ROWS, columns=[name])
            return _python_values((batch.column(batch.schema.names.index(name)) for batch in batches), path)

    return ArrowColumns(tuple(schema.names), n_rows, values, _class_names(_features(schema), schema.names))


def saved_splits(folder: Path) -> dict[str, Path]:
    """The splits of a folder that `datasets` saved, and the folder of each; empty where it is no such folder.

    A single split, which was saved without a name, is called `train`.

    Raises:
        UserError: its list of splits is damaged, or leads out of the folder.
    """
    if (folder / DATASET_DICT).is_file():
        names = _json(folder / DATASET_DICT).get("splits")
        if not isinstance(names, list) or not names:
            raise UserError(f'{folder / DATASET_DICT} has no list "splits": save the data set again.')
        return {str(name): _inside(folder, name) for name in names}
    return {"train": folder} if (folder / STATE).is_file() else {}


def read_saved_split(folder: Path) -> dict[Path, ArrowColumns]:
    """Opens the files of a split, `data-*.arrow` in the order of its `state.json`.

    Args:
        folder: with `state.json` and `dataset_info.json`.

    Raises:
        UserError: a file is missing, damaged, or outside of the folder; `values` raises it as `read_parquet`'s.
    """
    state = _json(folder / STATE)
    if state.get("_indices_data_files"):
        raise UserError(f"{folder} lists its rows by indices: save it again after `dataset.flatten_indices()`.")
    try:
        paths = [_inside(folder, entry["filename"]) for entry in state["_data_files"]]
    except (KeyError, TypeError):
        raise UserError(f'{folder / STATE} has no list "_data_files": save the data set again.') from None
    info = _json(folder / INFO) if (folder / INFO).is_file() else {}
    return {path: _read_stream(path, info.get("features")) for path in paths}


def _read_stream(path: Path, features: Any) -> ArrowColumns:
    import pyarrow as pa

    _check_file(path, f"a file of {_STREAM}")
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - len(_END), 0))
        whole = file.read() == _END
    with (
        _errors(path, _STREAM),
        pa.memory_map(str(path)) as source,
        pa.ipc.open_stream(source) as stream,
    ):
        schema = stream.schema
        n_rows = sum(batch.num_rows for batch in stream)
    if not whole:
        raise UserError(f"{path} is cut short, as its end is not marked: copy or save the data set again.")

    def values(column: int) -> list[Any]:
        with _errors(path, _STREAM), pa.memory_map(str(path)) as source:
            _check_type(schema.field(column), path)
            return _python_values((batch.column(column) for batch in pa.ipc.open_stream(source)), path)

    return ArrowColumns(tuple(schema.names), n_rows, values, _class_names(features or _features(schema), schema.names))


def _check_file(path: Path, expected: str) -> None:
    if not path.exists():
        raise MissingFile(f"{path} does not exist: {expected} is expected there; check the path.")
    refuse_special(path, expected)
    refuse_pointer(path)


def _check_type(field: Any, path: Path) -> None:
    """Rejects a column of anything but texts, numbers and truth values."""
    import pyarrow.types as types

    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    checks = (
        types.is_string, types.is_large_string, types.is_string_view, types.is_integer, types.is_floating,
        types.is_decimal, types.is_boolean, types.is_null,
    )  # fmt: skip
    if not any(check(kind) for check in checks):
        raise UserError(
            f"{path}: column {field.name!r} holds {kind}, but texts, numbers or truth values are expected: name "
            "another column (config.task.text_column, text_pair_column, label_column)."
        )


def _python_values(arrays: Iterable[Any], path: Path) -> list[Any]:
    values: list[Any] = []
    n_bytes, room = 0, MEMORY_SHARE * available_bytes()
    for array in arrays:
        array.validate(full=True)  # so that no offset of a damaged file points out of it
        n_bytes += array.nbytes
        if n_bytes > room:
            raise UserError(
                f"{path} has a column of more than {n_bytes / 1e9:,.1f} GB, and that is {MEMORY_SHARE:.0%} of the free "
                "memory: cut the file, or use a larger machine."
            )
        values += array.to_pylist()
    return values


def _features(schema: Any) -> Any:
    """What `datasets` notes in a schema of the columns' types."""
    try:
        return json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _class_names(features: Any, columns: list[str]) -> dict[str, list[str]]:
    class_names = {}
    for column in columns:
        feature = features.get(column) if isinstance(features, dict) else None
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            names = feature.get("names")
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                class_names[column] = names
    return class_names


def _json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}): save the data set again.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is no JSON object: save the data set again.")
    return content


def _inside(folder: Path, name: Any) -> Path:
    """The path of a file that another file of the folder names; it must be in the folder, links followed."""
    path = folder / str(name)
    if Path(str(name)).name != name or path.resolve().parent != folder.resolve():
        raise UserError(f"{folder} names {name!r}, which is not in that folder: save the data set again.")
    return path


@contextlib.contextmanager
def _errors(path: Path, format_name: str) -> Iterator[None]:
    """Turns what pyarrow raises into the one error for users."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).split("\n")[0][:200]
        raise UserError(f"{path} cannot be read as {format_name} ({reason}): write the file again.") from error
