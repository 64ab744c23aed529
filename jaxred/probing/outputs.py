"""What linear probes say of rows: outputs and probabilities, in NumPy and float64."""

import numpy as np
from jaxtyping import Float, Int, Num

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
