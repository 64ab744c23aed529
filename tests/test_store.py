import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore as ts
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_encoder import contents, modified

from jaxred import store
from jaxred.errors import UserError
from jaxred.store import Ledger, Store, StoreWriter, blocks, read_ledger
from jaxred.store.ledger import checksum

N_ROWS, N_LAYERS, HIDDEN, WINDOW = 10, 3, 5, 4
N_WINDOWS = 3
VALUES = np.random.default_rng(0).normal(size=(N_ROWS, N_LAYERS, HIDDEN)).astype(np.float32)
CLASSES = np.array([2, 0, 1, 1, 0, 2, 2, 1, 0, 1], np.int32)
SENTENCES = np.arange(N_ROWS, dtype=np.int32)[::-1].copy()
IDENTITY = {"encoder": "ab12", "pooling": "cls", "max_length": 16}


def ledger(**changes):
    fields = {"identity": IDENTITY, "n_rows": N_ROWS, "n_layers": N_LAYERS, "hidden_size": HIDDEN, "dtype": "float32"}
    fields |= {"window_rows": WINDOW, "label_names": ["bad", "fair", "good"], "encoder_parameters": [7, 8, 9]}
    return Ledger(**{**fields, **changes})


def writer(folder, overwrite=False, labels=CLASSES, **changes):
    return StoreWriter(folder, ledger(**changes), labels, SENTENCES[: changes.get("n_rows", N_ROWS)], overwrite)


def fill(open_writer, values=VALUES, until=None):
    """Writes the windows that are not written yet."""
    windows = range(open_writer.ledger.windows_finished, open_writer.ledger.n_windows)[:until]
    for index in windows:
        open_writer.write(index, values[open_writer.ledger.window(index)], {"tokens": 100 + index})
    open_writer.flush()


def write_store(folder, values=VALUES, **changes):
    fill(writer(folder, **changes), values)
    return Store(folder)


def everything(folder):
    opened = Store(folder)
    return opened.matrix(), opened.labels(), opened.sentence_index()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished store; tests that damage it put every byte back."""
    folder = tmp_path_factory.mktemp("store") / "train"
    write_store(folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """A finished store that a test may ruin."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


# What is written is read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("window_rows", [1, WINDOW, N_ROWS, 4096])
def test_numbers_come_back_as_they_were_stored(tmp_path, dtype, window_rows):
    stored = VALUES.astype(jnp.dtype(dtype))
    opened = write_store(tmp_path, stored, dtype=dtype, window_rows=window_rows)
    expected = stored.astype(np.float32)
    assert (opened.n_rows, opened.n_layers, opened.hidden_size) == VALUES.shape
    assert opened.ledger.dtype == dtype
    matrix = opened.matrix()
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, expected.reshape(N_ROWS, -1))
    for layer in range(N_LAYERS):
        np.testing.assert_array_equal(opened.layer(layer), expected[:, layer])
    windows = list(opened.windows())
    assert [rows for rows, _ in windows] == [slice(0, N_ROWS)]  # all of them are fewer than a chunk holds
    np.testing.assert_array_equal(np.concatenate([block for _, block in windows]), expected)


def test_the_stored_type_is_as_narrow_as_asked(tmp_path):
    sizes = {}
    for dtype in ("float32", "bfloat16", "float16"):
        write_store(tmp_path / dtype, VALUES.astype(jnp.dtype(dtype)), dtype=dtype)
        sizes[dtype] = (tmp_path / dtype / "hidden_states" / "c" / "0" / "0" / "0").stat().st_size
    assert sizes["bfloat16"] == sizes["float16"] == sizes["float32"] - 2 * WINDOW * N_LAYERS * HIDDEN


@given(st.permutations(range(N_ROWS)), st.integers(0, N_ROWS))
@settings(max_examples=25, deadline=None)
def test_matrix_gives_any_rows_in_the_order_wanted(finished, order, n):
    rows = np.array(order[:n], np.int64)
    np.testing.assert_array_equal(Store(finished).matrix(rows), VALUES.reshape(N_ROWS, -1)[rows])


