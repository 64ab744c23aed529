import json
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from helpers.shared import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.config import METRICS, REGRESSION_METRICS
from jaxred.probing.metrics import OVERALL, best_constant, class_scores, score, scores

GOLDEN = ROOT / "tests" / "golden"
ORIGINAL = json.loads((GOLDEN / "metrics.json").read_text())


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_the_originals(metric):
    kind = "real" if metric in REGRESSION_METRICS else "class"
    with np.load(GOLDEN / "metrics.npz") as inputs:
        found = score(metric, inputs[f"pred_{kind}"], inputs[f"label_{kind}"])
    assert isinstance(found, float)
    assert found == pytest.approx(ORIGINAL[metric], rel=0, abs=1e-12)


def test_the_original_has_every_metric():
    assert set(ORIGINAL) == set(METRICS)


def test_f1_is_that_of_class_1_where_there_are_two():
    predictions, targets = np.array([1, 1, 1, 0, 0]), np.array([1, 0, 1, 1, 0])
    assert score("f1", predictions, targets) == pytest.approx(2 / 3)  # 2 hits of 3 said and of 3 there
    assert score("f1", 1 - predictions, 1 - targets) == pytest.approx(1 / 2)


def test_f1_is_the_mean_over_more_than_two_classes():
    predictions, targets = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    by_class = [2 * 1 / (2 + 2), 2 * 1 / (1 + 2), 2 * 2 / (3 + 2)]  # 2 * hits / (said + there)
    assert score("f1", predictions, targets) == pytest.approx(np.mean(by_class))
    assert score("accuracy_and_f1", predictions, targets) == pytest.approx((4 / 6 + np.mean(by_class)) / 2)


def test_a_class_only_said_or_only_there_makes_f1_a_mean_over_three():
    assert score("f1", np.array([0, 1, 2]), np.array([0, 1, 1])) == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert score("f1", np.array([0, 1, 1]), np.array([0, 1, 2])) == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_f1_is_0_where_class_1_is_neither_said_nor_there(recwarn):
    assert score("f1", np.zeros(3, int), np.zeros(3, int)) == 0
    assert score("f1", np.zeros(3, int), np.ones(3, int)) == 0
    assert not recwarn.list


@pytest.mark.parametrize("metric", REGRESSION_METRICS)
def test_a_correlation_with_a_constant_is_0(metric, recwarn):
    constant, varied = np.full(4, 0.3), np.arange(4.0)
    assert score(metric, constant, varied) == 0
    assert score(metric, varied, constant) == 0
    assert score(metric, constant, constant) == 0
    assert not recwarn.list


def test_matthews_of_a_constant_is_0(recwarn):
    assert score("matthews_corrcoef", np.zeros(4, int), np.array([0, 1, 0, 1])) == 0
    assert not recwarn.list


def test_pearson_sees_the_size_of_differences_and_spearman_only_their_order():
    predictions, targets = np.array([1.0, 2, 3, 10]), np.array([1.0, 2, 3, 4])
    pearson = np.corrcoef(predictions, targets)[0, 1]
    assert score("pearson", predictions, targets) == pytest.approx(pearson)
    assert score("spearman", predictions, targets) == pytest.approx(1)
    assert score("pearson_and_spearman", predictions, targets) == pytest.approx((pearson + 1) / 2)


@pytest.mark.parametrize("metric", METRICS)
def test_a_column_of_predictions_is_scored_like_a_vector(metric):
    draw = np.random.default_rng(0)
    predictions, targets = draw.integers(0, 2, (2, 30))
    column = score(metric, predictions[:, None], targets)
    assert column == score(metric, predictions, targets)
    assert column < 1


def test_an_unknown_metric_is_named():
    with pytest.raises(ValueError, match="unknown metric 'accurracy'"):
        score("accurracy", np.zeros(2), np.zeros(2))


def test_each_class_gets_its_share_of_right_answers():
    predictions, targets = np.array([0, 0, 1, 2, 0, 2, 2]), np.array([0, 0, 0, 2, 1, 1, 2])
    entry = scores("accuracy", predictions, targets, ["noun", "verb", "other"])
    assert entry == {OVERALL: 4 / 7, "noun": 2 / 3, "verb": 0.0, "other": 1.0}
    assert list(entry) == ["__OVERALL__", "noun", "verb", "other"]


def test_a_class_without_examples_scores_0(recwarn):
    entry = scores("accuracy", np.array([0, 1, 1]), np.array([0, 0, 0]), ["a", "b"])
    assert entry == {OVERALL: 1 / 3, "a": 1 / 3, "b": 0.0}
    assert not recwarn.list


