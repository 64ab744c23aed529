"""Two writers of one store, and writers that are killed within a window: nothing of both is taken for whole."""

import shutil
import time

import numpy as np
import pytest
from helpers.small_store import (
    IDENTITY,
    N_WINDOWS,
    VALUES,
    fill,
    ledger,
    shard,
    windows_finished_in,
    write_store,
    writer,
)
from helpers.tiny_encoder import contents

from jaxred.activations.store import Store, pieces, read_ledger, reading, writing
from jaxred.activations.store.pieces import Pieces
from jaxred.errors import UserError
from jaxred.io.locks import LOCK_FILE, lock

MEAN = {**IDENTITY, "pooling": "mean"}


@pytest.mark.parametrize("until", range(N_WINDOWS))
def test_a_writer_stops_where_another_took_its_store_over(tmp_path, until):
    """As if there were no locks: nothing is taken here."""
    slow = writer(tmp_path)
    fill(slow, until=until)
    fast = writer(tmp_path, overwrite=True, identity=MEAN)
    fill(fast, -VALUES, until=1)
    with pytest.raises(UserError, match="Another process has taken over the activation store"):
        fill(slow)
    fill(fast, -VALUES)
    np.testing.assert_array_equal(Store(tmp_path).matrix(), -VALUES.reshape(len(VALUES), -1))
    assert Store(tmp_path).ledger.identity == MEAN


def test_of_two_writers_of_the_same_store_one_stops(tmp_path, finished):
    first, second = writer(tmp_path), writer(tmp_path)
    second.write(0, VALUES[:4], {"tokens": 100})
    second._pending[1].result()  # else it might land last, which is refused
    first.write(0, VALUES[:4], {"tokens": 100})
    time.sleep(0.05)  # file systems tell the times of two ledgers apart by some milliseconds
    first.flush()
    with pytest.raises(UserError, match="taken over"):
        second.flush()
    fill(first)
    assert contents(tmp_path) == contents(finished)


@pytest.mark.parametrize("window", range(N_WINDOWS - 1))
def test_a_window_that_another_wrote_last_is_seen_before_the_store_is_whole(tmp_path, window):
    """A slow writer's shard may come after that of the one that took its store over."""
    other = tmp_path / "other"
    write_store(other)
    mine = writer(tmp_path / "mine", identity=MEAN)
    fill(mine, -VALUES, until=N_WINDOWS - 1)
    late = shard(tmp_path / "mine", window, 1)
    late.unlink()
    shutil.copy(shard(other, window, 1), late)
    with pytest.raises(
        UserError, match=rf"Another process has written hidden_states/c/{window}/1/0 of .*overwrite=True"
    ):
        fill(mine, -VALUES)
    with pytest.raises(UserError, match="no ledger"):
        Store(tmp_path / "mine")
    fill(writer(tmp_path / "mine", overwrite=True, identity=MEAN), -VALUES)
    np.testing.assert_array_equal(Store(tmp_path / "mine").matrix(), -VALUES.reshape(len(VALUES), -1))


def test_a_store_at_a_url_is_guarded_too(tmp_path):
    place = f"file://{tmp_path}/train"
    slow = writer(place)
    fill(slow, until=1)
    with writing(place):
        assert (tmp_path / "train" / LOCK_FILE).exists()
        fast = writer(place, overwrite=True, identity=MEAN)
    with pytest.raises(UserError, match="taken over"):
        fill(slow)
    assert fast.ledger.identity == MEAN


def test_the_lock_is_no_part_of_a_store_and_what_tensorstore_left_of_a_killed_process_is_removed(tmp_path, finished):
    (tmp_path / "train" / "hidden_states").mkdir(parents=True)
    for name in ("ledger.json.__lock", "hidden_states/zarr.json.__lock"):
        (tmp_path / "train" / name).touch()
    with writing(tmp_path / "train"):
        assert (tmp_path / "train" / LOCK_FILE).exists()
        fill(writer(tmp_path / "train"))
    assert contents(tmp_path / "train") == contents(finished)
    assert not list((tmp_path / "train").rglob("*.__lock"))