def test_labels_are_class_names_or_scores(tmp_path):
    opened = write_store(tmp_path / "classes")
    assert opened.labels().tolist() == [["bad", "fair", "good"][i] for i in CLASSES]
    np.testing.assert_array_equal(opened.sentence_index(), SENTENCES)
    scores = np.linspace(-4, 4, N_ROWS) + 1e-12  # lost in float32
    opened = write_store(tmp_path / "scores", labels=scores, label_names=[])
    assert opened.labels().dtype == np.float64
    np.testing.assert_array_equal(opened.labels(), scores)


def test_the_ledger_keeps_what_it_was_given_and_sums_the_notes(tmp_path):
    opened = write_store(tmp_path)
    assert opened.ledger == ledger(windows_finished=N_WINDOWS, notes={"tokens": 100 + 101 + 102})
    assert opened.ledger == read_ledger(tmp_path)


def test_words_have_a_position_in_their_sentence(tmp_path):
    words = np.arange(N_ROWS, dtype=np.int32) % 3
    fill(StoreWriter(tmp_path, ledger(rows="word"), CLASSES, SENTENCES, word_index=words))
    opened = Store(tmp_path)
    assert opened.has_words
    np.testing.assert_array_equal(opened.word_index(), words)
    shutil.rmtree(tmp_path / "word_index" / "c")
    with pytest.raises(UserError, match="its shard word_index/c/0 is missing"):
        Store(tmp_path)


def test_sentences_have_no_word_index(finished):
    assert not Store(finished).has_words
    with pytest.raises(UserError, match="has no word_index: its rows are sentences"):
        Store(finished).word_index()


def test_a_store_of_words_is_not_gone_on_with_as_one_of_sentences(tmp_path):
    words = np.zeros(N_ROWS, np.int32)
    fill(StoreWriter(tmp_path, ledger(rows="word"), CLASSES, SENTENCES, word_index=words), until=1)
    with pytest.raises(UserError, match="rows was 'word' and is now 'sentence'"):
        writer(tmp_path)


def test_a_ledger_from_before_there_were_words_is_read(copy):
    content = json.loads((copy / "ledger.json").read_text())
    del content["rows"], content["checksum"]
    content["checksum"] = checksum(content)
    (copy / "ledger.json").write_text(json.dumps(content))
    np.testing.assert_array_equal(Store(copy).matrix(), VALUES.reshape(N_ROWS, -1))


@pytest.mark.parametrize("layer", [-1, N_LAYERS])
def test_a_layer_that_does_not_exist_is_refused(finished, layer):
    with pytest.raises(UserError, match=rf"Layer {layer} does not exist: .* has layers 0 to {N_LAYERS - 1}\."):
        Store(finished).layer(layer)


def test_a_store_can_lie_in_any_kvstore(tmp_path):
    url = tmp_path.as_uri() + "/here"
    np.testing.assert_array_equal(write_store(url).matrix(), VALUES.reshape(N_ROWS, -1))
    assert contents(tmp_path / "here")
    assert Store(tmp_path / "here").ledger == Store(url + "/").ledger


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_zarr_python_reads_the_same(tmp_path, dtype):
    zarr = pytest.importorskip("zarr")
    stored = VALUES.astype(dtype)
    write_store(tmp_path, stored, dtype=dtype)
    group = zarr.open_group(tmp_path, mode="r")
    assert set(group.array_keys()) == {"hidden_states", "labels", "sentence_index"}
    assert group.attrs["label_names"] == ["bad", "fair", "good"]
    hidden = group["hidden_states"]
    assert hidden.dtype == dtype
    assert hidden.metadata.dimension_names == ("row", "layer", "neuron")
    assert hidden.shards == (WINDOW, N_LAYERS, HIDDEN)  # a window is one file
    assert hidden.chunks == (WINDOW, 1, HIDDEN)  # a layer of it is read alone
    np.testing.assert_array_equal(hidden[...], stored)
    np.testing.assert_array_equal(group["labels"][...], CLASSES)
    np.testing.assert_array_equal(group["sentence_index"][...], SENTENCES)


def test_large_windows_are_cut_into_chunks_that_divide_them(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK_ROWS", 4)
    opened = write_store(tmp_path, window_rows=9)
    assert [rows for rows, _ in opened.windows()] == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10)]
    np.testing.assert_array_equal(opened.matrix(), VALUES.reshape(N_ROWS, -1))
    metadata = json.loads((tmp_path / "hidden_states" / "zarr.json").read_text())
    assert metadata["codecs"][0]["configuration"]["chunk_shape"] == [3, 1, HIDDEN]


