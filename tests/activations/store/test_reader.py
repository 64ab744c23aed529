import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore as ts
from helpers.small_store import (
    CLASSES,
    HIDDEN,
    N_LAYERS,
    N_ROWS,
    N_WINDOWS,
    SENTENCES,
    VALUES,
    WINDOW,
    everything,
    fill,
    ledger,
    shard,
    write_store,
    writer,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.activations.store import Store, StoreWriter, read_ledger, reader
from jaxred.errors import UserError


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


@given(st.lists(st.permutations(range(N_ROWS)), min_size=1, max_size=3), st.data())
@settings(max_examples=25, deadline=None)
def test_matrices_are_filled_by_one_reading(finished, orders, data):
    wanted = []
    for order in orders:
        rows = np.array(order[: data.draw(st.integers(0, N_ROWS))], int)
        wanted.append((rows, np.full((len(rows), VALUES[0].size), np.nan, np.float32)))
    opened, read = Store(finished), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxred.activations.store.chunk_sizes.CHUNK_ROWS", 4)  # several runs
        patch.setattr(opened, "_wait", lambda future, name: read.append(name) or future.result())
        n_runs = len(opened._runs())
        opened.fill(*wanted)
    assert len(read) == n_runs > 2
    for rows, matrix in wanted:
        np.testing.assert_array_equal(matrix, VALUES.reshape(N_ROWS, -1)[rows])


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


def test_words_have_a_position_in_their_sentence(tmp_path):
    words = np.arange(N_ROWS, dtype=np.int32) % 3
    fill(StoreWriter(tmp_path, ledger(rows="word"), CLASSES, SENTENCES, word_index=words))
    opened = Store(tmp_path)
    assert opened.has_words
    np.testing.assert_array_equal(opened.word_index(), words)
    shutil.rmtree(tmp_path / "word_index" / "c")
    with pytest.raises(UserError, match="its file word_index/c/0 is missing"):
        Store(tmp_path)


def test_sentences_have_no_word_index(finished):
    assert not Store(finished).has_words
    with pytest.raises(UserError, match="has no word_index: its rows are sentences"):
        Store(finished).word_index()


@pytest.mark.parametrize("layer", [-1, N_LAYERS])
def test_a_layer_that_does_not_exist_is_refused(finished, layer):
    with pytest.raises(UserError, match=rf"Layer {layer} does not exist: .* has layers 0 to {N_LAYERS - 1}\."):
        Store(finished).layer(layer)


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
    assert hidden.shards == (WINDOW, 1, HIDDEN)  # a layer of a window is one file
    assert hidden.chunks == (WINDOW, 1, HIDDEN)  # a layer of it is read alone
    np.testing.assert_array_equal(hidden[...], stored)
    np.testing.assert_array_equal(group["labels"][...], CLASSES)
    np.testing.assert_array_equal(group["sentence_index"][...], SENTENCES)


def test_an_unfinished_store_is_not_read_and_says_how_far_it_is(tmp_path):
    half = writer(tmp_path)
    for n_windows in range(N_WINDOWS):
        with pytest.raises(
            UserError, match=rf"not finished: {n_windows} of {N_WINDOWS} windows are written\. Run .*again"
        ):
            Store(tmp_path)
        fill(half, until=1)
    Store(tmp_path)


def test_there_is_no_store(tmp_path):
    with pytest.raises(UserError, match=r"nowhere is not an activation store: .*jaxred extract"):
        Store(tmp_path / "nowhere")
    assert read_ledger(tmp_path / "nowhere") is None
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("window", range(N_WINDOWS))
@pytest.mark.parametrize("layer", [0, N_LAYERS - 1])
def test_a_missing_shard_is_named(copy, window, layer):
    shard(copy, window, layer).unlink()
    with pytest.raises(
        UserError, match=rf"damaged: its file hidden_states/c/{window}/{layer}/0 is missing.*verify=True"
    ):
        Store(copy)


def test_a_shard_that_goes_missing_after_opening(copy):
    opened = Store(copy)
    shard(copy, 1, 2).unlink()
    with pytest.raises(UserError, match=r"holds nan at row 4, layer 2, neuron 0"):
        opened.matrix()
    with pytest.raises(UserError, match=r"holds nan at row 4, layer 2, neuron 0"):
        opened.layer(2)
    np.testing.assert_array_equal(opened.layer(1), VALUES[:, 1])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_shard_is_refused(copy, share):
    whole = shard(copy, 1).read_bytes()
    opened = Store(copy)
    shard(copy, 1).write_bytes(whole[: int(share * len(whole))])
    for read in (opened.matrix, lambda: opened.layer(0), lambda: list(opened.windows())):
        with pytest.raises(UserError, match=r"damaged in hidden_states .*verify=True"):
            read()
    with pytest.raises(UserError, match=r"damaged: its file hidden_states/c/1/0/0 has .*verify=True"):
        Store(copy)


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
    with pytest.raises(UserError, match=f"damaged: its file {name}/c/0 has"):
        everything(copy)


def flip(path, position, mask):
    raw = bytearray(path.read_bytes())
    raw[position % len(raw)] ^= mask
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "name", ["hidden_states/c/0/0/0", "hidden_states/c/2/1/0", "labels/c/0", "sentence_index/c/0", "ledger.json"]
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


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_read(copy, bad):
    values = VALUES.copy()
    values[7, 1, 2] = bad
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{copy}/hidden_states/"}}
    ts.open(spec).result().write(values).result()
    opened = Store(copy)
    np.testing.assert_array_equal(opened.layer(0), values[:, 0])
    for read in (opened.matrix, lambda: opened.layer(1), lambda: list(opened.windows())):
        with pytest.raises(UserError, match=rf"holds {bad} at row 7, layer 1, neuron 2\. Run its extraction again"):
            read()


@pytest.mark.parametrize("n_rows", [1, 5, 8, 13, 1201])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("window_rows", [4, 5, 1200])
def test_the_files_of_a_finished_store_have_the_sizes_that_its_ledger_tells(tmp_path, n_rows, dtype, window_rows):
    labels = CLASSES[np.arange(n_rows) % N_ROWS]
    plan = ledger(n_rows=n_rows, dtype=dtype, window_rows=window_rows)
    fill(
        StoreWriter(tmp_path, plan, labels, np.arange(n_rows)), np.zeros((n_rows, *VALUES.shape[1:]), jnp.dtype(dtype))
    )
    store = Store(tmp_path)
    assert set(store.ledger.shard_sizes) >= {*store.ledger.shards, "labels/c/0", "sentence_index/c/0"}


@pytest.mark.parametrize("name", ["hidden_states/c/1/2/0", "hidden_states/c/2/0/0", "labels/c/0", "sentence_index/c/0"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_size_is_found_without_reading_it(copy, name, change):
    path = copy / name
    before = path.read_bytes()
    path.write_bytes(before[:-1] if change < 0 else before + b"0")
    with pytest.raises(UserError, match=rf"damaged: its file {name} has .* bytes, and not "):
        Store(copy)


@pytest.mark.parametrize("name", ["hidden_states/c/1/2/0", "labels/c/0", "sentence_index/c/0"])
def test_reading_all_of_a_store_finds_a_flipped_bit(copy, name):
    flip(copy / name, 9, 1)
    opened = Store(copy)
    with pytest.raises(UserError, match=f"damaged: its file {name.rsplit('/', 2)[0]}.* damaged .*verify=True"):
        opened.verify()


# As an array


def test_a_store_says_what_it_holds(tmp_path):
    opened = write_store(tmp_path)
    assert repr(opened) == f"<Store {tmp_path}: 10 rows x 3 layers x 5 neurons, float32>"
    assert (opened.shape, opened.ndim, opened.dtype) == ((N_ROWS, N_LAYERS, HIDDEN), 3, np.float32)


@pytest.mark.parametrize(
    "index",
    [
        0, -1, np.int64(3), slice(None), slice(2, 7), slice(-3, None), slice(None, None, 3), slice(None, None, -1),
        slice(4, 4), [7, 0, 3], [-1], [], np.arange(N_ROWS) % 2 == 0, (2, 1), (slice(None), -1),
        (slice(3, 8), slice(1)),
        (1, 2, 3), ([5, 2], 0), (slice(None), [2, 0]), (..., 0), (0, ...), ..., (slice(2), ..., [4, 1]),
    ],
)  # fmt: skip
def test_an_index_gives_what_it_gives_of_an_array(tmp_path, index):
    np.testing.assert_array_equal(write_store(tmp_path)[index], VALUES[index], strict=True)


@pytest.mark.parametrize("index", [10, -11, (0, 3), (0, 0, 0, 0), ([0], [1]), None, [[0, 1]], ([99],)])
def test_an_index_of_nothing_is_an_error(tmp_path, index):
    with pytest.raises(IndexError):
        write_store(tmp_path)[index]


def test_a_store_becomes_an_array(tmp_path):
    opened = write_store(tmp_path)
    np.testing.assert_array_equal(np.asarray(opened), VALUES, strict=True)
    assert np.asarray(opened, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="on a disk"):
        np.array(opened, copy=False)


def test_what_does_not_fit_in_memory_is_not_read(tmp_path, monkeypatch):
    opened = write_store(tmp_path)
    monkeypatch.setattr(reader, "available_bytes", lambda: 4 * N_LAYERS * HIDDEN * 5)
    for ask in (opened.matrix, lambda: np.asarray(opened), lambda: opened[:6]):
        with pytest.raises(UserError, match=r"x 3 layers x 5 neurons of the activation store .* take 0.0 GB"):
            ask()
    assert opened[:5].shape == (5, N_LAYERS, HIDDEN)
    np.testing.assert_array_equal(opened.matrix(out=np.empty((N_ROWS, 15), np.float32)), VALUES.reshape(N_ROWS, -1))


def test_a_number_that_is_not_finite_is_not_given(tmp_path):
    opened = write_store(tmp_path)
    shard(tmp_path, 1, 2).unlink()
    assert opened[:4, 2].shape == (4, HIDDEN)
    with pytest.raises(UserError, match="not finite"):
        opened[5, 2]
