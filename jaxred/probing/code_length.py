"""Online code of labels given representations: how many bits send them (Voita and Titov 2020).

The labels of the first portion of the rows cost log2 K each. Those of every other portion cost their surprisal under a
probe that was trained on all rows before it. Labels that a probe learns from few rows have a short code.

A probe knows nothing of a class that none of its rows has, and one at its optimum gives such a class no probability
at all. While classes are missing from the t rows before a portion, the probe's probabilities p are therefore mixed with
the uniform ones, (t p + 1/K) / (t + 1): a label costs at most log2(K (t + 1)) bits, and a row well predicted at most
log2(1 + 1/t) more than without.
"""

import itertools

import numpy as np
from jaxtyping import Float, Int

from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ProbeConfig
from jaxred.probing.families import Family
from jaxred.probing.information import surprisals
from jaxred.probing.outputs import matrix_outputs
from jaxred.probing.trained import fit

PORTIONS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.25, 12.5, 25.0, 50.0, 100.0)  # percent of the rows at which portions end


def portion_ends(n_rows: int) -> list[int]:
    """Where portions end: at least one row each, so that few rows have fewer portions."""
    return sorted({max(1, round(n_rows * percent / 100)) for percent in PORTIONS})


def uniform_code(n_rows: int, n_classes: int) -> float:
    """The bits of a code that knows nothing: n log2 K."""
    return n_rows * float(np.log2(n_classes))


def online_code(
    family: Family, matrix: FeatureMatrix, targets: Int[np.ndarray, " row"], n_classes: int, config: ProbeConfig
) -> Float[np.ndarray, " probe"]:
    """The length of each probe's online code in bits.

    Args:
        family: of the probes.
        matrix: the training rows, in the order in which labels are sent.
        targets: class ids, in the same order.
        n_classes: K.
        config: how the probes of every portion are trained.
    """
    ends = portion_ends(matrix.n_rows)
    bits = np.full(family.n_probes, uniform_code(ends[0], n_classes))
    for stop, following in itertools.pairwise(ends):
        trained = fit(family, matrix.first(stop), targets[:stop], n_classes, config)
        rows, complete = slice(stop, following), len(np.unique(targets[:stop])) == n_classes
        for number in range(family.n_probes):
            probe = trained.probe(number)
            outputs = matrix_outputs(probe.columns, probe.weights, probe.bias, matrix, rows)
            of_rows = surprisals(outputs, targets[rows])
            bits[number] += (of_rows if complete else mixed(of_rows, stop, n_classes)).sum()
    return bits


def mixed(bits: Float[np.ndarray, " row"], n_before: int, n_classes: int) -> Float[np.ndarray, " row"]:
    """The surprisals (n p + 1/K) / (n + 1) gives, where p are the probabilities that a probe gives.

    Args:
        bits: the surprisals that p gives: -log2 p.
        n_before: the rows n that the probe was trained on.
        n_classes: K.
    """
    return np.log2(n_before + 1) - np.logaddexp2(np.log2(n_before) - bits, -np.log2(n_classes))


def shuffled(n_rows: int, seed: int, sentences: Int[np.ndarray, " row"] | None = None) -> Int[np.ndarray, " row"]:
    """Rows in a random order, those of a sentence together and in their own order.

    Args:
        n_rows: rows.
        seed: of the order.
        sentences: the sentence of each row, where rows are words.
    """
    draw = np.random.default_rng(seed)
    if sentences is None:
        return draw.permutation(n_rows)
    numbers = np.unique(sentences, return_inverse=True)[1]
    return np.argsort(draw.permutation(numbers.max(initial=-1) + 1)[numbers], kind="stable")