def test_a_store_is_read_by_runs_of_whole_chunks_up_to_their_most_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK_ROWS", 7)
    opened = write_store(tmp_path, window_rows=3)
    assert [rows for rows, _ in opened.windows()] == [slice(0, 6), slice(6, 10)]


# Unfinished stores -------------------------------------------------------------------------------------------------


def test_an_unfinished_store_is_not_read_and_says_how_far_it_is(tmp_path):
    half = writer(tmp_path)
    for n_windows in range(N_WINDOWS):
        with pytest.raises(
            UserError, match=rf"not finished: {n_windows} of {N_WINDOWS} windows are written\. Run .*again"
        ):
            Store(tmp_path)
        fill(half, until=1)
    Store(tmp_path)


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
    assert len(files) == n_windows
    assert all(after[name] == before[name] for name in files)


@pytest.mark.parametrize("window", [0, 1])
@pytest.mark.parametrize("how", ["missing", "empty", "zeros", "short", "flipped"])
def test_what_a_power_cut_took_is_seen_before_a_store_is_gone_on_with(tmp_path, finished, window, how):
    """The ledger may be on the disk before the window that it tells of."""
    fill(writer(tmp_path), until=2)
    file = shard(tmp_path, window)
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
    with pytest.raises(
        UserError, match=rf"cannot be gone on with: its window {window} is (damaged|missing).*overwrite"
    ):
        writer(tmp_path)
    assert contents(tmp_path) == before
    fill(writer(tmp_path, overwrite=True))
    assert contents(tmp_path) == contents(finished)


class _Done:
    def __init__(self, value):
        self._value = value

    def result(self):
        return self._value


class _Watched:
    """A TensorStore object whose changes to the storage happen at once and are told."""

    def __init__(self, real, storage):
        self._real, self._storage = real, storage

    def __getattr__(self, name):
        attribute = getattr(self._real, name)
        if name in ("write", "delete_range"):
            return lambda *args, **options: self._storage.change(lambda: attribute(*args, **options).result())
        return attribute

    def __getitem__(self, key):
        return _Watched(self._real[key], self._storage)


class _Storage:
    """Stands for the module `tensorstore`: after every change to the storage, keeps a copy of the folder."""

    KeyRange = ts.KvStore.KeyRange
    float32 = ts.float32

    def __init__(self, folder, copies):
        self.folder, self.copies, self.KvStore = folder, copies, self
        self.n_changes = 0

    def open(self, spec, **options):
        if options:  # an array that is made if it is not there
            return self.change(lambda: _Watched(ts.open(spec, **options).result(), self))
        array = isinstance(spec, dict) and spec["driver"] == "zarr3"
        return _Done(_Watched((ts.open if array else ts.KvStore.open)(spec).result(), self))

    def cast(self, array, dtype):
        return ts.cast(array._real, dtype)

    def change(self, action):
        value = action()
        self.n_changes += 1
        shutil.copytree(self.folder, self.copies / f"{self.n_changes:03}")
        return _Done(value)


def states(monkeypatch, run, folder, copies):
    """What a process that dies while it does `run` may leave: the folder after each of its changes to the storage."""
    storage = _Storage(folder, copies)
    with monkeypatch.context() as patch:
        for module in ("kvstore", "reader", "writer"):
            patch.setattr(f"jaxred.store.{module}.ts", storage)
        run()
    assert storage.n_changes > 0
    return sorted(copies.iterdir())


def test_a_run_that_dies_at_any_change_of_the_storage_is_gone_on_with(tmp_path, finished, monkeypatch):
    folder, expected = tmp_path / "train", contents(finished)
    left = states(monkeypatch, lambda: fill(writer(folder)), folder, tmp_path / "states")
    assert contents(left[-1]) == expected
    assert [_windows_finished(state) for state in left].count(1) >= 2  # a shard and its entry are two changes
    wrong = {}
    for state in left:
        found = contents(state)
        fill(writer(state))
        if contents(state) != expected:
            wrong[state.name] = sorted(found)
    assert not wrong


