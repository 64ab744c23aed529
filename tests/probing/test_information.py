import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import entropy as scipy_entropy

from jaxred.probing.information import entropy, surprisals, usable_information
from jaxred.probing.resampling import draw


@pytest.mark.parametrize("n_classes", [2, 5])
def test_surprisals_are_those_of_scipy_also_far_from_zero(n_classes):
    rng = np.random.default_rng(0)
    outputs = (rng.normal(size=(40, n_classes)) * np.logspace(-3, 4, 40)[:, None]).astype(np.float32)
    targets = rng.integers(0, n_classes, 40).astype(np.int32)
    expected = -log_softmax(outputs.astype(np.float64), axis=1)[np.arange(40), targets] / np.log(2)
    np.testing.assert_allclose(surprisals(outputs, targets), expected, rtol=1e-12, atol=1e-12)
    assert np.isfinite(surprisals(outputs, targets)).all()


def test_entropy_is_that_of_the_shares():
    targets = np.repeat([0, 1, 3], [50, 30, 20]).astype(np.int32)
    assert entropy(targets, 5) == pytest.approx(scipy_entropy([0.5, 0.3, 0.2], base=2), rel=1e-12)
    assert entropy(np.zeros(9, np.int32), 3) == 0
    assert entropy(np.repeat([0, 1], 4).astype(np.int32), 2) == 1


def test_usable_information_is_all_of_what_is_known_for_sure_and_none_of_uniform_answers():
    targets = np.tile([0, 1], 50).astype(np.int32)
    resamples = draw(100, 200)
    sure = surprisals(np.where(targets[:, None] == [0, 1], 100.0, -100.0), targets)
    assert usable_information(1.0, sure, resamples) == (1.0, (1.0, 1.0))
    assert usable_information(1.0, surprisals(np.zeros((100, 2)), targets), resamples) == (0.0, (0.0, 0.0))


def test_the_interval_is_that_of_resampled_rows():
    rng = np.random.default_rng(1)
    bits, resamples = rng.exponential(size=80), draw(80, 300)
    information, (low, high) = usable_information(2.0, bits, resamples)
    drawn = [2.0 - np.average(bits, weights=counts) for counts in resamples.counts.astype(np.float64)]
    assert information == pytest.approx(2.0 - bits.mean(), rel=1e-12)
    np.testing.assert_allclose([low, high], np.quantile(drawn, [0.025, 0.975]), rtol=1e-12)
