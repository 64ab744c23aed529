"""The largest and smallest rows and groups, against plain loops in float64."""

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
from helpers import small_store

from jaxred.activations.in_memory import HiddenStates
from jaxred.statistics import extremes as module
from jaxred.statistics.extremes import extremes

NEURONS = np.array([[2, 4], [0, 1], [1, 0], [2, 0]])  # the third is constant, the last has ties
N_ROWS, N_CLASSES = 97, 4


@pytest.fixture(autouse=True)
def several_windows(monkeypatch):
    monkeypatch.setattr(module, "READ_ROWS", 10)


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(N_ROWS, 3, 5)).astype(np.float32)
    values[:, 1, 0] = 0.1
    values[:, 2, 0] = rng.integers(0, 3, N_ROWS)
    values[:, 0, 1] += 1000  # far from 0, so that sums of squares would cancel
    classes = rng.integers(0, N_CLASSES - 1, N_ROWS)  # the last class has no row
    classes[50] = 2
    words = [f"é{number}" for number in rng.integers(0, 20, N_ROWS)]
    words[7], words[60] = "", "once"
    numbers = {}
    groups = np.array([numbers.setdefault(word, len(numbers)) for word in words])
    return values, classes, groups


def columns(values):
    return [[float(row[layer, index]) for row in values] for layer, index in NEURONS]


def best(entries, k, sign):
    """The first k of (mean, first row, deviation, count); means are exact, so that ties are."""
    return sorted(entries, key=lambda entry: (sign * entry[0], entry[1]))[:k]


def groups_of(column, groups, rows, min_count):
    members = {}
    for row in rows:
        members.setdefault(groups[row], []).append(row)
    entries = []
    for mine in members.values():
        inside = [column[row] for row in mine]
        if len(mine) >= min_count:
            mean = sum(map(Fraction, inside)) / len(inside)
            entries.append((mean, mine[0], statistics.pstdev(inside), len(mine)))
    return entries


def assert_top(top, number, expected, scale):
    n = len(expected)
    assert top.rows[number, :n].tolist() == [entry[1] for entry in expected]
    assert top.counts[number, :n].tolist() == [entry[3] for entry in expected]
    means = [float(entry[0]) for entry in expected]
    np.testing.assert_allclose(top.means[number, :n], means, rtol=1e-12, atol=1e-12 * scale)
    np.testing.assert_allclose(top.deviations[number, :n], [entry[2] for entry in expected], atol=1e-7 * scale)
    assert (top.rows[number, n:] == -1).all()
    assert np.isnan(top.means[number, n:]).all()


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize(("k", "min_count"), [(3, 3), (200, 1)])
def test_they_are_those_of_plain_loops(data, grouped, k, min_count):
    values, classes, groups = data
    ids = groups if grouped else np.arange(N_ROWS)
    found = extremes(
        HiddenStates(values), NEURONS, classes, N_CLASSES, groups if grouped else None, None, k, k, min_count
    )
    fewest = min_count if grouped else 1
    for number, column in enumerate(columns(values)):
        scale = max(map(abs, column))
        assert found.means[number] == pytest.approx(math.fsum(column) / N_ROWS, rel=1e-12)
        assert found.deviations[number] == pytest.approx(statistics.pstdev(column), rel=1e-9, abs=0)
        for sign, name in ((-1, "largest"), (1, "smallest")):
            expected = best(groups_of(column, ids, range(N_ROWS), fewest), k, sign)
            assert_top(getattr(found, name), number, expected, scale)
            for label in range(N_CLASSES):
                mine = [row for row in range(N_ROWS) if classes[row] == label]
                assert found.class_counts[label] == len(mine)
                expected = best(groups_of(column, ids, mine, fewest), k, sign)
                assert_top(getattr(found, f"{name}_of_class")[label], number, expected, scale)
                if mine:
                    inside = [column[row] for row in mine]
                    assert found.class_means[label, number] == pytest.approx(math.fsum(inside) / len(mine), rel=1e-12)
                    spread = statistics.pstdev(inside)
                    assert found.class_deviations[label, number] == pytest.approx(spread, rel=1e-9, abs=1e-12 * scale)
                else:
                    assert np.isnan(found.class_means[label, number])


def test_a_constant_neuron_has_a_deviation_of_exactly_0(data):
    values, classes, groups = data
    found = extremes(HiddenStates(values), NEURONS, classes, N_CLASSES, groups)
    assert found.deviations[2] == 0
    assert (found.class_deviations[:3, 2] == 0).all()


def test_ties_are_in_the_order_of_rows(data):
    values, classes, _ = data
    found = extremes(HiddenStates(values), NEURONS, classes, N_CLASSES, k=5)
    tied = np.flatnonzero(values[:, 2, 0] == 2)
    assert found.largest.rows[3].tolist() == tied[:5].tolist()


def test_correlation_with_scores(data):
    values, _, _ = data
    scores = np.random.default_rng(0).normal(size=N_ROWS) + values[:, 2, 4]
    found = extremes(HiddenStates(values), NEURONS, np.zeros(N_ROWS, int), 1, scores=scores)
    assert found.correlations is not None
    for number in (0, 1, 3):
        expected = np.corrcoef(np.float64(values[:, NEURONS[number, 0], NEURONS[number, 1]]), scores)[0, 1]
        assert found.correlations[number] == pytest.approx(expected, abs=1e-9)
    assert np.isnan(found.correlations[2])


def test_a_store_gives_what_its_array_does(tmp_path):
    store = small_store.write_store(tmp_path / "store")
    neurons, classes = np.array([[0, 1], [2, 3]]), small_store.CLASSES.astype(np.int64)
    from_store = extremes(store, neurons, classes, 3, k=2)
    from_array = extremes(HiddenStates(small_store.VALUES), neurons, classes, 3, k=2)
    np.testing.assert_array_equal(from_store.largest.rows, from_array.largest.rows)
    np.testing.assert_array_equal(from_store.class_means, from_array.class_means)
    assert from_store.largest.means[1, 0] == small_store.VALUES[:, 2, 3].max()


def test_one_row():
    found = extremes(HiddenStates(np.ones((1, 1, 2), np.float32)), np.array([[0, 1]]), np.zeros(1, int), 1, k=2)
    assert found.largest.rows.tolist() == [[0, -1]]
    assert found.deviations.tolist() == [0]


def test_sums_that_do_not_fit_are_rejected(data, monkeypatch):
    values, classes, groups = data
    monkeypatch.setattr(module, "available_bytes", lambda: 100)
    with pytest.raises(ValueError, match="name fewer neurons"):
        extremes(HiddenStates(values), NEURONS, classes, N_CLASSES, groups)
