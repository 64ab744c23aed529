"""Rows of a window that is not whole are kept every few seconds and used again by the next run."""

import numpy as np
import pytest
from helpers.small_store import (
    IDENTITY,
    VALUES,
    fill,
    ledger,
    windows_finished_in,
    writer,
)
from helpers.tiny_encoder import contents

from jaxred.activations.store import read_ledger, unfinished_rows
from jaxred.activations.store.kvstore import open_kvstore
from jaxred.activations.store.unfinished_rows import UnfinishedRows

MEAN = {**IDENTITY, "pooling": "mean"}


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(unfinished_rows, "SECONDS", 0.0)
    monkeypatch.setattr(unfinished_rows, "COST", 0)


def restored(folder, index, **changes):
    again = writer(folder, **changes)
    block = np.zeros_like(VALUES[again.ledger.window(index)])
    return again.restore(index, block), block, again


def keep(open_writer, index, rows):
    open_writer.keep(index, VALUES[open_writer.ledger.window(index)], np.array(rows))
    open_writer._unfinished._wait()  # as a killed process may not have


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
    monkeypatch.setattr(unfinished_rows.time, "monotonic", lambda: now[0])
    half = writer(tmp_path)
    kept = lambda: len(list((tmp_path / "unfinished").glob("0-*")))  # noqa: E731
    keep(half, 0, [0])
    assert not (tmp_path / "unfinished").exists()
    now[0] += unfinished_rows.SECONDS
    keep(half, 0, [1])
    assert kept() == 1
    half._unfinished._cost = 1.0  # as of a slow disk
    now[0] += 50 * unfinished_rows.SECONDS - 1
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
    place = open_kvstore(str(tmp_path)), str(tmp_path)
    assert not UnfinishedRows(*place, again.ledger).restore(0, VALUES[:4].copy()).any()
    assert UnfinishedRows(*place, ledger()).restore(0, VALUES[:4].copy()).any()
    fill(writer(tmp_path, identity=MEAN), -VALUES)
    assert read_ledger(tmp_path).finished
    assert not (tmp_path / "unfinished").exists()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_pieces_are_of_the_stored_type(tmp_path, at_once, dtype):
    import jax.numpy as jnp

    half = writer(tmp_path, dtype=dtype)
    values = VALUES[:4].astype(jnp.dtype(dtype))
    half.keep(0, values, np.array([1, 2]))
    half._unfinished._wait()
    block = np.zeros_like(values)
    assert writer(tmp_path, dtype=dtype).restore(0, block).tolist() == [False, True, True, False]
    np.testing.assert_array_equal(block[1:3].view(np.uint8), values[1:3].view(np.uint8))
