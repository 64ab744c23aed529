import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred import moments
from jaxred.errors import UserError
from jaxred.moments import BLOCK_ROWS, from_blocks, from_store
from jaxred.store import Ledger, Store, StoreWriter

N_LAYERS, HIDDEN_SIZE = 3, 4
N_NEURONS, N_ROWS = N_LAYERS * HIDDEN_SIZE, 2 * BLOCK_ROWS + 300


def correlated_rows(n_rows=N_ROWS, seed=0):
    draw = np.random.default_rng(seed)
    return (
        draw.normal(size=(n_rows, 5)) @ draw.normal(size=(5, N_NEURONS)) + draw.normal(size=(n_rows, N_NEURONS))
    ) / 3


def far_from_zero():
    return correlated_rows() + 1e3


def one_large_neuron():
    x = correlated_rows()
    x[:, 5] *= 1e3
    return x


def drifting():
    return correlated_rows() + np.linspace(0, 20, N_ROWS)[:, None]


def few_rows():
    return correlated_rows(2)


KINDS = {
    "plain": correlated_rows,
    "mean 1e3": far_from_zero,
    "one neuron 1e3 times larger": one_large_neuron,
    "drift": drifting,
    "two rows": few_rows,
}


@pytest.fixture(params=KINDS)
def rows(request):
    return KINDS[request.param]().astype(np.float32)


def reference_cka(x, y):
    """As Kornblith et al. write it, in float64."""
    x, y = (a.astype(np.float64) - a.mean(0, dtype=np.float64) for a in (x, y))
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def layer_of(x, layer):
    return x[:, layer * HIDDEN_SIZE : (layer + 1) * HIDDEN_SIZE]


# Agreement with float64


def test_means_and_centred_products_are_those_of_float64(rows):
    found = from_blocks([rows])
    centred = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)
    products = centred.T @ centred
    assert found.n_rows == len(rows)
    np.testing.assert_allclose(found.mean, rows.mean(0, dtype=np.float64), rtol=1e-6, atol=1e-5)
    scale = np.sqrt(np.outer(np.diagonal(products), np.diagonal(products)))
    assert (np.abs(found.centred - products) / scale).max() < 1e-5
    assert not found.constant.any()


