import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.small_store import HIDDEN, N_LAYERS, N_ROWS, VALUES, WINDOW, everything, fill, write_store, writer
from helpers.tiny_encoder import contents

from jaxred.activations.store import StoreWriter
from jaxred.activations.store.disk_space import require_room, size
from jaxred.errors import UserError

ROW_BYTES = 4 * N_LAYERS * HIDDEN


@pytest.fixture
def free(monkeypatch):
    """Sets how much of the disk is free."""

    def be(n_bytes):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=n_bytes if path.exists() else None))

    return be


def test_a_store_that_does_not_fit_is_refused_and_nothing_is_left(tmp_path, free):
    free(N_ROWS * ROW_BYTES - 1)
    with pytest.raises(UserError) as caught:
        writer(tmp_path / "new" / "store")
    message = str(caught.value)
    assert message.startswith(
        f"The activations of {N_ROWS} rows x {N_LAYERS} layers x {HIDDEN} neurons still take 0.0 GB"
    )
    assert "bfloat16" in message
    assert contents(tmp_path) == {}
    free(N_ROWS * ROW_BYTES)
    write_store(tmp_path / "new" / "store")


def test_a_narrow_store_needs_less_and_is_not_told_to_be_narrower(tmp_path, free):
    free(N_ROWS * ROW_BYTES // 2)
    writer(tmp_path / "half", dtype="bfloat16")
    free(N_ROWS * ROW_BYTES // 2 - 1)
    with pytest.raises(UserError, match=r"make room, take fewer rows") as caught:
        writer(tmp_path / "again", dtype="bfloat16")
    assert "float16" not in str(caught.value)


def test_an_unfinished_store_needs_room_for_what_is_missing_only(tmp_path, free):
    fill(writer(tmp_path), until=1)
    before = contents(tmp_path)
    free((N_ROWS - WINDOW) * ROW_BYTES - 1)
    with pytest.raises(UserError, match="make room"):
        writer(tmp_path)
    assert contents(tmp_path) == before
    free((N_ROWS - WINDOW) * ROW_BYTES)
    fill(writer(tmp_path))
    free(0)
    writer(tmp_path)  # finished: nothing is written
    np.testing.assert_array_equal(everything(tmp_path)[0], VALUES.reshape(N_ROWS, -1))


def test_what_is_overwritten_counts_as_room_and_stays_where_that_is_too_little(tmp_path, free):
    write_store(tmp_path, identity={"encoder": "old"})
    (tmp_path / "notes.txt").write_text("mine" * 1000)
    before = contents(tmp_path)
    old = size(tmp_path, ("ledger", "zarr", "hidden_states", "labels", "sentence_index"))
    assert N_ROWS * ROW_BYTES < old < sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) - 3999
    free(0)
    with pytest.raises(UserError, match="make room"):
        writer(tmp_path, overwrite=True, window_rows=1, hidden_size=10 * HIDDEN)
    assert contents(tmp_path) == before
    require_room(str(tmp_path), writer(tmp_path / "elsewhere", n_rows=0, labels=np.zeros(0, np.int32)).ledger)


@pytest.mark.parametrize("location", ["memory://here/", "s3://bucket/store"])
def test_a_store_elsewhere_is_not_asked(free, location):
    free(0)
    require_room(location, writer("memory://any/").ledger)


def test_a_file_url_is_a_place_on_the_disk(tmp_path, free):
    free(10)
    with pytest.raises(UserError, match=re.escape(f"the disk of file://{tmp_path} has 0.0 GB free")):
        StoreWriter(f"file://{tmp_path}", writer("memory://any/").ledger, np.zeros(N_ROWS, np.int32), np.zeros(N_ROWS))


def test_a_disk_that_does_not_say_what_is_free_is_tried(tmp_path, monkeypatch):
    def refuses(path):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(shutil, "disk_usage", refuses)
    write_store(tmp_path)
