"""Curves of what a model can do without: a planted neuron that is encoded but not used, and known values."""

import jax
import numpy as np
import pytest
from flax import nnx
from helpers.tiny_classifier import random_sets, tiny

from jaxred.ablation.forward import Ablation
from jaxred.ablation.interventions import together
from jaxred.ablation.scoring import answers, scored
from jaxred.ablation.study import TestRows, ablate, largest_share
from jaxred.finetuning.classifier import Classifier
from jaxred.probing.metrics import score
from jaxred.probing.resampling import draw, resampled_scores
from jaxred.studies.results import AblationResult

UNUSED = 5  # a neuron of the last layer


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A model whose head does not read one neuron, and rows labelled by the model's own answers."""
    made = tiny(tmp_path_factory.mktemp("planted"), "gpt2", seed=1)  # its head reads the last layer as it is
    graph, state = nnx.split(made.model.head)
    state = jax.tree.map(lambda leaf: leaf.at[UNUSED].set(0) if leaf.ndim == 2 else leaf, state)
    made = made._replace(model=Classifier(made.model.encoder, nnx.merge(graph, state)))
    ablation, batches = Ablation(made.model), made.batches()
    own = answers(ablation, batches, random_sets(made.shape, 1), regression=False)[0]
    return made, ablation, TestRows(batches, own, 3, "accuracy")


def test_a_neuron_that_is_encoded_but_not_used_can_go_and_one_that_is_used_cannot(planted):
    made, ablation, test = planted
    n_layers, hidden = made.shape
    last = np.arange((n_layers - 1) * hidden, n_layers * hidden)
    unused = last[UNUSED]
    order = np.concatenate([[unused], np.setdiff1d(np.arange(n_layers * hidden), [unused])])
    result = ablate(
        ablation,
        test,
        {"unused first": order},
        minimal=np.setdiff1d(last, [unused]),
        shares=(0.0, 1 / len(order), 0.99),
        n_draws=2,
    )
    assert result.whole == 1.0
    nothing, one, most = (entry for entry in result.neurons if entry.order == "unused first")
    assert (nothing.score, one.score, one.difference) == (1.0, 1.0, (0.0, 0.0))
    assert most.score < 1
    used = next(entry for entry in result.sets if entry.order == "the minimal set")
    assert used.score < 1  # what the head reads is gone
    assert AblationResult.from_json(result.to_json()) == result


def test_scores_are_those_of_each_set_alone(planted):
    made, ablation, test = planted
    sets = together(random_sets(made.shape, 4))
    predictions = answers(ablation, test.batches, sets, regression=False)
    found = scored("accuracy", predictions, test.targets, 3, draw(len(test.targets), 30))
    expected = [score("accuracy", each, test.targets, 3) for each in predictions]
    np.testing.assert_array_equal(found.scores, expected)
    again = resampled_scores("accuracy", predictions.T, test.targets, 3, draw(len(test.targets), 30))
    np.testing.assert_array_equal(found.resampled, again)


def test_the_share_that_can_go_ends_at_the_first_score_that_is_too_low():
    shares, whole = np.array([0, 0.1, 0.5, 0.9]), np.array([0.8, 0.8, 0.8])
    scores = np.array([[0.8, 0.8, 0.7, 0.8], [0.8, 0.795, 0.792, 0.7], [0.7, 0.8, 0.8, 0.8]])
    np.testing.assert_array_equal(largest_share(shares, scores, whole, 1.0), [0.1, 0.5, 0.0])


def test_a_model_that_is_no_better_than_a_constant_is_no_finding(planted):
    made, ablation, test = planted
    targets = np.zeros_like(test.targets)  # the constant is right everywhere
    result = ablate(ablation, TestRows(test.batches, targets, 3, "accuracy"), {}, n_draws=1, shares=(0.0, 0.5))
    assert not result.finding
    assert result.can_go == result.layers_can_go == []
    assert result.constant == 1.0
    assert {entry.n_removed for entry in result.layers if entry.order == "from the top"} == {*range(made.shape[0])}
