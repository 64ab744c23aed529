"""Profiles of neurons: z, effects with their intervals, and what is shown of whom."""

import numpy as np
import pytest

from jaxred.activations.in_memory import HiddenStates
from jaxred.studies.neuron_examples import MOST_LETTERS, Labels, neuron_examples
from jaxred.studies.results import NeuronExamples

N_ROWS = 60


@pytest.fixture
def values():
    made = np.random.default_rng(5).normal(size=(N_ROWS, 2, 3)).astype(np.float32)
    made[:, 1, 2] = 7
    return made


@pytest.fixture
def labels():
    return Labels(["a", "b", "rare"], np.array([*[0] * 30, *[1] * 29, 2]))


def test_effects_are_cohens_d_with_their_interval(values, labels):
    values[labels.classes == 1, 0, 0] += 2
    profile = neuron_examples(HiddenStates(values), [(0, 0)], labels).neurons[0]
    column = np.asarray(values[:, 0, 0], np.float64)
    for number, found in enumerate(profile.classes[:2]):
        inside, outside = column[labels.classes == number], column[labels.classes != number]
        squares = ((inside - inside.mean()) ** 2).sum() + ((outside - outside.mean()) ** 2).sum()
        effect = (inside.mean() - outside.mean()) / np.sqrt(squares / (N_ROWS - 2))
        assert found.effect == pytest.approx(effect, rel=1e-9)
        half = 1.959964 * np.sqrt(N_ROWS / (len(inside) * len(outside)) + effect**2 / (2 * N_ROWS))
        assert found.interval == pytest.approx((effect - half, effect + half), rel=1e-6)
    assert profile.strongest_class is not None
    assert profile.strongest_class.label == "b"
    assert (profile.classes[2].n, profile.classes[2].effect, profile.classes[2].interval) == (1, None, None)


def test_z_and_error_of_a_word_type(values):
    words = ["one", "two", "Two", "", "héllo", "x"] * 10
    found = neuron_examples(HiddenStates(values), [(1, 0)], Labels([]), words, words=True, k=2)
    assert (found.unit, found.min_count) == ("word", 3)
    column = np.asarray(values[:, 1, 0], np.float64)
    means = {word: column[[w == word for w in words]].mean() for word in set(words)}
    top = found.neurons[0].largest[0]
    assert top.text == max(means, key=lambda word: means[word])
    inside = column[[w == top.text for w in words]]
    assert top.z == pytest.approx((inside.mean() - column.mean()) / column.std(), rel=1e-9)
    assert top.error == pytest.approx(inside.std(ddof=1) / np.sqrt(10) / column.std(), rel=1e-9)
    assert (top.n, top.row) == (10, words.index(top.text))


def test_a_constant_neuron_has_no_examples_and_no_effect(values, labels):
    profile = neuron_examples(HiddenStates(values), [(1, 2)], labels).neurons[0]
    assert (profile.deviation, profile.largest, profile.strongest_class) == (0, [], None)
    assert profile.classes[0].effect is None


def test_a_neuron_that_no_class_moves_has_no_strongest_class(labels):
    same = np.tile(np.array([1, -1], np.float32), N_ROWS // 2)[:, None, None]
    assert (
        neuron_examples(HiddenStates(same), [(0, 0)], Labels(["a", "b"], labels.classes.clip(0, 1)))
        .neurons[0]
        .strongest_class
        is None
    )


def test_long_sentences_are_shortened_and_rows_without_text_numbered(values):
    texts = ["x" * 1000] * N_ROWS
    found = neuron_examples(HiddenStates(values), [(0, 1)], Labels([]), texts)
    assert found.unit == "sentence"
    assert len(found.neurons[0].largest[0].text) == MOST_LETTERS + 1
    bare = neuron_examples(HiddenStates(values), [(0, 1)], Labels([]))
    assert bare.unit == "row"
    assert bare.neurons[0].largest[0].text == f"row {int(values[:, 0, 1].argmax())}"


def test_the_result_is_read_as_it_was_written(values, labels):
    found = neuron_examples(HiddenStates(values), [(0, 1), (1, 2)], labels)
    assert NeuronExamples.from_json(found.to_json()) == found
    assert repr(found) == "<NeuronExamples: 2 neurons, their largest and smallest 10 rows, over 60 rows>"
    rows = found.rows()
    assert {row["class"] for row in rows} == {"", "a", "b", "rare"}
    assert rows[0]["end"] == "largest"
    assert rows[0]["place"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"neurons": []}, "neurons is empty"),
        ({"neurons": [(2, 0)]}, "There is no neuron 2:0: layers are 0 to 1"),
        ({"neurons": [(0, -1)]}, "There is no neuron 0:-1"),
        ({"k": 0}, "k=0 is not possible"),
        ({"texts": ["a"]}, "texts has 1 entries, but the activations have 60 rows"),
    ],
)
def test_what_does_not_fit_is_rejected(values, arguments, words):
    with pytest.raises(ValueError, match=words):
        neuron_examples(HiddenStates(values), **{"neurons": [(0, 0)], "labels": Labels([]), **arguments})
