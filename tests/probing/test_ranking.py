import json

import numpy as np
import pytest
from helpers.shared import ROOT
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxred.probing.ranking import STEPS, rank_neurons

GOLDEN = ROOT / "tests" / "golden"
PROBES = sorted(path.stem for path in GOLDEN.glob("probe_*.npz"))

# Whole numbers, whose sums are exact: the definition can then be followed without rounding. Ties and zeros abound.
whole_weights = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 4)),
    elements=st.integers(-6, 6).map(float) | st.just(0.0),
)


def carried(weights, numerator, denominator):
    """T(numerator / denominator) by the definition, in whole numbers."""
    chosen = set()
    for column in np.abs(weights).astype(int).T.tolist():
        descending = sorted(range(len(column)), key=lambda neuron: (-column[neuron], neuron))
        total, weight = sum(column), 0
        for neuron in descending:
            chosen.add(neuron)
            weight += column[neuron]
            if weight * denominator >= numerator * total:
                break
    return chosen


@pytest.mark.parametrize("name", PROBES)
def test_steps_are_the_originals(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        weights, ordering, cutoffs = file["W"].T, file["ordering"], file["cutoffs"]
    ranking = rank_neurons(weights)
    np.testing.assert_array_equal(ranking.cutoffs, cutoffs)
    assert sorted(ranking.order) == list(range(len(weights)))
    for cutoff in np.unique(cutoffs):  # the order inside one step is arbitrary in the original
        assert set(ranking.order[:cutoff]) == set(ordering[:cutoff])


@pytest.mark.parametrize("name", [name for name in PROBES if "classification" in name])
def test_top_neurons_by_mass_are_the_originals(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        weights = file["W"].T
    expected = json.loads((GOLDEN / f"{name}.json").read_text())["top_neurons_by_mass"]
    assert len(expected) == 7
    ranking = rank_neurons(weights)
    cutoffs = {mass: ranking.cutoffs[round(float(mass) * STEPS)] for mass in expected}
    assert {mass: sorted(ranking.order[:cutoff].tolist()) for mass, cutoff in cutoffs.items()} == expected


def test_the_originals_are_there():
    assert len(PROBES) == 7
    assert STEPS == 1000


@given(weights=whole_weights, steps=st.integers(1, 40))
@example(weights=np.zeros((5, 2), np.float32), steps=4)  # a class without any weight takes one neuron
@example(weights=np.array([[0, 3]], np.float32), steps=10)  # one neuron
@example(weights=np.array([[1], [1], [1], [1]], np.float32), steps=4)  # ties at exactly each mass
@example(weights=np.array([[2, 0], [0, 0], [0, 1], [0, 0]], np.float32), steps=3)  # neurons that carry nothing
@example(weights=np.array([[3], [7]], np.float32), steps=40)  # 0.7 of 10 is exactly the first neuron
@example(weights=np.array([[15], [12], [12], [11]], np.float32), steps=40)  # 0.3 of 50 is the first, as exactly
def test_every_step_is_what_the_definition_says(weights, steps):
    ranking = rank_neurons(weights, steps)
    assert len(ranking.cutoffs) == steps + 1
    assert sorted(ranking.order) == list(range(len(weights)))
    listed = set()
    for i, cutoff in enumerate(ranking.cutoffs):
        listed |= carried(weights, i, steps)
        assert set(ranking.order[:cutoff]) == listed
        assert len(listed) == cutoff


@given(weights=whole_weights, steps=st.integers(1, 40))
@example(weights=np.array([[3], [2]], np.float32), steps=2)
def test_inside_a_step_the_largest_share_comes_first_then_the_lower_position(weights, steps):
    ranking = rank_neurons(weights, steps)
    totals = np.abs(weights).sum(0)
    shares = np.max(np.abs(weights) / np.where(totals > 0, totals, 1), axis=1)
    for step in np.split(ranking.order, np.unique(ranking.cutoffs)):
        assert step.tolist() == sorted(step, key=lambda neuron: (-shares[neuron], neuron))


def test_the_signs_of_weights_and_the_order_of_classes_do_not_matter():
    weights = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    ranking = rank_neurons(weights)
    for same in (-weights, np.abs(weights), weights[:, ::-1]):
        np.testing.assert_array_equal(rank_neurons(same).order, ranking.order)
        np.testing.assert_array_equal(rank_neurons(same).cutoffs, ranking.cutoffs)


def test_a_heavier_neuron_comes_first():
    assert rank_neurons(np.array([[1], [-8], [4], [2]], np.float32)).order.tolist() == [1, 2, 3, 0]
    assert rank_neurons(np.array([[1, 0], [8, 0], [0, 9], [0, 0.5]], np.float32)).order.tolist() == [2, 1, 0, 3]


def test_no_neurons_are_ranked_as_none():
    ranking = rank_neurons(np.zeros((0, 3), np.float32))
    assert ranking.order.tolist() == []
    assert ranking.cutoffs.tolist() == [0] * 1001
    assert rank_neurons(np.zeros((0, 3), np.float32), steps=4).cutoffs.tolist() == [0] * 5


def test_one_neuron_is_listed_from_the_start():
    ranking = rank_neurons(np.array([[0.5, -2]], np.float32))
    assert ranking.order.tolist() == [0]
    assert (ranking.cutoffs == 1).all()


def test_the_weights_are_left_as_they_are():
    weights = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    before = weights.copy()
    rank_neurons(weights)
    np.testing.assert_array_equal(weights, before)
