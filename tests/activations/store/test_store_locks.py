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
    shard,
    write_store,
    writer,
)
from helpers.tiny_encoder import contents

from jaxred.activations.store import Store, reading, writing
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