def test_a_store_that_was_replaced_after_it_was_opened_is_not_read(tmp_path):
    opened = write_store(tmp_path)
    with reading([opened]), lock(tmp_path, shared=True):
        pass
    fill(writer(tmp_path, overwrite=True, identity=MEAN), -VALUES)
    with pytest.raises(UserError, match="replaced by another process"), reading([opened]):
        pass


# Pieces of windows ----------------------------------------------------------------------------------------------------


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(pieces, "SECONDS", 0.0)
    monkeypatch.setattr(pieces, "COST", 0)


def restored(folder, index, **changes):
    again = writer(folder, **changes)
    block = np.zeros_like(VALUES[again.ledger.window(index)])
    return again.restore(index, block), block, again


def keep(open_writer, index, rows):
    open_writer.keep(index, VALUES[open_writer.ledger.window(index)], np.array(rows))
    open_writer._pieces._wait()  # as a killed process may not have


def test_rows_of_a_window_that_is_not_whole_are_kept_and_gone_with_it(tmp_path, finished, at_once):
    half = writer(tmp_path)
    fill(half, until=1)
    keep(half, 1, [3, 1])
    keep(half, 1, [0])
    done, block, again = restored(tmp_path, 1)
    assert done.tolist() == [True, True, False, True]
    np.testing.assert_array_equal(block[done], VALUES[4:8][done])
    assert windows_finished_in(tmp_path) == 1
    fill(again)
    assert contents(tmp_path) == contents(finished)
    assert not (tmp_path / "unfinished").exists()


def test_rows_are_kept_every_few_seconds_and_cost_a_hundredth_of_the_time(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pieces.time, "monotonic", lambda: now[0])
    half = writer(tmp_path)
    kept = lambda: len(list((tmp_path / "unfinished").glob("0-*")))  # noqa: E731
    keep(half, 0, [0])
    assert not (tmp_path / "unfinished").exists()
    now[0] += pieces.SECONDS
    keep(half, 0, [1])
    assert kept() == 1
    half._pieces._cost = 1.0  # as of a slow disk
    now[0] += 50 * pieces.SECONDS - 1
    keep(half, 0, [2])
    assert kept() == 1
    now[0] += 1
    keep(half, 0, [3])
    assert kept() == 2
    assert restored(tmp_path, 0)[0].all()


@pytest.mark.parametrize("how", ["short", "flipped", "empty", "head"])
def test_a_damaged_piece_is_not_used(tmp_path, at_once, how):
    half = writer(tmp_path)
    keep(half, 0, [0, 2])
    file = tmp_path / "unfinished" / "0-0"
    whole = file.read_bytes()
    left = {"short": whole[:-4], "flipped": whole[:-1] + bytes([whole[-1] ^ 1]), "empty": b""}
    file.write_bytes(left.get(how, whole.replace(b'"rows": [0, 2]', b'"rows": [0, 3]')))
    assert file.read_bytes() != whole
    assert not restored(tmp_path, 0)[0].any()


def test_a_piece_of_another_store_is_not_used(tmp_path, at_once):
    half = writer(tmp_path)
    keep(half, 0, [0])
    kept = (tmp_path / "unfinished" / "0-0").read_bytes()
    again = writer(tmp_path, overwrite=True, identity=MEAN)
    assert not (tmp_path / "unfinished" / "0-0").exists()
    (tmp_path / "unfinished").mkdir(exist_ok=True)
    (tmp_path / "unfinished" / "0-0").write_bytes(kept)
    assert not Pieces(again._kvstore, str(tmp_path), again.ledger).restore(0, VALUES[:4].copy()).any()
    assert Pieces(again._kvstore, str(tmp_path), ledger()).restore(0, VALUES[:4].copy()).any()
    fill(writer(tmp_path, identity=MEAN), -VALUES)
    assert read_ledger(tmp_path).finished
    assert not (tmp_path / "unfinished").exists()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_pieces_are_of_the_stored_type(tmp_path, at_once, dtype):
    import jax.numpy as jnp

    half = writer(tmp_path, dtype=dtype)
    values = VALUES[:4].astype(jnp.dtype(dtype))
    half.keep(0, values, np.array([1, 2]))
    half._pieces._wait()
    block = np.zeros_like(values)
    assert writer(tmp_path, dtype=dtype).restore(0, block).tolist() == [False, True, True, False]
    np.testing.assert_array_equal(block[1:3].view(np.uint8), values[1:3].view(np.uint8))
