import re

import numpy as np
import pytest
from helpers.small_store import (
    CLASSES,
    N_LAYERS,
    N_WINDOWS,
    SENTENCES,
    VALUES,
    everything,
    ledger,
    shard,
)
from helpers.tiny_encoder import contents

from jaxred.activations.store import Store, StoreWriter, damaged_files, lost_files, read_ledger, remove_files
from jaxred.activations.store.damage import unreadable_windows, windows_of
from jaxred.activations.store.kvstore import open_kvstore
from jaxred.errors import UserError

FILES = [
    *(f"hidden_states/c/{window}/{layer}/0" for window in range(N_WINDOWS) for layer in (0, N_LAYERS - 1)),
    *("labels/c/0", "sentence_index/c/0", "hidden_states/zarr.json", "labels/zarr.json", "sentence_index/zarr.json"),
]
SIZED = [file for file in FILES if file.endswith("/0")]


def mend(folder):
    """Writes again what is lost; the windows that were."""
    writer = StoreWriter(folder, ledger(), CLASSES, SENTENCES, any_order=True)
    for window in writer.windows:
        writer.write(window, VALUES[writer.ledger.window(window)], {"tokens": 100 + window})
    writer.finish()
    return writer.windows


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 4
    path.write_bytes(raw)


def test_nothing_is_wrong_with_a_whole_store(finished):
    assert lost_files(str(finished), read_ledger(finished)) == {}
    assert damaged_files(str(finished), read_ledger(finished)) == {}
    Store(finished).verify()


@pytest.mark.parametrize("file", FILES)
def test_a_lost_file_is_named_and_mended_alone(copy, finished, file):
    (copy / file).unlink()
    assert lost_files(str(copy), read_ledger(copy)) == {file: "is missing"}
    with pytest.raises(UserError, match=re.escape(f"its file {file} is missing")):
        Store(copy)
    assert mend(copy) == windows_of([file])
    assert contents(copy) == contents(finished)
    np.testing.assert_array_equal(everything(copy)[0], everything(finished)[0])


@pytest.mark.parametrize("file", SIZED)
@pytest.mark.parametrize("change", [lambda raw: raw[:-1], lambda raw: raw + b"0", lambda raw: b""])
def test_a_file_of_another_size_is_named_and_mended(copy, finished, file, change):
    (copy / file).write_bytes(change((finished / file).read_bytes()))
    assert list(lost_files(str(copy), read_ledger(copy))) == [file]
    mend(copy)
    assert contents(copy) == contents(finished)


@pytest.mark.parametrize("file", SIZED)
def test_a_flipped_bit_is_found_by_reading_and_mended_once_its_file_is_removed(copy, finished, file):
    flip(copy / file)
    present = read_ledger(copy)
    assert lost_files(str(copy), present) == {}
    found = damaged_files(str(copy), present)
    assert set(found) == ({*present.shards_of(windows_of([file])[0])} if file.startswith("hidden") else {file})
    remove_files(str(copy), found)
    mend(copy)
    assert contents(copy) == contents(finished)


def test_several_windows_are_mended_in_their_order(copy, finished):
    for window in (2, 0):
        shard(copy, window, 1).unlink()
    assert mend(copy) == [0, 2]
    assert contents(copy) == contents(finished)


def test_a_mending_that_stops_is_gone_on_with(copy, finished):
    for window in (0, 2):
        shard(copy, window, 1).unlink()
    writer = StoreWriter(copy, ledger(), CLASSES, SENTENCES, any_order=True)
    writer.write(0, VALUES[:4])
    writer.flush()
    with pytest.raises(UserError, match="c/2/0/0 is missing"):
        Store(copy)
    assert mend(copy) == [2]
    assert contents(copy) == contents(finished)


def test_a_damaged_window_of_an_unfinished_store_is_written_again(tmp_path, finished):
    writer = StoreWriter(tmp_path / "half", ledger(), CLASSES, SENTENCES, any_order=True)
    for window in (0, 1):
        writer.write(window, VALUES[writer.ledger.window(window)], {"tokens": 100 + window})
    writer.flush()
    flip(shard(tmp_path / "half", 0, 2))
    shard(tmp_path / "half", 1, 0).unlink()
    with pytest.raises(UserError, match=r"cannot be resumed: its window 0 is damaged"):
        StoreWriter(tmp_path / "half", ledger(), CLASSES, SENTENCES)
    present = read_ledger(tmp_path / "half")
    assert sorted(unreadable_windows(open_kvstore(str(tmp_path / "half")), present, [0, 1])) == [0, 1]
    assert mend(tmp_path / "half") == [0, 1, 2]
    assert contents(tmp_path / "half") == contents(finished)  # notes, which are counted once, too


def test_a_store_of_no_rows_lacks_nothing(tmp_path):
    assert lost_files(str(tmp_path), ledger(n_rows=0)) == {}


@pytest.mark.parametrize("name", ["hidden_states", "labels", "sentence_index"])
@pytest.mark.parametrize("left", [lambda raw: b"{", lambda raw: raw.replace(b"10", b"12", 1)])
def test_damaged_metadata_are_named_and_mended(copy, finished, name, left):
    path = copy / name / "zarr.json"
    path.write_bytes(left(path.read_bytes()))
    found = damaged_files(str(copy), read_ledger(copy))
    assert list(found) == [f"{name}/zarr.json"]
    remove_files(str(copy), found)
    mend(copy)
    assert contents(copy) == contents(finished)
