"""Results as JSON and as frames."""

import json
import math

import numpy as np
import pytest
from helpers import small_study

from jaxred.io.result_files import as_json
from jaxred.runs.repeats import configs
from jaxred.studies import cluster_sweep, minimal_neurons, pipeline
from jaxred.studies.results import ClusterSweepResult, MinimalNeuronsResult, PipelineResult

STUDIES = {
    PipelineResult: (
        lambda features, c: pipeline.pipeline(
            features, lambda: small_study.correlation_of(features), c.probe, c.clustering, c.selection
        ),
        pipeline.together,
    ),
    ClusterSweepResult: (
        lambda features, c: cluster_sweep.cluster_sweep(
            features, small_study.correlation_of(features), c.probe, c.clustering
        ),
        cluster_sweep.together,
    ),
    MinimalNeuronsResult: (
        lambda features, c: minimal_neurons.minimal_neurons(features, c.probe, c.selection),
        minimal_neurons.together,
    ),
}


@pytest.fixture(scope="module", params=[(kind, n) for kind in STUDIES for n in (1, 2)], ids=str)
def result(request):
    kind, n_repeats = request.param
    run, together = STUDIES[kind]
    features = small_study.made_up_task()
    return together([run(features, config)[0] for config in configs(small_study.study_config(n_repeats))])


def test_a_result_is_what_its_file_says(result):
    written = json.loads(as_json(result.to_json()))
    again = type(result).from_json(written)
    assert json.loads(as_json(again.to_json())) == written
    assert again.oracle == result.oracle
    assert again.minimal_sets == result.minimal_sets
    with pytest.raises(ValueError, match="oracle"):
        type(result).from_json({**written, "oracle": 3})


def test_rows_hold_plain_numbers_and_the_oracle_first(result):
    rows = result.rows()
    oracle = result.oracle if result.repeats is None else result.repeats.oracle
    first = result.oracle.overall("test") if result.repeats is None else oracle.test.mean
    assert rows[0]["test"] == first
    assert rows[0]["n_neurons"] == small_study.N_NEURONS
    for row in rows:
        assert all(value is None or isinstance(value, str | float | int) for value in row.values())
        assert row["test_low"] <= row["test"] <= row["test_high"] or math.isclose(row["test_low"], row["test_high"])
    assert ("test_sd" in rows[0]) == (result.repeats is not None)


def test_frames_are_the_rows(result):
    pandas = pytest.importorskip("pandas")
    frame = result.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == len(result.rows())
    np.testing.assert_array_equal(frame["n_neurons"], [row["n_neurons"] for row in result.rows()])


def test_without_pandas_a_frame_says_what_is_missing(result, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ValueError, match=r"pip install 'jaxred\[frames\]'"):
        result.to_frame()
