"""What linear probes say of rows: outputs and probabilities, in NumPy and float64."""

import numpy as np
from jaxtyping import Float, Int, Num

from jaxred.activations.matrix import FeatureMatrix

CHUNK_BYTES = 1 << 26  # of the rows that are converted to float64 at once


def linear_outputs(
    rows: Num[np.ndarray, "row column"],
    columns: Int[np.ndarray, " owned"],
    weights: Float[np.ndarray, "owned output"],
    bias: Float[np.ndarray, " output"],
) -> Float[np.ndarray, "row output"]:
    """The outputs rows[:, columns] @ weights + bias; columns whose weights are all zero are not read."""
    used = np.flatnonzero((weights != 0).any(1))
    columns, weights = columns[used], weights[used].astype(np.float64)
    outputs = np.empty((len(rows), weights.shape[1]))
    n_rows = max(CHUNK_BYTES // (8 * max(len(columns), 1)), 1)
    for start in range(0, len(rows), n_rows):
        outputs[start : start + n_rows] = rows[start : start + n_rows][:, columns].astype(np.float64) @ weights
    return outputs + bias.astype(np.float64)


def probabilities(outputs: Float[np.ndarray, "row class"]) -> Float[np.ndarray, "row class"]:
    """The softmax of each row."""
    powers = np.exp(outputs - outputs.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def matrix_outputs(
    columns: Int[np.ndarray, " owned"],
    weights: Float[np.ndarray, "owned output"],
    bias: Float[np.ndarray, " output"],
    matrix: FeatureMatrix,
    rows: slice | None = None,
) -> Float[np.ndarray, "row output"]:
    """The outputs for rows of a feature matrix, in the products' float32.

    Args:
        columns: those that the probe owns.
        weights: of these columns.
        bias: one per output.
        matrix: all columns, batch by batch.
        rows: which rows; by default all.
    """
    start, stop, _ = (rows or slice(None)).indices(matrix.n_rows)
    size = matrix.batch_size
    in_a_run = len(columns) and np.array_equal(columns, np.arange(columns[0], columns[0] + len(columns)))
    chosen = slice(int(columns[0]), int(columns[-1]) + 1) if in_a_run else columns
    first = start // size
    outputs = [block[chosen].T @ weights + bias for block in matrix.blocks[first : max(-(-stop // size), first + 1)]]
    return np.concatenate(outputs)[start - first * size : stop - first * size]
