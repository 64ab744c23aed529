import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.dying_storage import not_gone_on_with, states
from helpers.small_store import (
    CLASSES,
    HIDDEN,
    IDENTITY,
    N_LAYERS,
    N_ROWS,
    N_WINDOWS,
    SENTENCES,
    VALUES,
    WINDOW,
    fill,
    ledger,
    shard,
    windows_finished_in,
    write_store,
    writer,
)
from helpers.tiny_encoder import contents, modified

from jaxred.activations import store
from jaxred.activations.store import Store, StoreWriter, read_ledger
from jaxred.errors import UserError


def test_the_stored_type_is_as_narrow_as_asked(tmp_path):
    sizes = {}
    for dtype in ("float32", "bfloat16", "float16"):
        write_store(tmp_path / dtype, VALUES.astype(jnp.dtype(dtype)), dtype=dtype)
        sizes[dtype] = (tmp_path / dtype / "hidden_states" / "c" / "0" / "0" / "0").stat().st_size
    assert sizes["bfloat16"] == sizes["float16"] == sizes["float32"] - 2 * WINDOW * HIDDEN


def test_a_store_of_words_is_not_gone_on_with_as_one_of_sentences(tmp_path):
    words = np.zeros(N_ROWS, np.int32)
    fill(StoreWriter(tmp_path, ledger(rows="word"), CLASSES, SENTENCES, word_index=words), until=1)
    with pytest.raises(UserError, match="rows was 'word' and is now 'sentence'"):
        writer(tmp_path)


def test_a_window_is_entered_only_when_it_is_written(tmp_path):
    half = writer(tmp_path)
    half.write(0, VALUES[:4])
    assert read_ledger(tmp_path).windows_finished == 0
    half.write(1, VALUES[4:8])
    assert read_ledger(tmp_path).windows_finished == 1
    half.flush()
    half.flush()
    assert read_ledger(tmp_path).windows_finished == 2


@pytest.mark.parametrize("n_windows", range(N_WINDOWS + 1))
def test_a_store_is_gone_on_with_from_any_window(tmp_path, finished, n_windows):
    fill(writer(tmp_path), until=n_windows)
    before = modified(tmp_path / "hidden_states" / "c") if n_windows else {}
    again = writer(tmp_path)
    assert again.ledger.windows_finished == n_windows
    fill(again)
    assert contents(tmp_path) == contents(finished)
    after = modified(tmp_path / "hidden_states" / "c")
    files = [name for name in before if name.count("/") == 2]
    assert len(files) == n_windows * N_LAYERS
    assert all(after[name] == before[name] for name in files)


@pytest.mark.parametrize(("window", "layer"), [(0, 0), (1, 2)])
@pytest.mark.parametrize("how", ["missing", "empty", "zeros", "short", "flipped"])
def test_what_a_power_cut_took_is_seen_before_a_store_is_gone_on_with(tmp_path, finished, window, layer, how):
    """The ledger may be on the disk before the window that it tells of."""
    fill(writer(tmp_path), until=2)
    file = shard(tmp_path, window, layer)
    whole = file.read_bytes()
    left = {
        "empty": b"",
        "zeros": bytes(len(whole)),
        "short": whole[:-50],
        "flipped": bytes([whole[0] ^ 1]) + whole[1:],
    }
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(left[how])
    before = contents(tmp_path)
    with pytest.raises(UserError, match=rf"cannot be resumed: its window {window} is (damaged|missing).*overwrite"):
        writer(tmp_path)
    assert contents(tmp_path) == before
    fill(writer(tmp_path, overwrite=True))
    assert contents(tmp_path) == contents(finished)


def test_a_run_that_dies_at_any_change_of_the_storage_is_gone_on_with(tmp_path, finished, monkeypatch):
    folder, expected = tmp_path / "train", contents(finished)
    left = states(monkeypatch, lambda: fill(writer(folder)), folder, tmp_path / "states")
    assert contents(left[-1]) == expected
    assert [windows_finished_in(state) for state in left].count(1) >= 2  # a shard and its entry are two changes
    assert not not_gone_on_with(left, lambda state: fill(writer(state)), expected)


