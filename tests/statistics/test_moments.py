import io
import pickle

import jax
import numpy as np
import pytest
from helpers.made_up_rows import HIDDEN_SIZE, KINDS, N_LAYERS, N_NEURONS, N_ROWS, correlated_rows, moments_of

from jaxred.statistics import moments
from jaxred.statistics.moments import Moments
from jaxred.statistics.streaming import Accumulator, from_blocks


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


def rounding(n_rows):
    """What a float32 sum of so many terms may be off by, relative to their scale: roundings add up like random steps.

    Whatever the order of adding, and so on every processor; at least 10 for what the terms were rounded by before.
    """
    return np.finfo(np.float32).eps * max(np.sqrt(n_rows), 10)


def test_means_and_centred_products_are_those_of_float64(rows):
    """Each neuron's to its own scale: its deviation, and the one rounding of the mean itself."""
    found = moments_of(rows)
    mean = rows.mean(0, dtype=np.float64)
    centred = rows.astype(np.float64) - mean
    products = centred.T @ centred
    assert found.n_rows == len(rows)
    allowed = rounding(len(rows)) * centred.std(0) + np.finfo(np.float32).eps * np.abs(mean)
    assert (np.abs(found.mean - mean) <= allowed).all()
    scale = np.sqrt(np.outer(np.diagonal(products), np.diagonal(products)))
    assert (np.abs(found.centred() - products) / scale).max() < rounding(len(rows))
    assert not found.constant.any()


