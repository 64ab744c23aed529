"""What scores say of themselves: intervals, and whether a probe knows more than the best constant answer."""

import numpy as np
import pytest
from helpers import small_study

from jaxred.io import records
from jaxred.probing.features import SPLITS, Features
from jaxred.studies.pipeline import pipeline
from jaxred.studies.results import Difference
from jaxred.studies.scoring import compare_with, describe_task, score_all

N_ROWS = {"train": 400, "dev": 200, "test": 300}


def features_of(targets, classes=("no", "yes"), metric="accuracy"):
    return Features({}, targets, classes, 1, 1, None, metric=metric)


def targets_of(seed=0, share=0.5):
    rng = np.random.default_rng(seed)
    return {split: (rng.random(n) < share).astype(np.int32) for split, n in N_ROWS.items()}


def answers(targets, share_right, seed=1):
    """[row, probe] answers of which so many are right."""
    rng = np.random.default_rng(seed)
    return {split: np.where(rng.random(len(t)) < share_right, t, 1 - t)[:, None] for split, t in targets.items()}


def test_random_answers_do_not_beat_the_constant_and_good_ones_do():
    targets = targets_of()
    beats = {
        share: [score_all(answers(targets, share, seed), features_of(targets))[0].beats_constant
                for seed in range(40)]
        for share in (0.5, 0.75)
    }  # fmt: skip
    assert np.mean(beats[0.5]) <= 0.1  # by chance, at the level of the intervals
    assert all(beats[0.75])


@pytest.mark.parametrize("metric", ["accuracy", "f1", "accuracy_and_f1", "matthews_corrcoef"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_no_constant_answer_beats_the_best_one(metric, share):
    targets = targets_of(share=share)
    for label in (0, 1):
        same = {split: np.full((n, 1), label, np.int32) for split, n in N_ROWS.items()}
        assert not score_all(same, features_of(targets, metric=metric))[0].beats_constant


def test_a_constant_answer_is_no_finding_where_dev_has_another_majority_than_train():
    targets = targets_of(share=0.3)
    targets["dev"] = 1 - targets["dev"]
    for label in (0, 1):
        same = {split: np.full((n, 1), label, np.int32) for split, n in N_ROWS.items()}
        assert not score_all(same, features_of(targets))[0].beats_constant


def test_scores_that_do_not_correlate_are_no_finding():
    rng = np.random.default_rng(0)
    targets = {split: rng.normal(size=n).astype(np.float32) for split, n in N_ROWS.items()}
    noise = {split: rng.normal(size=(n, 3)).astype(np.float32) for split, n in N_ROWS.items()}
    predictions = {
        split: np.column_stack([noise[split][:, :2], targets[split] + noise[split][:, 2]]) for split in SPLITS
    }
    scored = score_all(predictions, features_of(targets, (), "pearson"))
    assert [entry.beats_constant for entry in scored] == [False, False, True]


def test_the_difference_to_the_oracle_is_paired():
    """Two probes that differ in three rows: the difference is far surer than either score."""
    targets = targets_of()
    oracle = answers(targets, 0.8)
    other = {split: column.copy() for split, column in oracle.items()}
    other["test"][:3] = 1 - targets["test"][:3, None]
    both = {split: np.column_stack([oracle[split], other[split]]) for split in SPLITS}
    first, second = score_all(both, features_of(targets))
    first, second = compare_with(first, [first, second])
    assert first.to_oracle == Difference(0.0, (0.0, 0.0))
    low, high = second.to_oracle.interval
    assert low <= second.to_oracle.difference == second.overall("test") - first.overall("test") <= high
    own_low, own_high = second.interval
    assert high - low < (own_high - own_low) / 3
    assert own_low < second.overall("test") < own_high


def test_a_study_of_noise_has_no_finding_and_one_of_signal_has():
    config = small_study.study_config()

    def findings(features):
        settings = config.probe, config.clustering, config.selection
        result, _ = pipeline(features, lambda: small_study.correlation_of(features), *settings)
        return result.oracle.beats_constant, {choice.finding for choice in result.selection}

    assert findings(small_study.made_up_task(signal=2.0))[0]
    assert True in findings(small_study.made_up_task(signal=2.0))[1]
    assert findings(small_study.made_up_task(seed=5, signal=0.0)) == (False, {False})


def described(features):
    content = records.to_json(describe_task(features))
    return {name: content[name] for name in content if name not in ("name", "kind", "metric")}


def test_description_of_classes():
    targets = {"train": np.array([1, 1, 0, 1, 2]), "dev": np.array([0, 0]), "test": np.array([2, 2, 1, 0])}
    features = Features({}, targets, ("a", "b", "c"), 3, 4, None, {"test": 1})
    assert described(features) == {
        "rows": {"train": 5, "dev": 2, "test": 4},
        "classes": ["a", "b", "c"],
        "class_counts": {
            "train": {"a": 1, "b": 3, "c": 1}, "dev": {"a": 2, "b": 0, "c": 0}, "test": {"a": 1, "b": 1, "c": 2},
        },
        "majority": {"class": "b", "accuracy": {"train": 0.6, "dev": 0.0, "test": 0.25}},
        "fallbacks": {"test": 1},
        "constant": {"class": "a", "scores": {"train": 0.2, "dev": 1.0, "test": 0.25}},
    }  # fmt: skip


def test_description_of_scores():
    features = Features({}, {"train": np.float32([1, 3, 2, 2]), "test": np.float32([5])}, (), 3, 4, None)
    assert described(features) == {
        "rows": {"train": 4, "test": 1},
        "targets": {
            "train": {"mean": 2.0, "deviation": pytest.approx(0.5**0.5), "lowest": 1.0, "highest": 3.0},
            "test": {"mean": 5.0, "deviation": 0.0, "lowest": 5.0, "highest": 5.0},
        },
    }
