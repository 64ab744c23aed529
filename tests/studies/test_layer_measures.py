import json

import numpy as np
import pytest
from scipy.stats import kendalltau

from jaxred.activations.in_memory import HiddenStates
from jaxred.activations.token_changes import TokenChanges
from jaxred.io.result_files import as_json
from jaxred.report.csv_tables import layer_tables
from jaxred.report.tables.layer_measures import layer_lines, layer_measures_table
from jaxred.statistics.neighbours import mutual_knn, two_nn
from jaxred.statistics.streaming import from_store, halves
from jaxred.studies.layer_measures import agreements, blocks, drop_order, layer_measures, pass_over
from jaxred.studies.results import LayerMeasures, OfHalves

N_ROWS, N_LAYERS, HIDDEN = 120, 4, 6


@pytest.fixture(scope="module")
def found():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(N_ROWS, N_LAYERS, HIDDEN)).astype(np.float32)
    x[:, 2] = x[:, 1]  # layer 2 is the identity
    x[:, 3] = x[:, 2] + 0.5 * x[:, 3]
    states = HiddenStates(x)
    return x, layer_measures(from_store(states), pass_over(states))


def test_measures_are_those_of_all_rows_and_of_the_halves_of_the_moments(found):
    x, result = found
    half = halves(np.arange(N_ROWS))
    parts = [x.astype(np.float64), x[half == 0].astype(np.float64), x[half == 1].astype(np.float64)]
    unit = [part / np.linalg.norm(part, axis=2, keepdims=True) for part in parts]
    cosines = [np.clip(np.einsum("rlh,rmh->rlm", u, u), -1, 1) for u in unit]
    expected = {
        "block_influence": [np.r_[np.nan, 1 - np.diagonal(c.mean(0), 1)] for c in cosines],
        "angular_distance": [(np.arccos(c) / np.pi).mean(0) for c in cosines],
        "mutual_knn": [mutual_knn(part) for part in parts],
        "intrinsic_dimension": [np.array([two_nn(part[:, i]) for i in range(N_LAYERS)]) for part in parts],
    }
    for name, values in expected.items():
        measure = (result.by_layer | result.by_pair)[name]
        for got, wanted in zip([measure.whole, *measure.halves], values, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=2e-6, err_msg=name)
    assert abs(result.by_layer["block_influence"].whole[2]) < 1e-6
    assert result.n_rows == result.n_sampled == N_ROWS


def test_every_measure_drops_the_identity_first_and_all_layers_in_time(found):
    _, result = found
    assert {order.measure: order.layers[0] for order in result.orders}.items() >= {
        name: 2 for name in ("block_influence", "angular_distance", "cka", "procrustes", "mutual_knn")
    }.items()
    assert all(sorted(order.layers) == [1, 2, 3] for order in result.orders)
    assert result.orders[-1].layers == [3, 2, 1]
    assert (result.blocks[0].first, result.blocks[0].last) == (2, 2)
    assert [(b.n_layers, b.last - b.first + 1) for b in result.blocks] == [(1, 1), (2, 2), (3, 3)]


def test_rows_are_chosen(found):
    x, _ = found
    rows = np.arange(0, N_ROWS, 2)
    chosen = pass_over(HiddenStates(x), rows)
    assert sum(sums.n_rows[0, 0] for sums in chosen.cosines) == len(rows)
    kept = np.concatenate(chosen.sample)
    np.testing.assert_array_equal(np.sort(kept[:, 0, 0]), np.sort(x[rows, 0, 0]))


def test_orders_leave_out_what_is_not_defined():
    costs = np.array([np.nan, 2, 1, 2.0])
    assert drop_order(costs) == [3, 4, 2]
    [agreement] = agreements({"a": costs, "b": np.array([1, 2, 3, 4.0])})
    assert agreement.tau == pytest.approx(kendalltau([2, 1, 2], [2, 3, 4]).statistic)
    assert agreement.overlap == np.mean([len({2} & {1}), len({2, 3} & {1, 2}) / 2])
    angular = np.array([[0, np.nan, np.nan], [np.nan, 0, 0.2], [np.nan, 0.2, 0]])
    assert [(b.first, b.last) for b in blocks(OfHalves(angular, []))] == [(2, 2)]


@pytest.mark.filterwarnings("error")
def test_two_rows_and_constant_layers_say_nothing_wrong():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    x[:, 0] = 1
    states = HiddenStates(x)
    result = layer_measures(from_store(states), pass_over(states))
    assert not result.by_pair["cka"].halves
    assert np.isnan(result.by_layer["intrinsic_dimension"].whole).all()
    assert "–" in layer_measures_table(result)


def test_is_the_same_after_json_and_has_lines_for_layers_and_pairs(found):
    _, result = found
    again = LayerMeasures.from_json(json.loads(as_json(result.to_json())))
    assert layer_measures_table(again) == layer_measures_table(result)
    tables = layer_tables(again)
    assert len(tables[""]) == N_LAYERS + 1
    assert len(tables["_pairs"]) == N_LAYERS**2 + 1
    assert all(len({len(line) for line in lines}) == 1 for lines in tables.values())
    lines = layer_lines(result)
    assert lines[1][1] == "–"
    assert len({len(line) for line in lines}) == 1
    assert [row["layer"] for row in result.rows()] == [0, 1, 2, 3]


def test_tokens_are_a_measure_of_their_own():
    states = HiddenStates(np.random.default_rng(0).normal(size=(30, 4, 6)).astype(np.float32))
    sums, rows = from_store(states), pass_over(states)
    influence = np.array([[0.1, 0.3, 0.2], [0.2, 0.3, 0.1]])
    tokens = TokenChanges(12, np.array([10, 30]), influence, influence / 2)
    found = layer_measures(sums, rows, tokens)
    measure = found.by_layer["block_influence_of_tokens"]
    np.testing.assert_allclose(measure.whole, [np.nan, 0.175, 0.3, 0.125])
    np.testing.assert_array_equal(measure.halves[1][1:], influence[1])
    assert next(each for each in found.orders if each.measure == "block_influence_of_tokens").layers == [3, 1, 2]
    assert found.n_sentences == 12
    without = layer_measures(sums, rows)
    assert "block_influence_of_tokens" not in without.by_layer
    assert without.n_sentences == 0
