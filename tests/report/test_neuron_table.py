import numpy as np
from helpers import small_study

from jaxred.report.findings import minimal_set_names
from jaxred.report.neuron_table import neuron_table
from jaxred.studies.pipeline import pipeline


def test_every_neuron_has_a_line_with_its_rank_weights_clusters_and_sets():
    features, config = small_study.made_up_task(signal=2.0), small_study.study_config()
    correlation = small_study.correlation_of(features)
    settings = config.probe, config.clustering, config.selection
    result, probes = pipeline(features, lambda: correlation, *settings)
    oracle = probes[result.oracle_probe]
    head, *lines = neuron_table(result, {"columns": oracle.columns, "weights": oracle.weights})
    assert head == ["layer", "index", "rank", "weight_no", "weight_yes", "cluster_at_0.3", "sets"]
    assert sorted((line[0], line[1]) for line in lines) == [(layer, i) for layer in range(3) for i in range(8)]
    assert [line[2] for line in lines] == list(range(1, 25))
    sizes = [max(abs(weight) for weight in line[3:5]) for line in lines]
    assert sizes[0] == np.abs(oracle.weights).max()
    for line in lines:
        np.testing.assert_array_equal(line[3:5], oracle.weights[line[0] * 8 + line[1]])
    members = {name: set(chosen.neurons) for name, chosen in minimal_set_names(result)}
    for line in lines:
        named = {part.removesuffix(" (no finding)") for part in line[-1].split(" | ") if part}
        assert named == {name for name, neurons in members.items() if (line[0], line[1]) in neurons}
    widest = max(result.selection, key=lambda choice: -1 if choice.clusters is None else len(choice.clusters))
    for line in lines:
        number = line[0] * 8 + line[1]
        expected = widest.clusters[number] if number < len(widest.clusters) else None
        assert line[5] == expected
