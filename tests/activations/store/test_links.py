"""Links in a store that lead out of it are neither read nor written over."""

import shutil

import numpy as np
import pytest

from jaxred.activations.store import Store, StoreWriter
from jaxred.activations.store.ledger import Ledger
from jaxred.errors import UserError


def write(folder, overwrite=False, rows=4):
    ledger = Ledger({"source": "x"}, rows, 2, 3, "float32", 2, ["A"])
    zeros = np.zeros(rows, np.int32)
    writer = StoreWriter(folder, ledger, zeros, np.arange(rows, dtype=np.int32), overwrite)
    for window in range(writer.ledger.windows_finished, ledger.n_windows):
        writer.write(window, np.ones((2, 2, 3), np.float32))
    writer.flush()
    return folder


@pytest.mark.parametrize("part", ["ledger.json", "hidden_states/c/0/0/0", "hidden_states", "labels/zarr.json"])
def test_a_link_out_of_a_store(tmp_path, part):
    write(tmp_path / "store")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "store" / part, tmp_path / "elsewhere" / "it")
    (tmp_path / "store" / part).symlink_to(tmp_path / "elsewhere" / "it")
    before = {path for path in (tmp_path / "elsewhere").rglob("*")}
    for use in (lambda: Store(tmp_path / "store"), lambda: write(tmp_path / "store", overwrite=True, rows=6)):
        with pytest.raises(UserError, match=rf"holds the link {part}, which leads out of it, to .*/elsewhere/it"):
            use()
    assert {path for path in (tmp_path / "elsewhere").rglob("*")} == before


def test_a_store_that_is_itself_a_link(tmp_path):
    write(tmp_path / "disk")
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    assert Store(tmp_path / "store").n_rows == 4


def test_a_link_inside_a_store(tmp_path):
    shard = write(tmp_path / "store") / "hidden_states/c/1/0/0"
    shutil.copy(shard, shard.with_name("copy"))
    shard.unlink()
    shard.symlink_to("copy")
    assert Store(tmp_path / "store").layer(0).shape == (4, 3)
