"""Rows of correlated neurons, of the kinds that make sums hard."""

import numpy as np

from jaxred.statistics.moments import Moments
from jaxred.statistics.streaming import BLOCK_ROWS, from_blocks

N_LAYERS, HIDDEN_SIZE = 3, 4
N_NEURONS, N_ROWS = N_LAYERS * HIDDEN_SIZE, 2 * BLOCK_ROWS + 300


def moments_of(*blocks, n_layers=N_LAYERS):
    return Moments.of(from_blocks(blocks, n_layers))


def correlated_rows(n_rows=N_ROWS, seed=0):
    draw = np.random.default_rng(seed)
    return (
        draw.normal(size=(n_rows, 5)) @ draw.normal(size=(5, N_NEURONS)) + draw.normal(size=(n_rows, N_NEURONS))
    ) / 3


def far_from_zero():
    return correlated_rows() + 1e3


def one_large_neuron():
    x = correlated_rows()
    x[:, 5] *= 1e3
    return x


def drifting():
    return correlated_rows() + np.linspace(0, 20, N_ROWS)[:, None]


def few_rows():
    return correlated_rows(2)


KINDS = {
    "plain": correlated_rows,
    "mean 1e3": far_from_zero,
    "one neuron 1e3 times larger": one_large_neuron,
    "drift": drifting,
    "two rows": few_rows,
}
