import numpy as np
from helpers import small_study

from jaxred.activations.in_memory import HiddenStates
from jaxred.report.findings import minimal_set_names
from jaxred.report.neuron_table import neuron_table
from jaxred.studies.neuron_examples import Labels, neuron_examples
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


def test_examples_are_in_the_lines_of_their_neurons():
    features, config = small_study.made_up_task(signal=2.0), small_study.study_config()
    correlation = small_study.correlation_of(features)
    result, probes = pipeline(features, lambda: correlation, config.probe, config.clustering, config.selection)
    oracle = probes[result.oracle_probe]
    states = HiddenStates(np.random.default_rng(0).normal(size=(20, 3, 8)).astype(np.float32))
    texts = [f"text {row}" for row in range(20)]
    examples = neuron_examples(states, [(1, 7), (0, 2)], Labels(["no", "yes"], np.arange(20) % 2), texts, k=2)
    head, *lines = neuron_table(result, {"columns": oracle.columns, "weights": oracle.weights}, examples)
    names = ["mean", "deviation", "mean_no", "mean_yes", "largest_sentences", "smallest_sentences"]
    assert head[-7:] == ["sets", *names]
    by_neuron = {(line[0], line[1]): line[-6:] for line in lines}
    column = states[:, 1, 7]
    order = np.argsort(column)
    found = by_neuron[1, 7]
    means = [column.mean(), column.std(), column[::2].mean(), column[1::2].mean()]
    np.testing.assert_allclose(found[:4], means, rtol=1e-5)
    assert found[4:] == [" | ".join(texts[row] for row in rows) for rows in (order[:-3:-1], order[:2])]
    assert by_neuron[1, 6] == [None] * 6
