import numpy as np
import pytest

from jaxred.activations.store import Ledger, Store, StoreWriter
from jaxred.activations.store.side_by_side import SideBySide
from jaxred.errors import UserError
from jaxred.statistics.moments import Moments
from jaxred.statistics.streaming import from_store

N_ROWS = 700


def store(folder, values, window_rows=512, words=None, sentences=None, **identity):
    rows = "sentence" if words is None else "word"
    ledger = Ledger({"source": "text", **identity}, *values.shape, "float32", window_rows, [], rows=rows)
    sentences = np.arange(len(values), dtype=np.int32) if sentences is None else sentences
    writer = StoreWriter(folder, ledger, np.zeros(len(values)), sentences, False, words)
    for index in range(ledger.n_windows):
        writer.write(index, values[ledger.window(index)].astype(np.float32))
    writer.flush()
    return Store(folder)


def two_models(seed=0):
    """2 layers of 6 neurons, the second far from zero, and 3 layers of 4, of which one repeats the first model's."""
    draw = np.random.default_rng(seed)
    one, other = draw.normal(size=(N_ROWS, 2, 6)), draw.normal(size=(N_ROWS, 3, 4))
    one[:, 1] += 1e3
    one[:, 0, 2] *= 30
    other[:, 1] += one[:, 0, :4]
    return one.astype(np.float32), other.astype(np.float32)


def reference(x, y, debiased):
    """CKA of two layers by the definition with kernels, in float64 (Kornblith et al. 2019; Song et al. 2007)."""

    def hsic(a, b):
        k, l = (z @ z.T for z in (a, b))  # noqa: E741
        n = len(k)
        if not debiased:
            centre = np.eye(n) - 1 / n
            return np.trace(centre @ k @ centre @ l)
        np.fill_diagonal(k, 0)
        np.fill_diagonal(l, 0)
        return np.sum(k * l) + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) @ l.sum(0))

    x, y = (z.astype(np.float64) - z.mean(0, dtype=np.float64) for z in (x, y))
    return hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


@pytest.mark.parametrize("debiased", [False, True])
def test_cka_between_the_layers_of_two_models_is_that_of_float64(debiased, tmp_path):
    one, other = two_models()
    both = SideBySide(store(tmp_path / "one", one), store(tmp_path / "other", other, window_rows=300))
    rows = np.random.default_rng(1).permutation(N_ROWS)[:600]
    first, second = from_store(both, rows)  # type: ignore[arg-type]
    found = Moments.of(first + second)
    assert found.n_rows == 600
    expected = [[reference(one[rows, a], other[rows, b], debiased) for b in range(3)] for a in range(2)]
    np.testing.assert_allclose(found.cka(debiased)[:2, 2:], expected, rtol=0, atol=1e-5)
    own = reference(other[rows, 0], other[rows, 1], debiased)
    np.testing.assert_allclose(found.cka(debiased)[2, 3], own, rtol=0, atol=1e-5)


def test_the_narrower_model_is_filled_up_with_constants(tmp_path):
    one, other = two_models()
    both = SideBySide(store(tmp_path / "one", one), store(tmp_path / "other", other))
    first, second = from_store(both)
    found = Moments.of(first + second)
    assert (both.n_layers, both.hidden_size) == (5, 6)
    np.testing.assert_array_equal(both.real, ~found.constant)
    whole = np.concatenate([one.reshape(N_ROWS, -1), other.reshape(N_ROWS, -1)], axis=1)
    correlation = found.correlation()[np.ix_(both.real, both.real)]
    np.testing.assert_allclose(correlation, np.corrcoef(whole.T.astype(np.float64)), rtol=0, atol=1e-5)


def test_runs_of_rows_are_the_same_from_any_start(tmp_path):
    one, other = two_models()
    both = SideBySide(store(tmp_path / "one", one, 100), store(tmp_path / "other", other, 512))
    every = list(both.windows())
    assert np.concatenate([np.arange(N_ROWS)[rows] for rows, _ in every]).tolist() == list(range(N_ROWS))
    for (rows, block), (again, same) in zip(every[1::2], both.windows(1, 2), strict=True):
        assert rows == again
        np.testing.assert_array_equal(block, same)
        np.testing.assert_array_equal(block[:, :2], one[rows])
        np.testing.assert_array_equal(block[:, 2:, :4], other[rows])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "another"}, "are not of the same text"),
        ({"source": None}, "other does not say which text its rows are of"),
        ({"sentences": np.arange(N_ROWS, dtype=np.int32) // 2}, "not of the same rows"),
        ({"words": np.zeros(N_ROWS, np.int32)}, "not of the same rows .* sentences and 700 words"),
    ],
)
def test_other_rows_are_refused(changes, said, tmp_path):
    one, other = two_models()
    with pytest.raises(UserError, match=said):
        SideBySide(store(tmp_path / "one", one), store(tmp_path / "other", other, **changes))


def test_fewer_rows_are_refused(tmp_path):
    one, other = two_models()
    with pytest.raises(UserError, match="not of the same rows"):
        SideBySide(store(tmp_path / "one", one), store(tmp_path / "other", other[:-1]))


def test_words_of_other_positions_are_refused(tmp_path):
    one, other = two_models()
    words = [np.full(N_ROWS, place, np.int32) for place in (0, 1)]
    with pytest.raises(UserError, match="not of the same rows"):
        SideBySide(store(tmp_path / "one", one, words=words[0]), store(tmp_path / "other", other, words=words[1]))