def _windows_finished(folder):
    present = read_ledger(folder)
    return -1 if present is None else present.windows_finished


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
    wrong = {}
    for state in left:
        found = contents(state)
        fill(writer(state, overwrite=True))
        if contents(state) != expected:
            wrong[state.name] = sorted(found)
    assert not wrong


# Another identity, another thing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("until", [1, None])
def test_another_identity_is_refused_naming_every_field_or_replaced(tmp_path, until):
    fill(writer(tmp_path), until=until)
    before = contents(tmp_path)
    new = {"encoder": "ab12", "pooling": "mean", "max_length": 32, "compute_dtype": "bfloat16"}
    with pytest.raises(UserError, match="another configuration") as caught:
        writer(tmp_path, identity=new, n_rows=8, window_rows=2, labels=CLASSES[:8])
    for words in (
        "n_rows was 10 and is now 8", "window_rows was 4 and is now 2", "pooling was 'cls' and is now 'mean'",
        "max_length was 16 and is now 32", "compute_dtype was None and is now 'bfloat16'", "--overwrite",
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


def test_a_folder_that_holds_something_else_is_untouched_unless_told(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("three years")
    before = contents(tmp_path)
    with pytest.raises(UserError, match="not empty and is not an activation store"):
        writer(tmp_path)
    with pytest.raises(UserError, match=r"not an activation store: it has no ledger\.json"):
        Store(tmp_path)
    assert contents(tmp_path) == before
    fill(writer(tmp_path, overwrite=True))
    assert not list(tmp_path.glob("thesis/*"))
    Store(tmp_path)


def test_there_is_no_store(tmp_path):
    with pytest.raises(UserError, match=r"nowhere is not an activation store: .*launch/extract\.py"):
        Store(tmp_path / "nowhere")
    assert read_ledger(tmp_path / "nowhere") is None
    assert not (tmp_path / "nowhere").exists()


def test_a_file_where_the_store_should_be(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(UserError, match="not an activation store"):
        Store(tmp_path / "file")
    with pytest.raises(UserError):
        writer(tmp_path / "file")
    with pytest.raises(UserError):
        writer(tmp_path / "file" / "train")
    assert (tmp_path / "file").read_text() == "text"


def test_an_unknown_kind_of_storage():
    with pytest.raises(UserError, match=r"Cannot open the activation store nowhere://x"):
        Store("nowhere://x")


# Damage ------------------------------------------------------------------------------------------------------------


def shard(folder, window):
    return folder / "hidden_states" / "c" / str(window) / "0" / "0"


@pytest.mark.parametrize("window", range(N_WINDOWS))
def test_a_missing_shard_is_named(copy, window):
    shard(copy, window).unlink()
    with pytest.raises(
        UserError, match=rf"cut short: its shard hidden_states/c/{window}/0/0 is missing.*Delete this folder"
    ):
        Store(copy)


def test_a_shard_that_goes_missing_after_opening(copy):
    opened = Store(copy)
    shard(copy, 1).unlink()
    with pytest.raises(UserError, match=r"holds nan at row 4, layer 0, neuron 0"):
        opened.matrix()
    with pytest.raises(UserError, match=r"holds nan at row 4, layer 2, neuron 0"):
        opened.layer(2)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_shard_is_refused(copy, share):
    whole = shard(copy, 1).read_bytes()
    shard(copy, 1).write_bytes(whole[: int(share * len(whole))])
    for read in (Store(copy).matrix, lambda: Store(copy).layer(0), lambda: list(Store(copy).windows())):
        with pytest.raises(UserError, match=r"damaged in hidden_states .*Delete this folder"):
            read()


@pytest.mark.parametrize("name", ["hidden_states", "labels", "sentence_index"])
@pytest.mark.parametrize("part", ["c", "zarr.json", ""])
def test_a_missing_part_is_refused(copy, name, part):
    path = copy / name / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError):
        everything(copy)


@pytest.mark.parametrize("name", ["labels", "sentence_index"])
def test_truncated_labels_are_refused(copy, name):
    path = copy / name / "c" / "0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"damaged in {name}"):
        everything(copy)


def flip(path, position, mask):
    raw = bytearray(path.read_bytes())
    raw[position % len(raw)] ^= mask
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "name", ["hidden_states/c/0/0/0", "hidden_states/c/2/0/0", "labels/c/0", "sentence_index/c/0", "ledger.json"]
)
@given(position=st.integers(0, 2**16), mask=st.integers(1, 255))
@settings(max_examples=40, deadline=None)
def test_a_flipped_byte_is_never_read(finished, name, position, mask):
    path = finished / name
    raw = path.read_bytes()
    flip(path, position, mask)
    try:
        if name == "ledger.json" and json_value(path) == json.loads(raw):
            return  # white space between the values became other white space
        with pytest.raises(UserError):
            everything(finished)
    finally:
        path.write_bytes(raw)


def json_value(path):
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


@pytest.mark.parametrize("name", ["hidden_states", "labels", "sentence_index"])
@given(position=st.integers(0, 2**16), mask=st.integers(1, 255))
@settings(max_examples=40, deadline=None)
def test_a_flipped_byte_of_the_metadata_never_changes_a_number(finished, name, position, mask):
    path = finished / name / "zarr.json"
    raw, whole = path.read_bytes(), everything(finished)
    flip(path, position, mask)
    try:
        found = everything(finished)
    except UserError:
        return
    finally:
        path.write_bytes(raw)
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["hidden_states", "labels", "sentence_index"])
@pytest.mark.parametrize("n_rows", [9, 12])
def test_an_array_of_another_number_of_rows_never_changes_a_number(copy, finished, name, n_rows):
    path = copy / name / "zarr.json"
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps({**metadata, "shape": [n_rows, *metadata["shape"][1:]]}))
    try:
        found = everything(copy)
    except UserError:
        return
    for one, other in zip(found, everything(finished), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_store_of_another_shape_than_its_ledger_says_is_refused(copy, tmp_path):
    write_store(tmp_path / "other", VALUES[:, :2, :4], n_layers=2, hidden_size=4)
    shutil.rmtree(copy / "hidden_states")
    shutil.copytree(tmp_path / "other" / "hidden_states", copy / "hidden_states")
    with pytest.raises(UserError, match="hidden_states"):
        everything(copy)


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


def test_a_store_of_another_format_is_refused(copy, monkeypatch):
    monkeypatch.setattr("jaxred.store.ledger.FORMAT", 2)
    with pytest.raises(UserError, match="written in store format 1; this jaxred reads format 2"):
        Store(copy)
    with pytest.raises(UserError, match="store format 1"):
        writer(copy)


# Numbers that are none ---------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_read(copy, bad):
    values = VALUES.copy()
    values[7, 1, 2] = bad
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{copy}/hidden_states/"}}
    ts.open(spec).result().write(values).result()
    opened = Store(copy)
    np.testing.assert_array_equal(opened.layer(0), values[:, 0])
    for read in (opened.matrix, lambda: opened.layer(1), lambda: list(opened.windows())):
        with pytest.raises(UserError, match=rf"holds {bad} at row 7, layer 1, neuron 2\. Delete this folder"):
            read()


# Storage that refuses ----------------------------------------------------------------------------------------------

FULL_DISKS = {  # the windows written before (-1: not even the store is made), the largest file from then on
    "the ledger": (-1, 0),
    "labels": (-1, 440),  # the ledger is smaller, the arrays' metadata are larger
    "window 0": (0, 0),
    "window 2": (2, 100),
    "ledger of window 1": (1, 310),  # the shard is smaller, the ledger is larger
}
FILL_DISKS = """
import json, resource, signal, sys
import test_store
from jaxred.errors import UserError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
errors = {}
for name, (n_before, n_bytes) in test_store.FULL_DISKS.items():
    try:
        if n_before < 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, unlimited[1]))
        half = test_store.writer(f"{sys.argv[1]}/{name}")
        test_store.fill(half, until=max(n_before, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, unlimited[1]))
        test_store.fill(half)
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
    paths = [str(Path(__file__).parent), str(Path(store.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", FILL_DISKS, str(folder)],
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
    assert "Make room or choose another --workdir (--output of launch/convert.py), and run again: fin" in errors[name]
    assert "finished windows are kept." in errors[name]
    assert _windows_finished(folder) == {"labels": 0}.get(name, FULL_DISKS[name][0])
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


def test_windows_of_a_ledger():
    assert [ledger().window(i) for i in range(ledger().n_windows)] == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert replace(ledger(), n_rows=8).n_windows == 2
    assert replace(ledger(), n_rows=9).n_windows == 3
