"""The feature matrix against the rows that it was made from."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.activations import matrix as matrix_module
from jaxred.activations.matrix import FeatureMatrix, device_bytes, fits_in_memory

CPU = jax.devices("cpu")[0]
SHAPES = {"n_rows": st.integers(0, 23), "n_columns": st.integers(1, 7), "batch_size": st.integers(1, 30)}


class Accelerator:
    """A device as `windows` asks for one."""

    platform = "gpu"


def random_rows(n_rows, n_columns, seed=0):
    return np.random.default_rng(seed).normal(size=(n_rows, n_columns)).astype(np.float32)


def blocks_of(rows, batch_size):
    """The definition: every `batch_size` rows turned, and zeros where rows run out."""
    n_batches = -(-len(rows) // batch_size)
    blocks = np.zeros((n_batches, rows.shape[1], batch_size), np.float32)
    for batch in range(n_batches):
        mine = rows[batch * batch_size : (batch + 1) * batch_size]
        blocks[batch, :, : len(mine)] = mine.T
    return blocks


def in_scratch(rows, batch_size, folder):
    streamed, space = FeatureMatrix.allocate(*rows.shape, batch_size, scratch=folder)
    space[: len(rows)] = rows
    streamed.arrange()
    return streamed


# From rows and back


@settings(deadline=None, max_examples=50)
@given(**SHAPES)
def test_rows_come_back_and_blocks_are_batches_of_columns(n_rows, n_columns, batch_size):
    rows = random_rows(n_rows, n_columns)
    matrix = FeatureMatrix.from_rows(rows, batch_size)
    np.testing.assert_array_equal(np.asarray(matrix), rows)
    assert np.asarray(matrix).dtype == np.float32
    assert matrix.shape == (n_rows, n_columns)
    assert matrix.batch_size == min(batch_size, max(n_rows, 1))
    np.testing.assert_array_equal(matrix.blocks, blocks_of(rows, matrix.batch_size))


@settings(deadline=None, max_examples=50)
@given(**SHAPES)
def test_a_scratch_file_holds_the_same_blocks_and_leaves_nothing(tmp_path_factory, n_rows, n_columns, batch_size):
    folder = tmp_path_factory.mktemp("matrix") / "scratch"
    rows = random_rows(n_rows, n_columns)
    streamed = in_scratch(rows, batch_size, folder)
    np.testing.assert_array_equal(streamed.blocks, FeatureMatrix.from_rows(rows, batch_size).blocks)
    np.testing.assert_array_equal(np.asarray(streamed), rows)
    assert not folder.exists() or not list(folder.iterdir())
    assert streamed.in_memory == (rows.size == 0)


def test_what_is_not_there_is_zero_whatever_the_memory_held(monkeypatch):
    """New memory is often zero by chance."""
    monkeypatch.setattr(matrix_module, "aligned", lambda shape: np.full(shape, np.nan, np.float32))
    rows = random_rows(10, 3)
    np.testing.assert_array_equal(FeatureMatrix.from_rows(rows, 4).blocks, blocks_of(rows, 4))


def test_blocks_in_memory_are_aligned_for_jax():
    for n_columns in range(1, 9):
        assert FeatureMatrix.from_rows(random_rows(5, n_columns), 2).blocks.ctypes.data % 64 == 0


def test_the_rows_are_a_copy():
    rows = random_rows(5, 3)
    matrix = FeatureMatrix.from_rows(rows, 2)
    np.asarray(matrix)[:] = 7
    np.testing.assert_array_equal(np.asarray(matrix), rows)
    rows[:] = 9
    np.testing.assert_array_equal(np.asarray(matrix), random_rows(5, 3))
    assert np.asarray(matrix, np.float64).dtype == np.float64


# Batches


@settings(deadline=None, max_examples=50)
@given(**SHAPES)
def test_counts_are_the_rows_that_exist(n_rows, n_columns, batch_size):
    matrix = FeatureMatrix.from_rows(random_rows(n_rows, n_columns), batch_size)
    expected = [len(range(n_rows)[start : start + matrix.batch_size]) for start in range(0, n_rows, matrix.batch_size)]
    assert matrix.counts.tolist() == expected
    assert matrix.counts.dtype == np.int32


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_are_batched_as_the_rows_are(dtype):
    matrix = FeatureMatrix.from_rows(random_rows(10, 2), 4)
    batched = matrix.batched(np.arange(1, 11, dtype=dtype))
    assert batched.dtype == dtype
    assert batched.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 0, 0]]


@pytest.mark.parametrize("n_batches", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("whole_is_there", [False, True])
def test_windows_cover_every_batch_and_are_filled_up_with_zeros(n_batches, whole_is_there):
    matrix = FeatureMatrix.from_rows(random_rows(26, 3), 4)  # 7 batches
    if whole_is_there:
        matrix.on(CPU, slice(0, 7))
    windows = list(matrix.windows(CPU, n_batches))
    assert [i for batches, _ in windows for i in range(7)[batches]] == list(range(7))
    for batches, block in windows:
        assert block.shape == (n_batches, 3, 4)
        n_mine = batches.stop - batches.start
        np.testing.assert_array_equal(block[:n_mine], matrix.blocks[batches])
        np.testing.assert_array_equal(block[n_mine:], 0)


def test_windows_are_cut_from_the_matrix_on_a_device_where_it_is_there():
    matrix = FeatureMatrix.from_rows(random_rows(26, 3), 4)
    accelerator = Accelerator()
    matrix._on_devices[accelerator] = jax.device_put(matrix.blocks + 100, CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "device_put", lambda block, device: block)  # the last window, which is short
        windows = list(matrix.windows(accelerator, 3))
    for batches, block in windows[:2]:
        np.testing.assert_array_equal(block, matrix.blocks[batches] + 100)
    np.testing.assert_array_equal(windows[2][1][:1], matrix.blocks[6:])


def test_the_whole_matrix_stays_on_a_device_and_parts_of_it_do_not():
    matrix = FeatureMatrix.from_rows(random_rows(26, 3), 4)
    part = matrix.on(CPU, slice(2, 5))
    np.testing.assert_array_equal(part, matrix.blocks[2:5])
    assert not matrix._on_devices
    whole = matrix.on(CPU, slice(0, 7))
    np.testing.assert_array_equal(whole, matrix.blocks)
    assert matrix.on(CPU, slice(0, 7)) is whole


# Chunks


def test_a_matrix_in_memory_is_one_chunk(monkeypatch):
    matrix = FeatureMatrix.from_rows(random_rows(26, 3), 4)
    monkeypatch.setattr(matrix_module, "CHUNK_BYTES", 1)
    assert matrix.chunks() == [slice(0, 7)]


def assert_covers(chunks, n_batches, largest):
    lengths = [chunk.stop - chunk.start for chunk in chunks]
    assert [i for chunk in chunks for i in range(n_batches)[chunk]] == list(range(n_batches))
    assert min(lengths) >= 1
    assert max(lengths) <= largest
    assert max(lengths) - min(lengths) <= 1


@settings(deadline=None, max_examples=50)
@given(n_batches=st.integers(1, 60), batches_a_chunk=st.integers(1, 70))
def test_chunks_of_a_scratch_file_cover_it_and_are_equally_long_up_to_one(tmp_path_factory, n_batches, batches_a_chunk):
    streamed = in_scratch(random_rows(4 * n_batches - 1, 3), 4, tmp_path_factory.getbasetemp() / "scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix_module, "CHUNK_BYTES", batches_a_chunk * streamed.blocks[0].nbytes)
        chunks = streamed.chunks()
    assert len(chunks) == -(-n_batches // batches_a_chunk)
    assert_covers(chunks, n_batches, batches_a_chunk)


def test_a_chunk_is_a_batch_at_least(tmp_path, monkeypatch):
    streamed = in_scratch(random_rows(26, 3), 4, tmp_path)
    monkeypatch.setattr(matrix_module, "CHUNK_BYTES", 1)
    assert streamed.chunks() == [slice(i, i + 1) for i in range(7)]


def test_a_matrix_too_large_for_the_device_is_cut_although_it_is_in_memory(monkeypatch):
    matrix = FeatureMatrix.from_rows(random_rows(26, 3), 4)
    monkeypatch.setattr(matrix_module, "CHUNK_BYTES", 2 * matrix.blocks[0].nbytes)
    monkeypatch.setattr(matrix_module, "device_bytes", lambda: matrix.blocks.nbytes - 1)
    chunks = matrix.chunks()
    assert len(chunks) == 4
    assert_covers(chunks, 7, 2)


# Scaling


@pytest.mark.parametrize("where", ["memory", "scratch file"])
def test_mean_and_deviation_are_numpys_in_float64_however_far_off_the_mean(where, tmp_path):
    offset = np.array([0, 1e4, -3e5, 7])
    rows = (random_rows(1003, 4).astype(np.float64) * [1, 0.5, 1, 0] + offset).astype(np.float32)
    matrix = FeatureMatrix.from_rows(rows, 64) if where == "memory" else in_scratch(rows, 64, tmp_path)
    mean, deviation = matrix.mean_and_deviation()
    assert mean.dtype == deviation.dtype == np.float64
    np.testing.assert_allclose(mean, rows.astype(np.float64).mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(deviation, rows.astype(np.float64).std(0), rtol=1e-9, atol=1e-12)
    assert deviation[3] == 0


def test_standardize_leaves_what_is_not_there_at_zero():
    rows = random_rows(10, 3) * np.float32([1, 5, 100]) + np.float32([0, -3, 50])
    mean, deviation = rows.mean(0), rows.std(0)
    matrix = FeatureMatrix.from_rows(rows, 4)
    matrix.standardize(mean, deviation)
    np.testing.assert_array_equal(np.asarray(matrix), (rows - mean) / deviation)
    np.testing.assert_array_equal(matrix.blocks[-1, :, 2:], 0)


# Memory


def test_without_rows_there_are_no_batches(tmp_path):
    for matrix in (FeatureMatrix.from_rows(random_rows(0, 3), 4), in_scratch(random_rows(0, 3), 4, tmp_path)):
        assert matrix.shape == (0, 3)
        assert len(matrix.blocks) == len(matrix.counts) == len(list(matrix.windows(CPU, 2))) == 0
        assert matrix.batched(np.zeros(0, np.int32)).size == 0
        assert np.asarray(matrix).shape == (0, 3)


def test_a_matrix_fits_where_it_takes_at_most_seven_tenths_of_what_is_free(monkeypatch):
    monkeypatch.setattr(matrix_module, "available_bytes", lambda: 4000.0)
    assert fits_in_memory(70, 10)  # 2,800 bytes
    assert not fits_in_memory(701, 1)
    monkeypatch.setattr(matrix_module, "available_bytes", lambda: float("inf"))
    assert fits_in_memory(10**9, 10**6)


@pytest.mark.parametrize(
    ("platform", "stats", "expected"),
    [
        ("cpu", {"bytes_limit": 1000}, float("inf")),
        ("gpu", {"bytes_limit": 1000}, pytest.approx(700)),
        ("gpu", {}, float("inf")),
        ("gpu", None, float("inf")),
    ],
)
def test_a_matrix_may_take_seven_tenths_of_an_accelerator(monkeypatch, platform, stats, expected):
    device = SimpleNamespace(platform=platform, memory_stats=lambda: stats)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert device_bytes() == expected


def test_a_matrix_says_what_it_holds(tmp_path):
    assert (
        repr(FeatureMatrix.from_rows(np.ones((5, 3), np.float32), 4))
        == "<FeatureMatrix: 5 rows x 3 columns, in memory>"
    )
    matrix = FeatureMatrix.allocate(5, 3, 4, tmp_path)[0]
    assert repr(matrix) == "<FeatureMatrix: 5 rows x 3 columns, in a scratch file>"


@pytest.mark.parametrize("scratch", [False, True])
def test_rows_are_taken_in_another_order(scratch, tmp_path, monkeypatch):
    if scratch:
        monkeypatch.setattr("jaxred.activations.matrix.MEMORY_SHARE", 0.0)
    rows = np.random.default_rng(0).normal(size=(13, 3)).astype(np.float32)
    matrix = FeatureMatrix.from_rows(rows, 4)
    for order in (np.random.default_rng(1).permutation(13), np.array([5, 5, 0]), np.arange(13)):
        copy = matrix.taken(order, tmp_path if scratch else None)
        assert copy.in_memory is not scratch
        np.testing.assert_array_equal(np.asarray(copy), rows[order])
    np.testing.assert_array_equal(np.asarray(matrix), rows)