def test_the_entry_holds_the_metric_asked_for():
    predictions, targets = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    assert scores("f1", predictions, targets, ["a", "b"]) == {OVERALL: pytest.approx(2 / 3), "a": 2 / 3, "b": 1.0}


def test_regression_has_no_classes():
    entry = scores("pearson", np.array([1.0, 2, 4]), np.array([1.0, 2, 3]), [])
    assert list(entry) == [OVERALL]


@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_accuracy_is_the_mean_of_the_classes_weighted_by_their_examples(pairs):
    predictions, targets = np.array(pairs).T
    entry = scores("accuracy", predictions, targets, list("abcd"))
    weighted = sum(entry[name] * np.sum(targets == i) for i, name in enumerate("abcd")) / len(pairs)
    assert entry[OVERALL] == pytest.approx(weighted)
    assert all(isinstance(value, float) for value in entry.values())


def test_scores_of_classes_by_hand():
    predictions, targets = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 1, 1, 1, 2, 0])
    found = class_scores(predictions, targets, ["a", "b", "c", "d"])
    assert found["classes"]["a"] == {"precision": 2 / 3, "recall": 1.0, "f1": pytest.approx(0.8), "support": 2}
    assert found["classes"]["b"] == {"precision": 2 / 3, "recall": 2 / 3, "f1": pytest.approx(2 / 3), "support": 3}
    assert found["classes"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert found["classes"]["d"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert found["macro"] == pytest.approx({"precision": 4 / 9, "recall": 5 / 9, "f1": (0.8 + 2 / 3) / 3})


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=50))
@settings(deadline=None)
def test_recall_is_the_originals_score_of_a_class(pairs):
    predictions, targets = np.array(pairs).T
    names = list("abcde")
    found, entry = class_scores(predictions, targets, names), scores("accuracy", predictions, targets, names)
    for name in names:
        assert found["classes"][name]["recall"] == pytest.approx(entry[name])
    assert sum(found["classes"][name]["support"] for name in names) == len(pairs)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=50))
@settings(deadline=None)
def test_scores_of_classes_are_scikit_learn_s(pairs):
    predictions, targets = np.array(pairs).T
    found = class_scores(predictions, targets, list("abcde"))
    undefined: Any = 0
    theirs: Any = sklearn.metrics.precision_recall_fscore_support
    columns = theirs(targets, predictions, labels=range(5), zero_division=undefined)
    for name, column in zip(("precision", "recall", "f1", "support"), columns, strict=True):
        np.testing.assert_allclose([found["classes"][label][name] for label in "abcde"], column, rtol=1e-15)
    macro = theirs(targets, predictions, average="macro", zero_division=undefined)
    np.testing.assert_allclose([found["macro"][name] for name in ("precision", "recall", "f1")], macro[:3], rtol=1e-14)


@pytest.mark.parametrize("metric", ["f1", "accuracy_and_f1"])
def test_f1_has_one_definition_a_task_whatever_the_rows_hold(metric):
    """Three classes; the third is neither predicted nor there in one case, and predicted once in the other."""
    classes, targets = ("anger", "joy", "surprise"), np.array([0] * 8 + [1] * 2)
    for predictions in (np.array([0] * 8 + [1, 0]), np.array([0] * 7 + [2] + [1, 0])):
        found = scores(metric, predictions, targets, classes)[OVERALL]
        f1 = class_scores(predictions, targets, classes)["macro"]["f1"]
        assert found == pytest.approx(f1 if metric == "f1" else (f1 + np.mean(predictions == targets)) / 2)
    by_rows = scores("f1", np.array([0] * 8 + [1, 0]), targets, classes, by_rows=True)[OVERALL]
    assert by_rows == pytest.approx(2 / 3)  # of class 1 alone, as the original has it


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 0), ("f1", 1), ("matthews_corrcoef", 0)])
def test_the_best_constant_answer_is_the_majority_but_for_f1_of_class_1(metric, best):
    targets = np.array([0] * 7 + [1] * 3)
    assert best_constant(metric, targets, 2) == best
    answers = [score(metric, np.full(10, label), targets, 2) for label in range(2)]
    assert answers[best] == max(answers)


def test_the_best_constant_answer_of_several_classes_is_the_majority():
    targets = np.array([0] * 2 + [1] * 3 + [2] * 5)
    assert [best_constant(metric, targets, 3) for metric in ("accuracy", "f1", "accuracy_and_f1")] == [2, 2, 2]
