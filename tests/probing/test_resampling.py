"""Scores on resamples against `metrics.score` on the rows drawn, and intervals against theory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.config import METRICS, REGRESSION_METRICS
from jaxred.probing import resampling
from jaxred.probing.metrics import score
from jaxred.probing.resampling import draw, interval, resampled_scores, standard_error


def rows_drawn(resamples, number, n_rows):
    return np.repeat(np.arange(n_rows), resamples.counts[number].astype(int)[resamples.units])


@settings(deadline=None, max_examples=40)
@given(
    metric=st.sampled_from(METRICS),
    n_classes=st.integers(2, 5),
    n_rows=st.integers(2, 60),
    by_sentence=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_score_of_a_resample_is_that_of_the_rows_drawn(metric, n_classes, n_rows, by_sentence, seed):
    rng = np.random.default_rng(seed)
    sentences = rng.integers(0, 1 + n_rows // 3, n_rows) if by_sentence else None
    if metric in REGRESSION_METRICS:
        targets = np.round(rng.normal(size=n_rows), 1).astype(np.float32)  # with ties
        noise = rng.normal(size=(n_rows, 2)).astype(np.float32)
        predictions = np.column_stack([targets[:, None] + noise, np.round(noise), np.zeros(n_rows, np.float32)])
        n_classes = 0
    else:
        targets = rng.integers(0, n_classes, n_rows).astype(np.int32)
        predictions = rng.integers(0, n_classes, (n_rows, 3)).astype(np.int32)
        predictions[:, 2] = 1
    resamples = draw(n_rows, 8, sentences)
    found = resampled_scores(metric, predictions, targets, n_classes, resamples)
    assert found.shape == (8, predictions.shape[1])
    for number in range(8):
        rows = rows_drawn(resamples, number, n_rows)
        expected = [score(metric, column[rows], targets[rows], n_classes) for column in predictions.T]
        np.testing.assert_allclose(found[number], expected, rtol=1e-6, atol=1e-7)  # SciPy keeps float32 in float32


def test_resamples_are_the_same_every_time_and_of_as_many_units():
    resamples = draw(50, 20)
    np.testing.assert_array_equal(resamples.counts, draw(50, 20).counts)
    assert (resamples.counts.sum(1) == 50).all()
    assert len(np.unique(resamples.counts, axis=0)) == 20


def test_words_are_drawn_by_whole_sentences():
    sentences = np.repeat(np.arange(10), 7)[np.random.default_rng(0).permutation(70)]
    resamples = draw(70, 5, sentences)
    for number in range(5):
        drawn = np.bincount(rows_drawn(resamples, number, 70), minlength=70)
        for sentence in range(10):
            assert len(set(drawn[sentences == sentence])) == 1


def test_the_standard_error_of_an_accuracy_is_the_binomials_and_grows_where_sentences_agree():
    rng = np.random.default_rng(0)
    right = (rng.random(900) < 0.8).astype(np.int32)
    targets = np.ones(900, np.int32)
    draws = resampled_scores("accuracy", right[:, None], targets, 2, draw(900, 1000))[:, 0]
    accuracy = right.mean()
    assert standard_error(draws) == pytest.approx(np.sqrt(accuracy * (1 - accuracy) / 900), rel=0.1)
    low, high = interval(draws)
    assert high - low == pytest.approx(2 * 1.96 * standard_error(draws), rel=0.1)
    alike = np.repeat(right[:90], 10)  # ten words of a sentence, all right or all wrong
    by_sentence = resampled_scores("accuracy", alike[:, None], targets, 2, draw(900, 1000, np.arange(900) // 10))
    assert standard_error(by_sentence[:, 0]) > 2.5 * standard_error(draws)


def test_blocks_of_many_rows_spread_as_the_rows_do(monkeypatch):
    rng = np.random.default_rng(0)
    right, targets = (rng.random(4000) < 0.7).astype(np.int32), np.ones(4000, np.int32)
    rows = resampled_scores("accuracy", right[:, None], targets, 2, draw(4000, 1000))
    monkeypatch.setattr(resampling, "MAX_UNITS", 1000)
    resamples = draw(4000, 1000)
    assert resamples.counts.shape == (1000, 1000)
    blocks = resampled_scores("accuracy", right[:, None], targets, 2, resamples)
    assert standard_error(blocks[:, 0]) == pytest.approx(standard_error(rows[:, 0]), rel=0.12)


@pytest.mark.parametrize("truth", [0.6, 0.85])
def test_intervals_hold_the_true_accuracy_nineteen_times_out_of_twenty(truth):
    rng, targets = np.random.default_rng(1), np.ones(300, np.int32)
    resamples, n_studies = draw(300, 1000), 400
    right = (rng.random((300, n_studies)) < truth).astype(np.int32)
    draws = resampled_scores("accuracy", right, targets, 2, resamples)
    held = np.mean([low <= truth <= high for low, high in map(interval, draws.T)])
    assert 0.91 <= held <= 0.98


def test_an_unknown_metric_is_an_error():
    with pytest.raises(ValueError, match="unknown metric"):
        resampled_scores("bleu", np.zeros((2, 1)), np.zeros(2), 2, draw(2, 2))
