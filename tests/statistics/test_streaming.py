from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from helpers.addresses import free_address
from helpers.made_up_rows import HIDDEN_SIZE, KINDS, N_LAYERS, N_NEURONS, N_ROWS, correlated_rows, moments_of
from helpers.processes import run_program
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.activations.store import Ledger, Store, StoreWriter
from jaxred.errors import UserError
from jaxred.statistics import moment_sums as kernel
from jaxred.statistics import moments, streaming
from jaxred.statistics.moments import Moments
from jaxred.statistics.streaming import from_blocks, from_store
from jaxred.statistics.streaming import moments_of as moments_of_store

# Blocks


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, N_ROWS), max_size=6), kind=st.sampled_from(["plain", "mean 1e3"]))
def test_any_blocks_give_the_same(cuts, kind):
    x = KINDS[kind]().astype(np.float32)
    whole, parts = moments_of(x), moments_of(*np.split(x, sorted(cuts)))
    assert parts.n_rows == N_ROWS
    np.testing.assert_allclose(parts.correlation(), whole.correlation(), rtol=0, atol=3e-6)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(parts.cka(), whole.cka(), rtol=0, atol=3e-6)


def test_blocks_are_read_once_and_one_at_a_time():
    x, read = correlated_rows(60).astype(np.float32), []

    def blocks():
        for i in range(3):
            read.append(i)
            yield x[i * 20 : (i + 1) * 20]

    found = Moments.of(from_blocks(blocks()))
    assert read == [0, 1, 2]
    np.testing.assert_allclose(found.correlation(), np.corrcoef(x.T), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_rows", [0, 1])
def test_fewer_than_2_rows_are_refused(n_rows):
    with pytest.raises(UserError, match="at least 2 rows"):
        moments_of(np.zeros((n_rows, N_NEURONS), np.float32))


def test_no_blocks_are_refused():
    with pytest.raises(UserError, match="at least 2 rows"):
        from_blocks([])


# Stores


def write_store(location, x, sentences=None):
    n_rows = len(x)
    ledger = Ledger({"of": "test"}, n_rows, N_LAYERS, HIDDEN_SIZE, "float32", 16, [])
    sentences = np.arange(n_rows, dtype=np.int32) if sentences is None else sentences
    writer = StoreWriter(location, ledger, np.zeros(n_rows), sentences)
    for window in range(ledger.n_windows):
        writer.write(window, x[ledger.window(window)].reshape(-1, N_LAYERS, HIDDEN_SIZE))
    writer.flush()
    return Store(location)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    x = correlated_rows(50).astype(np.float32)
    return write_store(tmp_path_factory.mktemp("store") / "activations", x), x


@pytest.fixture
def short_runs(monkeypatch):
    monkeypatch.setattr("jaxred.activations.store.chunk_sizes.CHUNK_ROWS", 16)


def total(parts):
    first, second = parts
    return Moments.of(first + second)


def assert_equal(one, other):
    """Bit by bit."""
    jax.tree.map(np.testing.assert_array_equal, tuple(one.rows), tuple(other.rows))
    jax.tree.map(np.testing.assert_array_equal, one.products, other.products)


def test_a_store_gives_the_moments_of_its_rows(stored, short_runs):
    store, x = stored
    seen = []
    found = total(from_store(store, progress=seen.append))
    assert found.n_rows == 50
    assert found.n_layers == N_LAYERS
    np.testing.assert_allclose(found.correlation(), np.corrcoef(x.T), rtol=0, atol=1e-5)
    assert seen == [16, 16, 16, 2]


@pytest.mark.parametrize("chosen", [[40, 3, 17, 16, 41, 49, 5], [33, 34, 40]])
def test_only_the_chosen_rows_of_a_store_count(stored, chosen):
    store, x = stored
    found = moments_of_store(store, np.array(chosen))
    assert found.n_rows == len(chosen)
    np.testing.assert_allclose(found.mean, x[chosen].mean(0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.correlation(), np.corrcoef(x[chosen].T), rtol=0, atol=1e-5)


def test_one_row_of_a_store_is_refused(stored):
    with pytest.raises(UserError, match="at least 2 rows of activations, but there are 1"):
        total(from_store(stored[0], np.array([7])))
    with pytest.raises(UserError, match="at least 2 rows of activations, but there are 0"):
        from_store(stored[0], np.array([], int))


def test_each_half_is_of_its_own_sentences(tmp_path):
    x = correlated_rows(60).astype(np.float32)
    sentences = np.repeat(np.arange(15, dtype=np.int32), 4)
    store = write_store(tmp_path / "words", x, sentences)
    half = streaming.halves(sentences)
    assert sorted(np.bincount(half)) == [28, 32]
    for sentence in range(15):
        assert len(set(half[sentences == sentence])) == 1
    for part, sums in enumerate(from_store(store)):
        mine = x[half == part]
        assert sums.n_rows == len(mine)
        np.testing.assert_allclose(Moments.of(sums).correlation(), np.corrcoef(mine.T), rtol=0, atol=1e-5)


def test_halves_are_drawn_and_not_dealt_out_in_order():
    half, index = streaming.halves(np.arange(1000)), np.arange(1000)
    assert half.sum() == 500
    assert abs(half[:500].mean() - 0.5) < 0.1
    assert abs(half[index % 2 == 0].mean() - 0.5) < 0.1
    np.testing.assert_array_equal(streaming.halves(np.arange(1000)), half)


# A pass that is killed


def test_a_killed_pass_goes_on_from_what_it_committed(tmp_path, stored, short_runs, monkeypatch):
    store, _ = stored
    monkeypatch.setattr(streaming, "COMMIT_SECONDS", -1)
    expected = from_store(store, unfinished=tmp_path / "none", identity={"a": 1})
    for killed_at in (1, 2, 3):
        seen, file = [], tmp_path / f"{killed_at}.npz"

        def die(n, seen=seen, killed_at=killed_at):
            seen.append(n)
            if len(seen) == killed_at + 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            from_store(store, progress=die, unfinished=file, identity={"a": 1})
        read = []
        again = from_store(store, progress=read.append, unfinished=file, identity={"a": 1})
        assert read[0] == sum(seen[:killed_at])
        assert sum(read) == 50
        for one, other in zip(again, expected, strict=True):
            assert_equal(one, other)


def test_a_commit_of_another_pass_or_a_damaged_one_is_not_gone_on_with(tmp_path, stored, short_runs):
    store, _ = stored
    other = from_store(store)
    moments.save(tmp_path / "sums.npz", other, {"a": 2}, 3)
    (tmp_path / "damaged.npz").write_bytes((tmp_path / "sums.npz").read_bytes()[:-30])
    for file in ("sums.npz", "damaged.npz"):
        found = from_store(store, unfinished=tmp_path / file, identity={"a": 1})
        assert sum(sums.n_rows for sums in found) == 50


# Devices and processes

ON_DEVICES = """
import sys, jax, numpy as np
jax.config.update("jax_platforms", "cpu")
from jaxred.statistics import moments, streaming
from jaxred.activations.store import Store
folder, shared_by = sys.argv[1], int(sys.argv[2])
if shared_by:
    streaming._shared_by = lambda n_bytes, n_devices: shared_by
streaming.BLOCK_ROWS = 8
moments.LARGEST_SQUARE = 2
if len(sys.argv) > 4:
    address, number = sys.argv[4:]
    jax.distributed.initialize(address, 2, int(number))
    assert jax.process_count() == 2
first, second = streaming.from_store(Store(folder + "/activations"))
both = first + second
if jax.process_index() == 0:
    np.savez(sys.argv[3], *both.products, **both.rows._asdict())
"""


def assert_close(file, whole):
    with np.load(file) as found:
        assert found["count"] == whole.n_rows
        np.testing.assert_allclose(found["total"], whole.rows.total, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found["low"], whole.rows.low)
        np.testing.assert_array_equal(found["high"], whole.rows.high)
        for name in ("norms", "weighted"):
            expected = getattr(whole.rows, name)
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-6 * np.abs(expected).max())
        mine, expected = np.zeros((2, N_NEURONS, N_NEURONS), np.float32)
        for i, place in enumerate(kernel.places(N_NEURONS, 2)):
            mine[place.rows, place.columns] = found[f"arr_{i}"]
        for place, product in zip(moments.places(N_NEURONS), whole.products, strict=True):
            expected[place.rows, place.columns] = product
        scale = np.abs(np.diagonal(expected)).max()
        np.testing.assert_allclose(np.triu(mine), np.triu(expected), rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("shared_by", [0, 2, 8])
def test_eight_devices_give_the_same_as_one(tmp_path, shared_by):
    x = correlated_rows(300).astype(np.float32)
    store = write_store(tmp_path / "activations", x)
    first, second = from_store(store)
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    arguments = str(tmp_path), str(shared_by), str(tmp_path / "found.npz")
    done = run_program(ON_DEVICES, *arguments, environment=environment)
    assert done.returncode == 0, done.stderr
    assert_close(tmp_path / "found.npz", first + second)


def test_two_processes_give_the_same_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxred.activations.store.chunk_sizes.CHUNK_ROWS", 32)  # several runs
    x = correlated_rows(300).astype(np.float32)
    store = write_store(tmp_path / "activations", x)
    first, second = from_store(store)
    program = "import jaxred.activations.store.chunk_sizes as blocks\nblocks.CHUNK_ROWS = 32\n" + ON_DEVICES
    arguments = str(tmp_path), "0", str(tmp_path / "found.npz"), free_address()
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda number: run_program(program, *arguments, number), "01"))
    assert [done.returncode for done in both] == [0, 0], [done.stderr for done in both]
    assert_close(tmp_path / "found.npz", first + second)


