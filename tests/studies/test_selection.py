import numpy as np
import pytest
from helpers import small_study
from hypothesis import given
from hypothesis import strategies as st

from jaxred import config
from jaxred.studies.minimal_neurons import minimal_neurons
from jaxred.studies.selection import (
    CCFS_FRACTIONS,
    RULES,
    accepted,
    minimal_set_size,
    minimal_set_sizes,
    select_layer,
)

SIZES_9984 = (
    *(9, 19, 29, 39, 49),
    *(99, 199, 299, 399, 499, 599, 698, 798, 898, 998),
    *(1497, 1996, 2496, 2995, 3494, 3993, 4492, 4992),
    *(5990, 6988, 7987, 8985),
)


def test_a_score_must_be_more_than_the_reference_less_delta_percent():
    assert accepted(0.9701, 1.0, 3.0)
    assert not accepted(0.97, 1.0, 3.0)  # equal is not enough
    assert not accepted(0.9699, 1.0, 3.0)
    assert not accepted(0.8, 0.8, 0.0)
    assert accepted(0.8000001, 0.8, 0.0)
    assert accepted(1e-9, 0.8, 100.0)
    assert not accepted(0.0, 0.8, 100.0)


def test_a_negative_reference_is_moved_towards_zero():
    """To the letter of the rule: less than delta percent of -0.5 given up is a score above -0.495."""
    assert not accepted(-0.5, -0.5, 1.0)
    assert not accepted(-0.495, -0.5, 1.0)
    assert accepted(-0.49, -0.5, 1.0)
    assert accepted(0.2, -0.5, 1.0)
    assert select_layer([-0.5, -0.496, -0.4, 0.3], -0.5, 1.0) == 2
    assert minimal_set_size({5: -0.6, 9: -0.4}, -0.5, 1.0, 20) == 9


@pytest.mark.parametrize(("delta", "layer"), [(0.0, 3), (1.0, 2), (2.0, 2), (3.0, 1), (12.0, 0)])
def test_the_smallest_layer_that_does_almost_as_well_is_selected(delta, layer):
    assert select_layer([0.8, 0.88, 0.895, 0.905, 0.89], 0.9, delta) == layer


def test_a_later_dip_does_not_matter():
    assert select_layer([0.1, 0.95, 0.2, 0.9], 0.9, 1.0) == 1


def test_without_an_accepted_layer_the_last_is_selected():
    assert select_layer([0.5, 0.6, 0.7], 0.9, 1.0) == 2
    assert select_layer([0.5], 0.9, 1.0) == 0
    assert select_layer([0.97, 0.97], 1.0, 3.0) == 1
    assert select_layer([0.0, 0.0, 0.0], 0.0, 3.0) == 2


def test_the_original_tries_27_sizes():
    assert len(SIZES_9984) == len(CCFS_FRACTIONS) == 27
    assert minimal_set_sizes(9984, 9984) == list(SIZES_9984)


def test_larger_sizes_than_the_set_are_skipped_and_its_own_size_is_not():
    assert minimal_set_sizes(9984, 199) == [9, 19, 29, 39, 49, 99, 199]
    assert minimal_set_sizes(9984, 198) == [9, 19, 29, 39, 49, 99]
    assert minimal_set_sizes(9984, 8) == []


def test_equal_sizes_are_tried_once():
    assert minimal_set_sizes(20, 20) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18]
    assert minimal_set_sizes(1, 1) == [0]


@given(
    n=st.integers(1, 20_000),
    share=st.floats(0, 1),
    fractions=st.lists(st.floats(0, 1), max_size=30).map(sorted) | st.just(CCFS_FRACTIONS),
)
def test_sizes_are_whole_fractions_of_all_neurons_within_the_set(n, share, fractions):
    n_candidates = int(n * share)
    sizes = minimal_set_sizes(n, n_candidates, fractions)
    assert sizes == sorted(set(sizes))
    assert set(sizes) == {int(q * n) for q in fractions if int(q * n) <= n_candidates}


def test_the_smallest_accepted_size_is_the_minimal_set():
    scores = {99: 0.9, 9: 0.7, 49: 0.895, 19: 0.8901}  # in any order
    assert minimal_set_size(scores, 0.9, 1.0, 500) == 49
    assert minimal_set_size(scores, 0.9, 1.2, 500) == 19
    assert minimal_set_size({9: 0.9, 19: 0.5}, 0.9, 1.0, 500) == 9


def test_without_an_accepted_size_the_whole_set_is_minimal():
    assert minimal_set_size({9: 0.5, 19: 0.6}, 0.9, 1.0, 500) == 500
    assert minimal_set_size({9: 0.99}, 1.0, 1.0, 500) == 500
    assert minimal_set_size({}, 0.9, 1.0, 7) == 7


@given(
    scores=st.dictionaries(st.integers(0, 50), st.floats(-1, 1)),
    base=st.floats(-1, 1),
    delta=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_no_smaller_size_would_do(scores, base, delta):
    chosen = minimal_set_size(scores, base, delta, 51)
    enough = [size for size in scores if scores[size] > base * (1 - delta / 100)]
    assert chosen == min(enough, default=51)


# The one-standard-error rule


def test_one_standard_error_accepts_what_is_within_it_whatever_the_delta():
    accepts = RULES["one_standard_error"](0.02)
    for delta in (0.0, 50.0):
        assert accepts(0.78, 0.8, delta)
        assert accepts(0.9, 0.8, delta)
        assert not accepts(0.7799, 0.8, delta)
    assert select_layer([0.7, 0.781, 0.8], 0.8, 1.0, accepts) == 1
    assert minimal_set_size({5: 0.77, 9: 0.785, 20: 0.8}, 0.8, 0.0, 30, accepts) == 9


def test_the_papers_rule_does_not_look_at_the_standard_error():
    assert RULES["delta"](0.5) is accepted


def test_every_rule_is_a_choice_of_the_configuration():
    assert set(RULES) == set(config.RULES)


def test_a_study_selects_by_the_rule_that_is_asked_for():
    features = small_study.made_up_task()
    chosen = {}
    for rule in RULES:
        settings = small_study.study_config(rule=rule, search="full", fractions=tuple(np.linspace(0, 1, 25)))
        result, _ = minimal_neurons(features, settings.probe, settings.selection)
        accepts = RULES[rule](result.oracle.standard_error["dev"])
        reference, delta = result.oracle.overall("dev"), settings.selection.minimal_delta
        sizes = [k for k, scores in result.sizes.items() if accepts(scores.overall("dev"), reference, delta)]
        assert result.n_minimal == min(sizes, default=small_study.N_NEURONS)
        chosen[rule] = result.n_minimal
    assert chosen["one_standard_error"] <= chosen["delta"]
