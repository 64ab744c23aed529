import dataclasses
import json

import numpy as np
import pytest
from helpers.small_study import correlation_of, made_up_task, study_config

from jaxred.activations.in_memory import HiddenStates
from jaxred.io.result_files import as_json
from jaxred.report.tables.finetuning import before_after_lines
from jaxred.statistics.streaming import from_store
from jaxred.studies.before_after import BEST_LAYER, before_and_after
from jaxred.studies.layer_measures import layer_measures, pass_over
from jaxred.studies.pipeline import pipeline
from jaxred.studies.results import BeforeAfter


@pytest.fixture(scope="module")
def sides():
    """The pipeline on a task that layer 1 hardly knows, and on the same that it knows well."""
    config = study_config()
    results = []
    for signal in (0.1, 1.5):
        features = made_up_task(signal=signal)
        settings = config.probe, config.clustering, config.selection
        correlation = correlation_of(features)
        results.append(pipeline(features, lambda correlation=correlation: correlation, *settings)[0])
    return results


def test_sets_of_one_rule_are_next_to_each_other(sides):
    before, after = sides
    both = before_and_after(before, after)
    oracle = both.sets[0]
    assert oracle.rule == "Oracle"
    assert (oracle.before.test, oracle.after.test) == (before.oracle.overall("test"), after.oracle.overall("test"))
    assert oracle.after.share == 1
    assert both.layers["after"] == [scores.overall("test") for scores in after.independent]
    best = next(entry for entry in both.sets if entry.rule == BEST_LAYER)
    assert best.after.top_layer == max(range(3), key=lambda layer: after.independent[layer].overall("dev"))
    minimal = [entry for entry in both.sets if entry.rule == "LS + CCFS"]
    assert [entry.after.n_neurons for entry in minimal] == [choice.n_minimal for choice in after.selection]
    assert [entry.after.finding for entry in minimal] == [choice.finding for choice in after.selection]


def test_sets_that_are_in_one_alone_are_left_out(sides):
    before, after = sides
    fewer = dataclasses.replace(before, selection=before.selection[:1], layer_selection=[])
    rules = {(entry.rule, entry.delta) for entry in before_and_after(fewer, after).sets}
    assert rules == {("Oracle", ""), (BEST_LAYER, ""), ("LS + CCFS", "3/1")}


def test_a_result_file_gives_it_back(sides):
    both = before_and_after(*sides)
    import json

    assert BeforeAfter.from_json(json.loads(as_json(both.to_json()))) == both


def test_the_table_has_a_line_for_what_is_equal(sides):
    both = before_and_after(*sides)
    twice = dataclasses.replace(both.sets[-1], delta="9/9")
    lines = before_after_lines(dataclasses.replace(both, sets=[*both.sets, twice]))[0][0]
    assert lines[0][0] == ""
    assert any(f"{both.sets[-1].delta}, 9/9; {twice.clustering}" in line[0] for line in lines)
    assert len({tuple(line) for line in lines}) == len(lines)


def test_measures_of_layers_are_next_to_each_other(sides):
    measured = []
    for seed in (0, 1):
        states = HiddenStates(np.random.default_rng(seed).normal(size=(40, 3, 6)).astype(np.float32))
        measured.append(layer_measures(from_store(states), pass_over(states)))
    both = before_and_after(sides[0], sides[1], (measured[0], measured[1]))
    assert {*both.measures} == {*measured[0].by_layer, *measured[0].by_pair}
    rank = both.measures["effective_rank"]
    np.testing.assert_array_equal(rank.before.whole, measured[0].by_layer["effective_rank"].whole)
    cka = both.measures["cka"]
    np.testing.assert_array_equal(cka.after.whole[1:], np.diagonal(measured[1].by_pair["cka"].whole, 1))
    assert np.isnan(cka.after.whole[0])
    lines = before_after_lines(both)[1][0]
    assert lines[0][0] == "layer"
    assert len(lines) == 4
    again = BeforeAfter.from_json(json.loads(as_json(both.to_json())))
    np.testing.assert_array_equal(again.measures["cka"].after.whole, cka.after.whole)
    assert len(before_after_lines(before_and_after(*sides))) == 1