def test_correlations_are_those_of_float64(rows):
    correlation = from_blocks([rows]).correlation()
    np.testing.assert_allclose(correlation, np.corrcoef(rows.astype(np.float64).T), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(correlation, correlation.T)
    np.testing.assert_array_equal(np.diagonal(correlation), 1)
    assert np.abs(correlation).max() <= 1


def test_copies_of_a_neuron_correlate_by_at_most_1():
    scales = np.random.default_rng(0).normal(size=N_NEURONS)
    correlation = from_blocks([(correlated_rows()[:, :1] * scales).astype(np.float32)]).correlation()
    assert np.abs(correlation).max() <= 1
    np.testing.assert_allclose(correlation, np.sign(np.outer(scales, scales)), rtol=0, atol=1e-5)


def test_cka_is_that_of_float64(rows):
    cka = from_blocks([rows]).cka(HIDDEN_SIZE)
    layers = [layer_of(rows, i) for i in range(N_LAYERS)]
    expected = [[reference_cka(x, y) for y in layers] for x in layers]
    np.testing.assert_allclose(cka, expected, rtol=0, atol=1e-5)


# Constant neurons


@pytest.fixture(scope="module")
def with_constants():
    """Neurons 1 and 6 are constant; 0.1 has no exact float32, so that its mean is not the value itself."""
    x = correlated_rows().astype(np.float32)
    x[:, [1, 6]] = np.float32(0.1), np.float32(-1234.567)
    return x, from_blocks([x[:7], x[7:]])


def test_constant_neurons_are_named(with_constants):
    assert np.flatnonzero(with_constants[1].constant).tolist() == [1, 6]


def test_a_constant_neuron_correlates_with_none_but_itself(with_constants):
    x, found = with_constants
    correlation = found.correlation()
    others = np.delete(np.arange(N_NEURONS), [1, 6])
    for neuron in (1, 6):
        expected = np.zeros(N_NEURONS)
        expected[neuron] = 1
        np.testing.assert_array_equal(correlation[neuron], expected)
        np.testing.assert_array_equal(correlation[:, neuron], expected)
        np.testing.assert_array_equal(found.centred[neuron], 0)
        np.testing.assert_array_equal(found.centred[:, neuron], 0)
    expected = np.corrcoef(x[:, others].astype(np.float64).T)
    np.testing.assert_allclose(correlation[np.ix_(others, others)], expected, rtol=0, atol=1e-5)


def test_a_neuron_that_changes_once_is_not_constant():
    x = correlated_rows().astype(np.float32)
    x[:, 3] = 1
    x[-1, 3] = 1.001
    found = from_blocks([x])
    assert not found.constant.any()
    assert found.centred[3, 3] > 0


def test_a_layer_of_constants_has_no_cka():
    x = correlated_rows().astype(np.float32)
    x[:, :HIDDEN_SIZE] = 0.3
    cka = from_blocks([x]).cka(HIDDEN_SIZE)
    assert np.isnan(cka[0]).all()
    assert np.isnan(cka[:, 0]).all()
    expected = reference_cka(layer_of(x, 1), layer_of(x, 2))
    np.testing.assert_allclose(cka[1:, 1:], [[1, expected], [expected, 1]], rtol=0, atol=1e-5)


# CKA


def test_cka_of_the_known_example():
    state = np.random.RandomState(1337)
    x = state.randn(100, 10)
    y = state.randn(100, 10) + x
    cka = from_blocks([np.concatenate([x, y], axis=1).astype(np.float32)]).cka(10)
    assert cka.shape == (2, 2)
    assert cka[0, 1] == pytest.approx(0.55761, abs=1e-5)


def test_cka_is_symmetric_and_1_on_its_diagonal(rows):
    cka = from_blocks([rows]).cka(HIDDEN_SIZE)
    np.testing.assert_allclose(np.diagonal(cka), 1, rtol=0, atol=1e-6)
    np.testing.assert_allclose(cka, cka.T, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_cka_sees_neither_rotations_nor_scale_nor_place(seed):
    x = correlated_rows(seed=seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(HIDDEN_SIZE, HIDDEN_SIZE)))
    changed = np.concatenate([layer_of(x, 0) @ rotation, 50 * layer_of(x, 1), layer_of(x, 2) - 3], axis=1)
    cka, same = (from_blocks([a.astype(np.float32)]).cka(HIDDEN_SIZE) for a in (x, changed))
    np.testing.assert_allclose(same, cka, rtol=0, atol=1e-5)
    assert cka[0, 1] < 0.99
    turned = np.concatenate([layer_of(x, 0), 7 * layer_of(x, 0) @ rotation, layer_of(x, 2)], axis=1)
    assert from_blocks([turned.astype(np.float32)]).cka(HIDDEN_SIZE)[0, 1] == pytest.approx(1, abs=1e-5)


# Blocks


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, N_ROWS), max_size=6), kind=st.sampled_from(["plain", "mean 1e3"]))
def test_any_blocks_give_the_same(cuts, kind):
    x = KINDS[kind]().astype(np.float32)
    whole, parts = from_blocks([x]), from_blocks(np.split(x, sorted(cuts)))
    assert parts.n_rows == N_ROWS
    np.testing.assert_allclose(parts.correlation(), whole.correlation(), rtol=0, atol=3e-6)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(parts.cka(HIDDEN_SIZE), whole.cka(HIDDEN_SIZE), rtol=0, atol=3e-6)


