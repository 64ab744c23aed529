"""The original's training: epochs of an optimizer over the batches (`jaxred.probing.elastic_net`)."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ProbeConfig
from jaxred.errors import UserError
from jaxred.probing import elastic_net
from jaxred.probing.adam import ADAM, with_rates
from jaxred.probing.layout import Batches
from jaxred.probing.parts import Part


def train(
    parts: list[Part],
    matrix: FeatureMatrix,
    values: np.ndarray,
    n_probes: int,
    config: ProbeConfig,
    optimizer: Any = None,
) -> tuple[list[Part], Float[np.ndarray, "epoch probe"]]:
    """Takes the parts of a family through all epochs.

    Args:
        parts: with their initial weights.
        matrix: the training rows.
        values: [batch, row] class ids or scores.
        n_probes: of the family.
        config: epochs, order of the rows, penalty.
        optimizer: one of optax, in place of Adam.

    Returns:
        The parts with their last weights, and each probe's mean loss over the batches of each epoch.

    Raises:
        UserError: if rows are to be shuffled and the matrix does not fit in memory.
    """
    chunks = matrix.chunks()
    order = _orders(matrix, config, chunks)
    rule = ADAM if optimizer is None else with_rates(optimizer, float(config.learning_rate))
    states = [jax.device_put(elastic_net.start(part.params, rule), part.device) for part in parts]
    losses: list[list[jax.Array]] = [[] for _ in parts]
    n_passes, epochs = (1, config.epochs) if len(chunks) == 1 else (config.epochs, 1)
    for _ in range(n_passes):
        for batches in chunks:
            for i, part in enumerate(parts):
                rows = values[batches], matrix.counts[batches]
                states[i], summed = elastic_net.train(
                    states[i],
                    Batches(matrix.on(part.device, batches), *jax.device_put(rows, part.device)),
                    part.penalty,
                    part.weight_map,
                    None if order is None else jax.device_put(order, part.device),
                    packing=part.packing,
                    epochs=epochs,
                    squared_l2=config.squared_l2,
                    optimizer=rule,
                )
                losses[i].append(summed)
    jax.block_until_ready(states)
    record = np.zeros((config.epochs, n_probes), np.float32)
    for part, summed in zip(parts, losses, strict=True):
        whole = np.concatenate([np.asarray(s) for s in summed]).reshape(config.epochs, len(chunks), len(part.probes))
        record[:, list(part.probes)] = whole.sum(1) / len(matrix.blocks)
    return [part._replace(params=state.params) for part, state in zip(parts, states, strict=True)], record


def _orders(
    matrix: FeatureMatrix, config: ProbeConfig, chunks: list[slice]
) -> Int[np.ndarray, "epoch batch row"] | None:
    """The rows of each epoch's batches where they are shuffled, and at the end rows that do not count."""
    if not config.shuffle:
        return None
    if len(chunks) > 1:
        raise UserError(
            f"config.probe.shuffle asks for rows in random order, but the matrix of {matrix.shape[0]:,} x "
            f"{matrix.shape[1]:,} does not fit in memory: leave shuffle off, or take fewer rows "
            "or layers."
        )
    draw = np.random.default_rng(config.seed)
    n_batches, size = len(matrix.blocks), matrix.batch_size
    nobody = np.arange(matrix.n_rows, n_batches * size)
    orders = [np.concatenate([draw.permutation(matrix.n_rows), nobody]) for _ in range(config.epochs)]
    return np.stack(orders).reshape(config.epochs, n_batches, size).astype(np.int32)
