"""The minimal set out of all neurons against NumPy."""

import json

import numpy as np
import pytest
from helpers import small_study

from jaxred.data.split import DataSplit
from jaxred.original.all_results import minimal_neurons_results
from jaxred.probing.features import SPLITS
from jaxred.probing.metrics import OVERALL
from jaxred.probing.ranking import rank_neurons
from jaxred.studies.minimal_neurons import minimal_neurons
from jaxred.studies.results import MinimalNeuronsResult

FRACTIONS = (0.5, 0.0, 0.25, 0.26, 1.0, 0.1)  # of 24 neurons: 12, 0, 6, 6, 24, 2


@pytest.fixture(scope="module")
def features():
    return small_study.made_up_task()


def search(features, delta, fractions=FRACTIONS):
    config = small_study.study_config(minimal_delta=delta, fractions=fractions, search="full")
    result, probes = minimal_neurons(features, config.probe, config.selection)
    return result.to_json(), probes


@pytest.fixture(scope="module", params=[0.0, 5.0, 100.0])
def found(request, features):
    return request.param, *search(features, request.param)


def test_the_oracle_ranks_all_neurons(features, found):
    _, content, probes = found
    oracle = probes["oracle"]
    assert oracle.columns.tolist() == list(range(small_study.N_NEURONS))
    np.testing.assert_array_equal(content["ranking"], rank_neurons(oracle.weights).order)
    assert content["n_candidates"] == small_study.N_NEURONS


def test_sizes_are_the_shares_asked_each_once(features, found):
    _, content, probes = found
    assert list(content["sizes"]) == [0, 2, 6, 12, 24]
    assert list(probes) == ["oracle", *(f"first-{size}" for size in content["sizes"])] == list(content["training"])
    for size in content["sizes"]:
        assert probes[f"first-{size}"].columns.tolist() == content["ranking"][:size].tolist()


def test_saved_probes_score_what_is_said(features, found):
    _, content, probes = found
    for name, scores in {"oracle": content["oracle"], **{f"first-{k}": s for k, s in content["sizes"].items()}}.items():
        probe = probes[name]
        for split in SPLITS:
            outputs = np.asarray(features.matrices[split])[:, probe.columns] @ probe.weights + probe.bias
            assert scores[split][OVERALL] == pytest.approx(np.mean(outputs.argmax(1) == features.targets[split]))


def test_the_smallest_size_within_delta_percent_is_chosen(found):
    delta, content, _ = found
    least = content["oracle"]["dev"][OVERALL] * (1 - delta / 100)
    dev = {size: scores["dev"][OVERALL] for size, scores in content["sizes"].items()}
    accepted = [size for size in dev if dev[size] > least]
    expected = min(accepted, default=24)
    assert content["delta"] == delta
    assert content["n_minimal"] == expected
    assert content["minimal_neurons"] == [divmod(neuron, 8) for neuron in content["ranking"][:expected].tolist()]
    assert content["minimal_scores"] == (content["sizes"][expected] if accepted else content["oracle"])
    assert (expected == 0) == (delta == 100)


def test_without_an_accepted_size_all_neurons_are_kept(features):
    content, probes = search(features, 0.0, (0.0,))
    assert list(probes) == ["oracle", "first-0"]
    assert content["sizes"][0]["dev"][OVERALL] < content["oracle"]["dev"][OVERALL]
    assert content["n_minimal"] == len(content["minimal_neurons"]) == 24
    assert content["minimal_scores"] == content["oracle"]


def test_all_results_has_the_probe_retrained_on_all_candidates_where_the_grid_has_their_number(found):
    """The original writes the base's scores there first, and those of the retrained probe over them."""
    _, content, _ = found
    none_but_all = {**content, "n_minimal": 24, "sizes": {**content["sizes"], 24: content["sizes"][0]}}
    inner = json.loads(minimal_neurons_results(MinimalNeuronsResult.from_json(none_but_all), None))["selection"][
        "no-clustering"
    ]
    assert inner["selected-24"]["name"] == "selected-24"
    assert inner["selected-24"]["dev_scores"] == content["sizes"][0]["dev"] != inner["base_results"]["dev_scores"]


def test_without_fractions_the_originals_112_are_tried(features, monkeypatch):
    monkeypatch.setattr("jaxred.studies.minimal_neurons.MINIMAL_FRACTIONS", (0.125, 0.5))
    content, _ = search(features, 1.0, ())
    assert list(content["sizes"]) == [3, 12]


def test_all_results_is_as_the_original_writes_it(found):
    _, content, _ = found
    results = json.loads(
        minimal_neurons_results(MinimalNeuronsResult.from_json(content), DataSplit([2, 0, 1], [2, 0], [1]))
    )
    assert list(results) == ["data_split", "baseline", "selection"]
    assert list(results["selection"]) == ["no-clustering"]
    inner = results["selection"]["no-clustering"]

    def entry(name, scores):
        return {"name": name, **{f"{split}_scores": scores[split] for split in SPLITS}}

    n_minimal, ranking = content["n_minimal"], content["ranking"].tolist()
    assert inner.pop("ordering") == ranking
    assert inner.pop("minimal_neuron_set_size") == n_minimal
    assert inner.pop("minimal_neuron_set") == ranking[:n_minimal]
    base = entry("neuron-selection-base", content["oracle"])
    assert inner.pop("base_results") == base
    tried = {f"selected-{k}": entry(f"selected-{k}", s) for k, s in content["sizes"].items() if k <= n_minimal}
    assert inner == {"selected-24": base, **tried}
    # Where all are kept, the original has the probe retrained on them there, accepted or not.
    assert inner[f"selected-{n_minimal}"]["test_scores"] == content["sizes"][n_minimal]["test"]
    assert n_minimal == 24 or content["sizes"][n_minimal] == content["minimal_scores"]
    assert "data_split" not in json.loads(minimal_neurons_results(MinimalNeuronsResult.from_json(content), None))
