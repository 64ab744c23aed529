"""Repeats against as many studies without repeats."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import small_study

from jaxred.experiments import repeats
from jaxred.experiments.cluster_sweep import cluster_sweep
from jaxred.experiments.minimal_neurons import minimal_neurons
from jaxred.experiments.pipeline import pipeline
from jaxred.families import layer_family
from jaxred.features import SPLITS
from jaxred.metrics import OVERALL
from jaxred.results import plain

N_REPEATS = 3
STUDIES = {
    "pipeline": lambda features, config: pipeline(
        features, lambda: small_study.correlation_of(features), config, small_study.hidden_bar()
    ),
    "cluster_sweep": lambda features, config: cluster_sweep(features, small_study.correlation_of(features), config),
    "minimal_neurons": lambda features, config: minimal_neurons(features, config, small_study.hidden_bar()),
}


def without_repeats(config, repeat, cluster_seed=True):
    """What repeat r is by definition."""
    mine = copy.deepcopy(config)
    mine.repeats = 1
    mine.probe.seed += repeat
    mine.clustering.seed += repeat if cluster_seed else 0
    return mine


@pytest.fixture(scope="module")
def features():
    return small_study.made_up_task()


@pytest.fixture(scope="module", params=sorted(STUDIES))
def study(request, features):
    """A study repeated three times, and three studies."""
    config = small_study.study_config(N_REPEATS)
    run = STUDIES[request.param]
    together, probes = run(features, config)
    singles = [run(features, without_repeats(config, repeat)) for repeat in range(N_REPEATS)]
    return request.param, together, probes, singles


def assert_spread(spread, runs):
    assert spread["runs"] == runs
    assert spread["mean"] == pytest.approx(np.mean(runs), rel=1e-12)
    assert spread["sd"] == pytest.approx(np.std(runs, ddof=1), rel=1e-12)


def assert_spread_of_scores(spread, entries):
    assert set(spread) == set(SPLITS)
    for split in SPLITS:
        assert_spread(spread[split], [entry[split][OVERALL] for entry in entries])


def test_the_first_repeat_is_the_study_without_repeats(study):
    _, together, probes, singles = study
    alone, probes_alone = singles[0]
    first, record, record_alone = dict(together), together["training"], alone["training"]
    assert first.pop("repeats")["n"] == N_REPEATS
    assert "repeats" not in alone
    assert plain({**first, "training": None}) == plain({**alone, "training": None})
    assert list(record) == list(record_alone) == list(probes) == list(probes_alone)
    for name, entry in record.items():
        np.testing.assert_allclose(entry["losses"], record_alone[name]["losses"], rtol=1e-5)
        assert entry["converged"] == record_alone[name]["converged"]
        np.testing.assert_array_equal(probes[name].columns, probes_alone[name].columns)
        np.testing.assert_allclose(probes[name].weights, probes_alone[name].weights, rtol=1e-4, atol=1e-5)


def test_every_repeat_is_a_study_of_its_own(study):
    name, together, _, singles = study
    spread, runs = together["repeats"], [content for content, _ in singles]
    assert spread["n"] == N_REPEATS
    assert_spread_of_scores(spread["oracle"], [run["oracle"] for run in runs])
    assert spread["oracle"]["train"]["sd"] > 0  # else the seeds would not be told apart
    if name == "cluster_sweep":
        assert len(spread["thresholds"]) == len(runs[0]["thresholds"]) == 3
        for i, entry in enumerate(spread["thresholds"]):
            assert_spread_of_scores(entry, [run["thresholds"][i]["scores"] for run in runs])
    if name == "minimal_neurons":
        assert_spread(spread["n_minimal"], [run["n_minimal"] for run in runs])
        assert_spread_of_scores(spread["minimal_scores"], [run["minimal_scores"] for run in runs])
    if name == "pipeline":
        for part in ("independent", "incremental"):
            for i, entry in enumerate(spread[part]):
                assert_spread_of_scores(entry, [run[part][i] for run in runs])
        for i, entry in enumerate(spread["layer_selection"]):
            mine = [run["layer_selection"][i] for run in runs]
            assert entry["delta"] == mine[0]["delta"]
            assert_spread(entry["top_layer"], [one["top_layer"] for one in mine])
            assert_spread_of_scores(entry["scores"], [one["scores"] for one in mine])
        assert len(spread["selection"]) == len(runs[0]["selection"]) == 4
        for i, entry in enumerate(spread["selection"]):
            mine = [run["selection"][i] for run in runs]
            for key in ("delta_layers", "delta_neurons", "threshold"):
                assert entry[key] == mine[0][key]
            for key in ("top_layer", "n_minimal", "n_candidates"):
                assert_spread(entry[key], [one[key] for one in mine])
            for key in ("base", "minimal_scores"):
                assert_spread_of_scores(entry[key], [one[key] for one in mine])


@pytest.mark.parametrize("rule", ["medoid", "lowest_layer", "highest_variance"])
def test_where_representatives_are_not_drawn_only_the_probes_differ(features, rule):
    config = small_study.study_config(2)
    config.clustering.representative = rule
    config.clustering.sweep_thresholds = (0.5,)
    spread = STUDIES["cluster_sweep"](features, config)[0]["repeats"]
    singles = [
        STUDIES["cluster_sweep"](features, without_repeats(config, repeat, cluster_seed=False))[0]
        for repeat in range(2)
    ]
    assert singles[0]["thresholds"][0]["neurons"].tolist() == singles[1]["thresholds"][0]["neurons"].tolist()
    assert_spread_of_scores(spread["thresholds"][0], [single["thresholds"][0]["scores"] for single in singles])


def test_a_repeat_takes_the_seeds_plus_its_number_and_all_else_as_it_is():
    config = small_study.study_config(N_REPEATS)
    before = copy.deepcopy(config)
    found = repeats.configs(config)
    assert [(c.probe.seed, c.clustering.seed, c.repeats) for c in found] == [(3, 11, 1), (4, 12, 1), (5, 13, 1)]
    for mine in found:
        seeds = {"probe": replace(mine.probe, seed=3), "clustering": replace(mine.clustering, seed=11)}
        assert replace(mine, repeats=N_REPEATS, **seeds) == before
    assert config == before
    assert repeats.configs(replace(config, repeats=1)) == [replace(before, repeats=1)]


def test_a_repeated_family_has_every_probe_once_for_each_seed():
    once = layer_family(3, 8)
    family, settings = repeats.repeated(once, small_study.study_config(N_REPEATS))
    assert family.n_probes == N_REPEATS * once.n_probes
    for probe in range(family.n_probes):
        np.testing.assert_array_equal(family.owned(probe), once.owned(probe % once.n_probes))
        assert settings.seed[probe] == 3 + probe // once.n_probes


def test_a_single_run_has_no_deviation():
    assert repeats.spread([0.25]) == {"mean": 0.25, "sd": 0.0, "runs": [0.25]}
    assert_spread(repeats.spread(np.float32([0.5, 0.25, 1])), [0.5, 0.25, 1.0])