def test_a_store_is_not_read_before_it_is_whole(tmp_path, monkeypatch):
    folder = tmp_path / "train"
    *unfinished, whole = states(monkeypatch, lambda: fill(writer(folder)), folder, tmp_path / "states")
    for state in unfinished:
        with pytest.raises(UserError, match=r"not finished|not an activation store"):
            Store(state)
    np.testing.assert_array_equal(Store(whole).matrix(), VALUES.reshape(N_ROWS, -1))


def test_a_replacement_that_dies_at_any_change_of_the_storage_is_gone_on_with(tmp_path, finished, monkeypatch):
    folder, expected = tmp_path / "train", contents(finished)
    write_store(folder, -VALUES, identity={**IDENTITY, "pooling": "mean"})
    old = Path(shutil.copytree(folder, tmp_path / "old"))
    left = states(monkeypatch, lambda: fill(writer(folder, overwrite=True)), folder, tmp_path / "states")
    for n, name in enumerate(contents(old)):  # it is deleted file by file, in any order
        left.append(tmp_path / f"rest_{n}")
        (left[-1] / name).parent.mkdir(parents=True)
        shutil.copy(old / name, left[-1] / name)
    assert not not_gone_on_with(left, lambda state: fill(writer(state, overwrite=True)), expected)


@pytest.mark.parametrize("until", [1, None])
def test_another_identity_is_refused_naming_every_field_or_replaced(tmp_path, until):
    fill(writer(tmp_path), until=until)
    before = contents(tmp_path)
    new = {"encoder": "ab12", "pooling": "mean", "max_length": 32, "compute_dtype": "bfloat16"}
    with pytest.raises(UserError, match="another configuration") as caught:
        writer(tmp_path, identity=new, n_rows=8, window_rows=2, labels=CLASSES[:8])
    for words in (
        "n_rows was 10 and is now 8", "window_rows was 4 and is now 2", "pooling was 'cls' and is now 'mean'",
        "max_length was 16 and is now 32", "compute_dtype was None and is now 'bfloat16'", "overwrite=True",
    ):  # fmt: skip
        assert words in str(caught.value)
    assert "encoder" not in str(caught.value)
    assert contents(tmp_path) == before

    fill(writer(tmp_path, True, identity=new, n_rows=8, window_rows=2, labels=CLASSES[:8]), -VALUES)
    opened = Store(tmp_path)
    assert opened.ledger.identity == new
    np.testing.assert_array_equal(opened.matrix(), -VALUES[:8].reshape(8, -1))
    assert len(list((tmp_path / "hidden_states" / "c").iterdir())) == 4


def test_a_field_that_is_gone_is_another_identity(tmp_path):
    writer(tmp_path)
    with pytest.raises(UserError, match="pooling was 'cls' and is now None"):
        writer(tmp_path, identity={"encoder": "ab12", "max_length": 16})


def test_overwrite_keeps_a_store_of_the_same_identity(tmp_path):
    fill(writer(tmp_path), until=2)
    assert writer(tmp_path, overwrite=True).ledger.windows_finished == 2