@pytest.mark.parametrize(("n_devices", "n_neurons"), [(1, 5), (2, 800), (4, 16), (8, 9984), (3, 7)])
def test_products_are_shared_evenly_and_whole(n_devices, n_neurons):
    where = moments.places(n_neurons)
    shares = [streaming._share(where, device, n_devices) for device in range(n_devices)]
    for place, *parts in zip(where, *shares, strict=True):
        assert [part.columns for part in parts] == [place.columns] * n_devices
        assert [row for part in parts for row in range(part.top, part.bottom)] == list(range(place.top, place.bottom))
        sizes = [part.bottom - part.top for part in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("room", "n_devices", "expected"), [(1e9, 8, 1), (100, 8, 2), (60, 8, 4), (1, 8, 8), (60, 6, 6), (1e9, 1, 1)]
)
def test_devices_share_the_products_where_one_cannot_hold_them(monkeypatch, room, n_devices, expected):
    monkeypatch.setattr(streaming, "device_bytes", lambda: room)
    assert streaming._shared_by(100, n_devices) == expected


def test_a_commit_of_other_places_is_not_gone_on_with(tmp_path, stored, short_runs, monkeypatch):
    store, _ = stored
    expected = from_store(store)
    with monkeypatch.context() as patch:
        patch.setattr(moments, "LARGEST_SQUARE", 2)
        moments.save(tmp_path / "sums.npz", from_store(store), {"a": 1}, 3)
    for one, other in zip(
        from_store(store, unfinished=tmp_path / "sums.npz", identity={"a": 1}), expected, strict=True
    ):
        assert_equal(one, other)


def test_rows_may_change_once_they_are_added():
    x = correlated_rows().astype(np.float32)
    accumulator = streaming.Accumulator(x[0], N_LAYERS)
    for start in range(0, N_ROWS, 500):
        rows = x[start : start + 500].copy()
        accumulator.add(rows)
        rows[:] = np.nan
    whole = moments_of(x)
    found = Moments.of(accumulator.sums()[0])
    np.testing.assert_allclose(found.correlation(), whole.correlation(), rtol=0, atol=3e-6)
