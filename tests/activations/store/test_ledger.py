import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorstore as ts
from helpers.small_store import (
    HIDDEN,
    IDENTITY,
    N_LAYERS,
    N_ROWS,
    N_WINDOWS,
    VALUES,
    WINDOW,
    fill,
    ledger,
    shard,
    write_store,
    writer,
)

from jaxred.activations.store import Store, read_ledger
from jaxred.activations.store.ledger import checksum
from jaxred.errors import UserError


def edit_ledger(folder, **fields):
    """Changes fields, or removes those that are None."""
    content = json.loads((folder / "ledger.json").read_text()) | fields
    content = {name: value for name, value in content.items() if value is not None and name != "checksum"}
    (folder / "ledger.json").write_text(json.dumps({**content, "checksum": checksum(content)}))


def test_the_ledger_keeps_what_it_was_given_and_sums_the_notes(tmp_path):
    opened = write_store(tmp_path)
    assert opened.ledger == ledger(windows_finished=N_WINDOWS, notes={"tokens": 100 + 101 + 102})
    assert opened.ledger == read_ledger(tmp_path)


def test_a_ledger_from_before_there_were_words_is_read(copy):
    edit_ledger(copy, rows=None)
    np.testing.assert_array_equal(Store(copy).matrix(), VALUES.reshape(N_ROWS, -1))


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", '["checksum"]', "1", "null", '"checksum"', '{"checksum": 1}', "\xff"]
)
def test_a_ledger_that_is_none(copy, text):
    (copy / "ledger.json").write_bytes(text.encode("latin-1"))
    for attempt in (lambda: Store(copy), lambda: writer(copy), lambda: read_ledger(copy)):
        with pytest.raises(UserError, match="Delete this folder and run again"):
            attempt()
    fill(writer(copy, overwrite=True))
    np.testing.assert_array_equal(Store(copy).matrix(), VALUES.reshape(N_ROWS, -1))


def test_a_ledger_someone_edited_is_refused(copy):
    content = json.loads((copy / "ledger.json").read_text())
    (copy / "ledger.json").write_text(json.dumps({**content, "identity": {**IDENTITY, "pooling": "mean"}}))
    with pytest.raises(UserError, match=r"ledger\.json is damaged: its checksum does not fit"):
        Store(copy)


def test_a_store_of_another_format_is_refused(copy):
    edit_ledger(copy, format=3)
    with pytest.raises(UserError, match="written in store format 3; this jaxred reads formats up to 2"):
        Store(copy)
    with pytest.raises(UserError, match="store format 3"):
        writer(copy)


def write_in_format_1(folder, windows_finished):
    """As it was before each layer of a window had a file."""
    fill(writer(folder), until=windows_finished)
    shutil.rmtree(folder / "hidden_states")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/hidden_states/"}}
    grid = {"name": "regular", "configuration": {"chunk_shape": [WINDOW, N_LAYERS, HIDDEN]}}
    inner = {"chunk_shape": [WINDOW, 1, HIDDEN], "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]}
    codecs = [{"name": "sharding_indexed", "configuration": {**inner, "index_codecs": inner["codecs"]}}]
    metadata = {"shape": VALUES.shape, "data_type": "float32", "chunk_grid": grid, "codecs": codecs}
    array = ts.open({**spec, "metadata": {**metadata, "fill_value": "NaN"}}, create=True).result()
    rows = min(WINDOW * windows_finished, N_ROWS)
    array[:rows].write(VALUES[:rows]).result()
    edit_ledger(folder, format=1)


def test_a_store_of_format_1_is_read(tmp_path):
    write_in_format_1(tmp_path, N_WINDOWS)
    np.testing.assert_array_equal(Store(tmp_path).matrix(), VALUES.reshape(N_ROWS, -1))
    shard(tmp_path, 2).unlink()
    with pytest.raises(UserError, match="its file hidden_states/c/2/0/0 is missing"):
        Store(tmp_path)


def test_an_unfinished_store_of_format_1_is_not_gone_on_with(tmp_path):
    write_in_format_1(tmp_path, 1)
    with pytest.raises(UserError, match=r"format was 1 and is now 2.*or pass overwrite=True to replace them"):
        writer(tmp_path)
    fill(writer(tmp_path, overwrite=True))
    np.testing.assert_array_equal(Store(tmp_path).matrix(), VALUES.reshape(N_ROWS, -1))


def test_windows_of_a_ledger():
    assert [ledger().window(i) for i in range(ledger().n_windows)] == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert replace(ledger(), n_rows=8).n_windows == 2
    assert replace(ledger(), n_rows=9).n_windows == 3