def test_a_folder_that_holds_something_else_is_untouched_whatever_is_told(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("three years")
    before = contents(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"is not an activation store, but holds thesis/chapter\.txt"):
            writer(tmp_path, overwrite=overwrite)
    with pytest.raises(UserError, match=r"not an activation store: it has no ledger\.json"):
        Store(tmp_path)
    assert contents(tmp_path) == before


def test_a_replaced_store_leaves_what_lies_beside_it(tmp_path, finished):
    folder = tmp_path / "train"
    write_store(folder, -VALUES, identity={**IDENTITY, "pooling": "mean"})
    (folder / "labels.txt").write_text("notes")
    (folder / "zarr").mkdir()
    (folder / "hidden_states_of_old").write_text("more notes")
    fill(writer(folder, overwrite=True))
    assert (folder / "labels.txt").read_text() == "notes"
    assert (folder / "hidden_states_of_old").read_text() == "more notes"
    assert set(contents(folder)) - set(contents(finished)) == {"labels.txt", "hidden_states_of_old"}
    np.testing.assert_array_equal(Store(folder).matrix(), VALUES.reshape(N_ROWS, -1))


def test_a_store_is_found_by_any_way_to_its_folder(tmp_path, finished, monkeypatch):
    (tmp_path / "here" / "deep").mkdir(parents=True)
    shutil.copytree(finished, tmp_path / "train")
    monkeypatch.chdir(tmp_path / "here" / "deep")
    for way in ("../../train", "../../here/../train", str(tmp_path / "here" / ".." / "train"), "./../../train/"):
        np.testing.assert_array_equal(Store(way).matrix(), VALUES.reshape(N_ROWS, -1))
    fill(writer("../made/../train2"))
    assert contents(tmp_path / "here" / "train2") == contents(finished)


def test_a_file_where_the_store_should_be(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(UserError, match="not an activation store"):
        Store(tmp_path / "file")
    with pytest.raises(UserError):
        writer(tmp_path / "file")
    with pytest.raises(UserError):
        writer(tmp_path / "file" / "train")
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_written(tmp_path, bad):
    values = VALUES.copy()
    values[6, 2, 3] = bad
    half = writer(tmp_path)
    half.write(0, values[:4])
    with pytest.raises(
        UserError, match=rf"gave {bad} for row 6, layer 2, neuron 3, which float32 activations cannot be\."
    ):
        half.write(1, values[4:8])
    half.flush()
    assert read_ledger(tmp_path).windows_finished == 1


def test_overflow_of_float16_names_the_value_and_the_way_out(tmp_path):
    values = VALUES.copy()
    values[9, 1, 4] = 70000
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float16)
    with pytest.raises(
        UserError,
        match=r"gave inf for row 9, layer 1, neuron 4, which float16 .*float32 or bfloat16 .*extraction\.dtype",
    ):
        fill(writer(tmp_path, dtype="float16"), narrow)
    assert (
        read_ledger(tmp_path).windows_finished == 1
    )  # the one being written when the bad one came is entered next time


FULL_DISKS = {  # the windows written before (-1: not even the store is made), the largest file from then on
    "the ledger": (-1, 0),
    "labels": (-1, 440),  # the ledger is smaller, the arrays' metadata are larger
    "window 0": (0, 0),
    "window 2": (2, 100),
    "ledger of window 1": (1, 310),  # the shard is smaller, the ledger is larger
}

FILL_DISKS = """
import json, resource, signal, sys
from helpers import small_store
from jaxred.errors import UserError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
errors = {}
for name, (n_before, n_bytes) in json.loads(sys.argv[2]).items():
    try:
        if n_before < 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, unlimited[1]))
        half = small_store.writer(f"{sys.argv[1]}/{name}")
        small_store.fill(half, until=max(n_before, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, unlimited[1]))
        small_store.fill(half)
    except UserError as error:
        errors[name] = str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def full_disks(tmp_path_factory):
    """Stores whose disk was full, and what the user was told."""
    folder = tmp_path_factory.mktemp("full")
    paths = [str(Path(__file__).parents[2]), str(Path(store.__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", FILL_DISKS, str(folder), json.dumps(FULL_DISKS)],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize("name", FULL_DISKS)
def test_a_full_disk_is_told_and_finished_windows_are_kept(finished, full_disks, name):
    ledger_size, shard_size = (finished / "ledger.json").stat().st_size, shard(finished, 0).stat().st_size
    assert shard_size < 310 < ledger_size < 440 < (finished / "labels" / "zarr.json").stat().st_size
    folder, errors = full_disks[0] / name, full_disks[1]
    what = {"ledger of window 1": "the ledger"}.get(name, name)
    assert errors[name].startswith(f"Cannot write {what} of the activation store {folder} (")
    assert "Make room or choose another `workdir` (`output` of jaxred convert), and run again: fin" in errors[name]
    assert "finished windows are kept." in errors[name]
    assert windows_finished_in(folder) == {"labels": 0}.get(name, FULL_DISKS[name][0])
    again = writer(folder)
    assert again.ledger.windows_finished == max(FULL_DISKS[name][0], 0)
    fill(again)
    assert contents(folder) == contents(finished)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Cannot write the ledger"):
        writer(tmp_path)
    fill_me = tmp_path.parent / f"{tmp_path.name}_2"
    half = writer(fill_me)
    folders = [fill_me, *(p for p in fill_me.rglob("*") if p.is_dir())]
    try:
        for folder in folders:
            folder.chmod(0o500)
        with pytest.raises(UserError, match="Cannot write window 0"):
            fill(half)
    finally:
        for folder in folders:
            folder.chmod(0o700)
