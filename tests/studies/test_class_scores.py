"""Scores of every class against scikit-learn, from the matrix as it lies in batches."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from jaxred.activations.matrix import FeatureMatrix
from jaxred.probing import Probe
from jaxred.probing.features import Features
from jaxred.studies.class_scores import class_reports, predicted_classes

CLASSES = ("ADJ", "NOUN", "VERB")
N_ROWS = {"train": 5, "dev": 11, "test": 8}  # batches of 4: the last one of dev is not full


@pytest.fixture(scope="module")
def rows():
    draw = np.random.default_rng(0)
    return {split: draw.normal(size=(n, 6)).astype(np.float32) for split, n in N_ROWS.items()}


@pytest.fixture(scope="module")
def features(rows):
    draw = np.random.default_rng(1)
    targets = {split: draw.integers(0, 3, n).astype(np.int32) for split, n in N_ROWS.items()}
    return Features({s: FeatureMatrix.from_rows(x, 4) for s, x in rows.items()}, targets, CLASSES, 2, 3, None)


def probe(columns, seed):
    draw = np.random.default_rng(seed)
    weights = draw.normal(size=(len(columns), 3)).astype(np.float32)
    return Probe(np.array(columns, int), weights, draw.normal(size=3).astype(np.float32), np.ones(1, np.float32))


PROBES = {"all": probe(range(6), 2), "some": probe([4, 1], 3), "none": probe([], 4)}


@pytest.mark.parametrize("name", PROBES)
def test_predictions_are_the_largest_outputs_of_every_row(rows, features, name):
    mine = PROBES[name]
    for split in N_ROWS:
        expected = (rows[split][:, mine.columns] @ mine.weights + mine.bias).argmax(1)
        np.testing.assert_array_equal(predicted_classes(mine, features.matrices[split]), expected)


def test_scores_are_those_of_dev_and_test_each_probe_once(rows, features):
    found = class_reports(PROBES, ["some", "all", "some"], features)
    assert list(found) == ["some", "all"]
    for name, splits in found.items():
        assert list(splits) == ["dev", "test"]
        for split, entry in splits.items():
            mine = PROBES[name]
            predicted = (rows[split][:, mine.columns] @ mine.weights + mine.bias).argmax(1)
            scores = precision_recall_fscore_support(
                features.targets[split], predicted, labels=[0, 1, 2], zero_division=0
            )
            for i, label in enumerate(CLASSES):
                values = [column[i] for column in scores]
                assert list(entry["classes"][label].values()) == pytest.approx(values)
