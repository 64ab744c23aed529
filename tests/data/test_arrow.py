"""Parquet and folders of `datasets`: what is written is read, and what is damaged or leads elsewhere is rejected."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.saved_dataset import save_dataset, save_split
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.data.arrow import read_parquet, read_saved_split, saved_splits
from jaxred.errors import UserError

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.lists(st.tuples(TEXT, st.integers(-(2**63), 2**63 - 1) | st.none(), st.floats(allow_nan=False)), min_size=1))
@settings(deadline=None)
def test_what_pyarrow_writes_is_read_back(tmp_path_factory, rows):
    texts, ids, scores = map(list, zip(*rows, strict=True))
    table = pa.table({"text": texts, "id": pa.array(ids, pa.int64()), "score": scores})
    table = table.append_column("class", table["text"].dictionary_encode())
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    pq.write_table(table, path, row_group_size=3)
    folder = tmp_path_factory.getbasetemp() / "any"
    save_split(folder, table, {}, n_files=2)
    columns = read_parquet(path)
    assert (columns.names, columns.n_rows) == (("text", "id", "score", "class"), len(rows))
    parts = read_saved_split(folder).values()
    for column, values in enumerate((texts, ids, scores, texts)):
        assert columns.values(column) == values
        assert [value for part in parts for value in part.values(column)] == values


def test_names_with_dots_and_structs_are_told_apart(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text.b": ["x"], "text": ["y"], "s": [{"a": 1}], "list": [[1]]}), path)
    columns = read_parquet(path)
    assert [columns.values(i) for i in (0, 1)] == [["x"], ["y"]]
    for column in (2, 3):
        with pytest.raises(UserError, match="texts, numbers or truth values are expected"):
            columns.values(column)


def test_names_of_classes(tmp_path):
    table = pa.table({"text": ["a", "b"], "label": [0, 1]})
    save_dataset(tmp_path / "saved", {"train": table}, {"label": ["bad", "good"]})
    (columns,) = read_saved_split(saved_splits(tmp_path / "saved")["train"]).values()
    assert columns.class_names == {"label": ["bad", "good"]}
    noted = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["bad", "good"]}}}}
    for metadata, names in ((json.dumps(noted), {"label": ["bad", "good"]}), ("[]", {}), ("{", {})):
        pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), tmp_path / "a.parquet")
        assert read_parquet(tmp_path / "a.parquet").class_names == names


def test_a_split_saved_alone_is_train(tmp_path):
    save_split(tmp_path / "one", pa.table({"text": ["a"]}), {})
    assert saved_splits(tmp_path / "one") == {"train": tmp_path / "one"}
    assert saved_splits(tmp_path) == {}


def refused(work):
    with pytest.raises(UserError) as caught:
        work()
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"text,label\n" * 100])
def test_what_is_no_parquet(tmp_path, content):
    path = tmp_path / "train.parquet"
    path.write_bytes(content)
    assert refused(lambda: read_parquet(path)).startswith(f"{path} cannot be read as Parquet")


def test_special_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.parquet")
    assert "is a named pipe" in refused(lambda: read_parquet(tmp_path / "pipe.parquet"))
    (tmp_path / "a.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n")
    assert "git-lfs pointer" in refused(lambda: read_parquet(tmp_path / "a.parquet"))
    assert "does not exist" in refused(lambda: read_parquet(tmp_path / "b.parquet"))


def test_damage_is_an_error_and_no_crash(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(200)]}), path, compression="none")
    whole = path.read_bytes()
    for start in range(0, len(whole), 37):
        path.write_bytes(whole[:start] + bytes(b ^ 0xFF for b in whole[start : start + 8]) + whole[start + 8 :])
        try:
            values = read_parquet(path).values(0)
        except UserError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            assert all(isinstance(value, str | None) for value in values)


def test_a_stream_that_is_cut_short(tmp_path):
    save_split(tmp_path, pa.table({"text": [f"text {i}" for i in range(30)]}), {})
    path = tmp_path / "data-00000-of-00001.arrow"
    whole = path.read_bytes()
    for length in range(0, len(whole), 24):
        path.write_bytes(whole[:length])
        message = refused(lambda: [columns.values(0) for columns in read_saved_split(tmp_path).values()])
        assert message.startswith(f"{path} ")


@pytest.mark.parametrize("name", ["../outside.arrow", "/etc/passwd", "a/b.arrow", "..", 3, None])
def test_files_outside_of_the_folder_are_not_read(tmp_path, name):
    save_split(tmp_path / "train", pa.table({"text": ["a"]}), {})
    (tmp_path / "train" / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    assert "is not in that folder" in refused(lambda: read_saved_split(tmp_path / "train"))
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": [name]}))
    assert "is not in that folder" in refused(lambda: saved_splits(tmp_path))


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    for folder in ("train", "other"):
        save_split(tmp_path / folder, pa.table({"text": [folder]}), {})
    path = tmp_path / "train" / "data-00000-of-00001.arrow"
    path.unlink()
    path.symlink_to(tmp_path / "other" / path.name)
    assert "is not in that folder" in refused(lambda: read_saved_split(tmp_path / "train"))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"_data_files": 3}', '{"_data_files": ["a"]}'])
def test_a_damaged_list_of_files(tmp_path, content):
    save_split(tmp_path, pa.table({"text": ["a"]}), {})
    (tmp_path / "state.json").write_text(content)
    assert str(tmp_path / "state.json") in refused(lambda: read_saved_split(tmp_path))


def test_rows_by_indices_are_rejected(tmp_path):
    save_split(tmp_path, pa.table({"text": ["a"]}), {})
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(state | {"_indices_data_files": [{"filename": "i.arrow"}]}))
    assert "flatten_indices" in refused(lambda: read_saved_split(tmp_path))


def test_a_column_beyond_memory_is_rejected(tmp_path, monkeypatch):
    pq.write_table(pa.table({"text": ["a" * 1000] * 5000}), tmp_path / "a.parquet")
    monkeypatch.setattr("jaxred.data.arrow.available_bytes", lambda: 4e6)
    assert "of the free memory" in refused(lambda: read_parquet(tmp_path / "a.parquet").values(0))


def test_texts_that_are_no_utf8(tmp_path):
    array = pa.array([b"ok", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": array}), tmp_path / "a.parquet")
    assert "cannot be read as Parquet" in refused(lambda: read_parquet(tmp_path / "a.parquet").values(0))