def test_blocks_are_read_once_and_one_at_a_time():
    x, read = correlated_rows(60).astype(np.float32), []

    def blocks():
        for i in range(3):
            read.append(i)
            yield x[i * 20 : (i + 1) * 20]

    found = from_blocks(blocks())
    assert read == [0, 1, 2]
    np.testing.assert_allclose(found.correlation(), np.corrcoef(x.T), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_rows", [0, 1])
def test_fewer_than_2_rows_are_refused(n_rows):
    with pytest.raises(UserError, match="at least 2 rows"):
        from_blocks([np.zeros((n_rows, N_NEURONS), np.float32)])


def test_no_blocks_are_refused():
    with pytest.raises(UserError, match="at least 2 rows"):
        from_blocks([])


# Stores


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    location, x = tmp_path_factory.mktemp("store") / "activations", correlated_rows(50).astype(np.float32)
    ledger = Ledger({"of": "test"}, 50, N_LAYERS, HIDDEN_SIZE, "float32", 16, [])
    writer = StoreWriter(location, ledger, np.zeros(50), np.arange(50, dtype=np.int32))
    for window in range(ledger.n_windows):
        writer.write(window, x[ledger.window(window)].reshape(-1, N_LAYERS, HIDDEN_SIZE))
    writer.flush()
    return Store(location), x


def test_a_store_gives_the_moments_of_its_rows(store, monkeypatch):
    monkeypatch.setattr("jaxred.store.blocks.CHUNK_ROWS", 16)
    store, x = store
    seen = []
    found = from_store(store, progress=seen.append)
    assert found.n_rows == 50
    np.testing.assert_allclose(found.correlation(), np.corrcoef(x.T), rtol=0, atol=1e-5)
    assert seen == [16, 16, 16, 2]


@pytest.mark.parametrize("chosen", [[40, 3, 17, 16, 41, 49, 5], [33, 34, 40]])
def test_only_the_chosen_rows_of_a_store_count(store, chosen):
    store, x = store
    found = from_store(store, np.array(chosen))
    assert found.n_rows == len(chosen)
    np.testing.assert_allclose(found.mean, x[chosen].mean(0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.correlation(), np.corrcoef(x[chosen].T), rtol=0, atol=1e-5)


def test_one_row_of_a_store_is_refused(store):
    with pytest.raises(UserError, match="at least 2 rows"):
        from_store(store[0], np.array([7]))


# Saving

IDENTITY = {"encoder": "tiny", "rows": [1, 2, 3], "nested": {"dtype": "float32"}}


@pytest.fixture
def saved(tmp_path):
    x = correlated_rows(40).astype(np.float32)
    x[:, 2] = 1
    found = from_blocks([x])
    moments.save(tmp_path / "moments.npz", found, IDENTITY)
    return tmp_path / "moments.npz", found


def assert_same(one, other):
    assert one.n_rows == other.n_rows
    for name in ("mean", "centred", "constant"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype


def test_saved_moments_come_back(saved):
    path, found = saved
    assert_same(moments.load(path, dict(reversed(IDENTITY.items()))), found)
    assert [file.name for file in path.parent.iterdir()] == ["moments.npz"]


def test_moments_of_something_else_are_not_loaded(saved):
    path, _ = saved
    for other in ({}, {**IDENTITY, "encoder": "large"}, {**IDENTITY, "nested": {}}, {**IDENTITY, "more": 1}):
        assert moments.load(path, other) is None


def test_saving_again_replaces(saved):
    path, _ = saved
    again = from_blocks([correlated_rows(30, seed=1).astype(np.float32)])
    moments.save(path, again, {"encoder": "large"})
    assert moments.load(path, IDENTITY) is None
    assert_same(moments.load(path, {"encoder": "large"}), again)


def test_a_missing_file_is_no_moments(tmp_path):
    assert moments.load(tmp_path / "moments.npz", IDENTITY) is None
    assert moments.load(tmp_path, IDENTITY) is None


def test_a_truncated_file_is_no_moments(saved):
    path, _ = saved
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert moments.load(path, IDENTITY) is None


def test_a_damaged_byte_is_no_moments_or_does_no_harm(saved):
    path, found = saved
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        loaded = moments.load(path, IDENTITY)
        if loaded is not None:
            assert_same(loaded, found)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an archive",
        b"PK\x03\x04" + b"\0" * 200,
        b"\x93NUMPY\x01\x00",
        npz(),
        npz(description=np.array("[]")),
        npz(description=np.array("no json")),
        npz(description=np.array("{}")),
        npz(description=np.array('{"identity": {"encoder": "tiny"}}')),
        npy(np.arange(3)),
    ],
    ids=["empty", "text", "zip head", "npy head", "no arrays", "a list", "no json", "no identity", "no rows", "npy"],
)
def test_garbage_is_no_moments(tmp_path, content):
    (tmp_path / "moments.npz").write_bytes(content)
    assert moments.load(tmp_path / "moments.npz", {"encoder": "tiny"}) is None


class Trap:
    """Leaves a trace where it is unpickled."""

    sprung = False

    def __reduce__(self):
        return (_spring, ())


def _spring():
    Trap.sprung = True


@pytest.mark.parametrize("name", ["description", "mean", "centred", "constant"])
def test_nothing_is_ever_unpickled(saved, name):
    path, _ = saved
    with np.load(path) as file:
        arrays = {**file, name: np.array([Trap()], dtype=object)}
    np.savez(path, **arrays)
    assert moments.load(path, IDENTITY) is None
    path.write_bytes(pickle.dumps(Trap()))
    assert moments.load(path, IDENTITY) is None
    assert not Trap.sprung
