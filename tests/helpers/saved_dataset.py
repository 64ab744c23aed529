"""Folders as the `datasets` library leaves them by `save_to_disk`, written by pyarrow."""

import json
from pathlib import Path

import pyarrow as pa


def save_split(folder: Path, table: pa.Table, class_names: dict[str, list[str]], n_files: int = 1) -> None:
    """One split: `state.json`, `dataset_info.json`, and the rows in so many files of Arrow's stream format."""
    folder.mkdir(parents=True, exist_ok=True)
    features = {name: {"dtype": str(table.schema.field(name).type), "_type": "Value"} for name in table.column_names}
    features |= {name: {"names": names, "_type": "ClassLabel"} for name, names in class_names.items()}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    files = [f"data-{i:05d}-of-{n_files:05d}.arrow" for i in range(n_files)]
    step = -(-table.num_rows // n_files)
    for i, name in enumerate(files):
        part = table.slice(i * step, step)
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, part.schema) as writer:
            writer.write_table(part, max_chunksize=7)
    state = {
        "_data_files": [{"filename": name} for name in files],
        "_fingerprint": "0123456789abcdef",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": folder.name,
    }
    (folder / "state.json").write_text(json.dumps(state, indent=2))
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2))


def save_dataset(
    folder: Path, splits: dict[str, pa.Table], class_names: dict[str, list[str]], n_files: int = 1
) -> None:
    """A folder of several splits, with `dataset_dict.json`."""
    for split, table in splits.items():
        save_split(folder / split, table, class_names, n_files)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