def test_correlations_are_those_of_float64(rows):
    correlation = moments_of(rows).correlation()
    np.testing.assert_allclose(correlation, np.corrcoef(rows.astype(np.float64).T), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(correlation, correlation.T)
    np.testing.assert_array_equal(np.diagonal(correlation), 1)
    assert np.abs(correlation).max() <= 1


def test_copies_of_a_neuron_correlate_by_at_most_1():
    scales = np.random.default_rng(0).normal(size=N_NEURONS)
    correlation = moments_of((correlated_rows()[:, :1] * scales).astype(np.float32)).correlation()
    assert np.abs(correlation).max() <= 1
    np.testing.assert_allclose(correlation, np.sign(np.outer(scales, scales)), rtol=0, atol=1e-5)


def test_cka_is_that_of_float64(rows):
    cka = moments_of(rows).cka()
    layers = [layer_of(rows, i) for i in range(N_LAYERS)]
    expected = [[reference_cka(x, y) for y in layers] for x in layers]
    np.testing.assert_allclose(cka, expected, rtol=0, atol=1e-5)


# Constant neurons


@pytest.fixture(scope="module")
def with_constants():
    """Neurons 1 and 6 are constant; 0.1 has no exact float32, so that its mean is not the value itself."""
    x = correlated_rows().astype(np.float32)
    x[:, [1, 6]] = np.float32(0.1), np.float32(-1234.567)
    return x, moments_of(x[:7], x[7:])


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
        np.testing.assert_array_equal(found.centred()[neuron], 0)
        np.testing.assert_array_equal(found.centred()[:, neuron], 0)
    expected = np.corrcoef(x[:, others].astype(np.float64).T)
    np.testing.assert_allclose(correlation[np.ix_(others, others)], expected, rtol=0, atol=1e-5)


def test_a_neuron_that_changes_once_is_not_constant():
    x = correlated_rows().astype(np.float32)
    x[:, 3] = 1
    x[-1, 3] = 1.001
    found = moments_of(x)
    assert not found.constant.any()
    assert found.centred()[3, 3] > 0


@pytest.mark.parametrize(("deviation", "dead"), [(1e-32, True), (3e-19, True), (3e-18, False), (1e-9, False)])
def test_a_neuron_whose_squares_float32_cannot_hold_counts_as_constant(deviation, dead):
    """As MiniLM has: values of 1e-32, whose correlation in float64 is of what dead neurons share."""
    x = correlated_rows()
    x[:, 3] = (x[:, 0] + x[:, 3]) * np.float32(deviation / (x[:, 0] + x[:, 3]).std())
    found = moments_of(x)
    assert np.flatnonzero(found.constant).tolist() == ([3] if dead else [])
    expected = np.corrcoef(x.T.astype(np.float64))
    if dead:
        expected[3], expected[:, 3] = 0, 0
        expected[3, 3] = 1
    np.testing.assert_allclose(found.correlation(), expected, atol=2e-6)


def test_a_layer_of_constants_has_no_cka():
    x = correlated_rows().astype(np.float32)
    x[:, :HIDDEN_SIZE] = 0.3
    cka = moments_of(x).cka()
    assert np.isnan(cka[0]).all()
    assert np.isnan(cka[:, 0]).all()
    expected = reference_cka(layer_of(x, 1), layer_of(x, 2))
    np.testing.assert_allclose(cka[1:, 1:], [[1, expected], [expected, 1]], rtol=0, atol=1e-5)


# CKA


def test_cka_of_the_known_example():
    state = np.random.RandomState(1337)
    x = state.randn(100, 10)
    y = state.randn(100, 10) + x
    cka = moments_of(np.concatenate([x, y], axis=1).astype(np.float32), n_layers=2).cka()
    assert cka.shape == (2, 2)
    assert cka[0, 1] == pytest.approx(0.55761, abs=1e-5)


def test_cka_is_symmetric_and_1_on_its_diagonal(rows):
    cka = moments_of(rows).cka()
    np.testing.assert_allclose(np.diagonal(cka), 1, rtol=0, atol=1e-6)
    np.testing.assert_allclose(cka, cka.T, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_cka_sees_neither_rotations_nor_scale_nor_place(seed):
    x = correlated_rows(seed=seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(HIDDEN_SIZE, HIDDEN_SIZE)))
    changed = np.concatenate([layer_of(x, 0) @ rotation, 50 * layer_of(x, 1), layer_of(x, 2) - 3], axis=1)
    cka, same = (moments_of(a.astype(np.float32)).cka() for a in (x, changed))
    np.testing.assert_allclose(same, cka, rtol=0, atol=1e-5)
    assert cka[0, 1] < 0.99
    turned = np.concatenate([layer_of(x, 0), 7 * layer_of(x, 0) @ rotation, layer_of(x, 2)], axis=1)
    assert moments_of(turned.astype(np.float32)).cka()[0, 1] == pytest.approx(1, abs=1e-5)


def reference_debiased(x, y):
    """With the unbiased estimator of HSIC (Song et al. 2007), from the rows' kernels, in float64."""

    def hsic(one, other):
        k, m = (a.astype(np.float64) - a.mean(0, dtype=np.float64) for a in (one, other))
        k, m = k @ k.T, m @ m.T
        np.fill_diagonal(k, 0)
        np.fill_diagonal(m, 0)
        n = len(k)
        crossed = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()
        return (np.sum(k * m) + crossed) / (n * (n - 3))

    return hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


@pytest.mark.parametrize("n_rows", [6, 50, 700])
@pytest.mark.parametrize("kind", ["plain", "mean 1e3"])
def test_debiased_cka_is_that_of_the_rows_kernels(kind, n_rows):
    x = KINDS[kind]()[:n_rows].astype(np.float32)
    layers = [layer_of(x, i) for i in range(N_LAYERS)]
    expected = [[reference_debiased(a, b) for b in layers] for a in layers]
    np.testing.assert_allclose(moments_of(x[:5], x[5:]).cka(debiased=True), expected, rtol=0, atol=1e-5)


def test_debiased_cka_of_unrelated_layers_is_near_zero():
    """Where the plain one is high, since there are few rows of many neurons."""
    x = np.random.default_rng(0).normal(size=(64, 3 * 128)).astype(np.float32)
    found = moments_of(x)
    assert found.cka()[0, 1] > 0.5
    assert abs(found.cka(debiased=True)[0, 1]) < 0.05


def test_debiased_cka_needs_4_rows():
    assert np.isnan(moments_of(correlated_rows(3).astype(np.float32)).cka(debiased=True)).all()


# Places


@pytest.mark.parametrize("at_most", [1, 3, 5, 11])
@pytest.mark.parametrize("rows_at_once", [1, 2, 1024])
def test_where_products_stand_changes_nothing(monkeypatch, at_most, rows_at_once):
    """Not even where a layer is cut."""
    x = correlated_rows(100).astype(np.float32)
    x[:, 3] = 1
    whole = figures(moments_of(x)), figures(moments_of(x).without(np.array([0, 7])))
    monkeypatch.setattr(moments, "LARGEST_SQUARE", at_most)
    monkeypatch.setattr(moments, "_ROWS_AT_ONCE", rows_at_once)
    sums = from_blocks([x], N_LAYERS)
    assert len(sums.products) > 1
    for cut in (Moments.of(sums), Moments.of(sums.around(x.mean(0) + 1))):
        for found, expected in zip((figures(cut), figures(cut.without(np.array([0, 7])))), whole, strict=True):
            for array, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(array, other, rtol=0, atol=1e-6)


def figures(found):
    """Out of moments; not these themselves, which may stand elsewhere."""
    return found.correlation(), found.cka(), found.cka(debiased=True), np.sqrt(found.variance())


def test_sums_of_parts_add_up():
    x = KINDS["mean 1e3"]().astype(np.float32)
    accumulator = Accumulator(x[:10].mean(0), N_LAYERS, n_parts=2)
    accumulator.add(x[:900], 1)
    accumulator.add(x[900:], 0)
    first, second = accumulator.sums()
    assert (first.n_rows, second.n_rows) == (N_ROWS - 900, 900)
    np.testing.assert_array_equal((first + second).rows.low, x.min(0))
    np.testing.assert_array_equal((first + second).rows.high, x.max(0))
    found, whole = Moments.of(first + second), moments_of(x)
    np.testing.assert_allclose(found.correlation(), whole.correlation(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.cka(debiased=True), whole.cka(debiased=True), rtol=0, atol=1e-6)
    assert not found.constant.any()
    with pytest.raises(ValueError, match="different shifts"):
        first + from_blocks([x], N_LAYERS)


def test_variances_are_those_of_float64(rows):
    expected = rows.var(0, dtype=np.float64, ddof=1)
    np.testing.assert_allclose(moments_of(rows).variance(), expected, rtol=1e-5)


# Saving

IDENTITY = {"encoder": "tiny", "rows": [1, 2, 3], "nested": {"dtype": "float32"}}


@pytest.fixture
def saved(tmp_path):
    x = correlated_rows(40).astype(np.float32)
    x[:, 2] = 1
    found = from_blocks([x], N_LAYERS)
    moments.save(tmp_path / "moments.npz", [found, found + found], IDENTITY)
    return tmp_path / "moments.npz", found


def assert_same(loaded, one, runs=None):
    """That what was loaded is the sums, and their double."""
    (first, second), n_runs = loaded
    assert n_runs == runs
    for mine, expected in ((first, one), (second, one + one)):
        jax.tree.map(np.testing.assert_array_equal, (mine.shift, *mine.rows), (expected.shift, *expected.rows))
        for product, other in zip(mine.products, expected.products, strict=True):
            np.testing.assert_array_equal(product, other)
            assert product.dtype == other.dtype


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
    again = from_blocks([correlated_rows(30, seed=1).astype(np.float32)], N_LAYERS)
    moments.save(path, [again, again + again], {"encoder": "large"}, n_runs=7)
    assert moments.load(path, IDENTITY) is None
    assert_same(moments.load(path, {"encoder": "large"}), again, runs=7)


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
    for position in range(0, len(whole), 3):  # 3 divides the width of no field
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


@pytest.mark.parametrize("name", ["description", "shift", "0.total", "1.product.0"])
def test_nothing_is_ever_unpickled(saved, name):
    path, _ = saved
    with np.load(path) as file:
        arrays = {**file, name: np.array([Trap()], dtype=object)}
    np.savez(path, **arrays)
    assert moments.load(path, IDENTITY) is None
    path.write_bytes(pickle.dumps(Trap()))
    assert moments.load(path, IDENTITY) is None
    assert not Trap.sprung


# Sums of several passes


def arrays_of(sums):
    return [np.asarray(array) for array in (*sums.rows, *sums.products)]


def test_sums_around_another_shift_are_those_that_were_shifted_so():
    x = correlated_rows(400).astype(np.float32) + 5
    shifts = [x.mean(0), x.mean(0) + np.linspace(-2, 2, N_NEURONS, dtype=np.float32)]
    found = []
    for shift in shifts:
        accumulator = Accumulator(shift, N_LAYERS)
        accumulator.add(x)
        found += accumulator.sums()
    for mine, other in (found, found[::-1]):
        moved = mine.around(other.shift)
        for array, wanted, source in zip(arrays_of(moved), arrays_of(other), arrays_of(mine), strict=True):
            scale = max(np.abs(wanted).max(), np.abs(source).max())  # sums round to the float32 of the larger
            np.testing.assert_allclose(array, wanted, rtol=0, atol=2e-6 * scale)
        np.testing.assert_array_equal(moved.shift, other.shift)
        assert moved.n_rows == 400
        assert {value.dtype for value in (*moved.rows, *moved.products)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("apart", [0, 3, 300])
def test_the_rows_of_two_passes_pooled_are_as_those_of_one(apart, debiased):
    """Of which the one of more rows gives the shift."""
    one, other = correlated_rows(1500), correlated_rows(300, seed=1)
    other = other * 2 + apart * np.linspace(-1, 1, N_NEURONS)
    one, other = one.astype(np.float32), other.astype(np.float32)
    first, second = (from_blocks([x], N_LAYERS) for x in (one, other))
    pooled = Moments.of(first + second.around(first.shift))
    whole = np.concatenate([one, other]).astype(np.float64)
    assert pooled.n_rows == 1800
    np.testing.assert_allclose(pooled.correlation(), np.corrcoef(whole.T), rtol=0, atol=1e-5)
    np.testing.assert_allclose(pooled.cka(debiased), moments_of(one, other).cka(debiased), rtol=0, atol=1e-5)


def test_no_flipped_bit_or_cut_is_read_as_other_sums(tmp_path, caplog):
    rows = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    sums, file = from_blocks([rows], 2), tmp_path / "train.npz"
    moments.save(file, [sums], {"of": "rows"})
    whole, rng = file.read_bytes(), np.random.default_rng(1)
    for trial in range(300):
        at = int(rng.integers(len(whole)))
        changed = whole[:at] if trial % 10 == 0 else whole[:at] + bytes([whole[at] ^ 1 << trial % 8]) + whole[at + 1 :]
        file.write_bytes(changed)
        caplog.clear()
        found = moments.load(file, {"of": "rows"})
        assert (found is None) == (f"{file} is damaged" in caplog.text)
        assert found is None or moments.damage(file) is None
        if found is not None:
            assert [bytes(product) for product in found[0][0].products] == [bytes(product) for product in sums.products]
            np.testing.assert_array_equal(found[0][0].shift, sums.shift)


def test_moments_say_what_they_are_of():
    moments = moments_of(correlated_rows().astype(np.float32))
    assert repr(moments) == f"<Moments of {N_ROWS:,} rows: {N_LAYERS} layers x {HIDDEN_SIZE} neurons>"
