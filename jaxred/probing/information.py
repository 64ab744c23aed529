"""Usable information: by how many bits a probe lowers the uncertainty about a row's class (Xu et al. 2020)."""

import numpy as np
from jaxtyping import Float, Int

from jaxred.probing.resampling import Resamples, interval


def entropy(targets: Int[np.ndarray, " row"], n_classes: int) -> float:
    """H(Y) in bits, by the classes' shares of the rows."""
    shares = np.bincount(targets, minlength=n_classes) / len(targets)
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def surprisals(outputs: Float[np.ndarray, "row class"], targets: Int[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    """-log2 of the probability that the softmax of a row's outputs gives its class, in float64."""
    values = outputs.astype(np.float64)
    values = values - values.max(1, keepdims=True)
    right = np.take_along_axis(values, targets.astype(np.int64)[:, None], 1)[:, 0]
    return (np.log(np.exp(values).sum(1)) - right) / np.log(2)


def usable_information(
    entropy_bits: float, bits: Float[np.ndarray, " row"], resamples: Resamples
) -> tuple[float, tuple[float, float]]:
    """H(Y) less the mean surprisal of the rows, and its bootstrap interval.

    Args:
        entropy_bits: H(Y), by train's class shares.
        bits: surprisals of the test rows.
        resamples: of these rows.
    """
    means = resamples.sums(bits) / resamples.sums(np.ones(len(bits)))
    low, high = interval(entropy_bits - means)
    return float(entropy_bits - bits.mean()), (low, high)
