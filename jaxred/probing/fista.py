"""Takes probes to their optimum: the driver of `jaxred.probing.proximal`."""

import itertools
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ProbeConfig
from jaxred.probing import proximal
from jaxred.probing.layout import Batches
from jaxred.probing.parts import Part

LANCZOS_STEPS = 16  # passes over the data for the largest eigenvalue of every probe's covariance
CONSTANT = 1e-6  # a column whose deviation is a smaller share of its mean is constant, up to rounding


class Solution(NamedTuple):
    """How close to its optimum fista has brought a probe, or every probe of a family."""

    residual: Any  # the smallest subgradient, as a share: `jaxred.probing.proximal.inspect`
    iterations: Any
    tolerance: float


class ColumnMoments(NamedTuple):
    """What the solver must know of the matrix's columns."""

    mean: Float[np.ndarray, " column"]
    varies: Bool[np.ndarray, " column"]


def column_moments(matrix: FeatureMatrix) -> ColumnMoments:
    """The mean of every column, and whether it varies."""
    mean, deviation = matrix.mean_and_deviation()
    return ColumnMoments(mean, deviation > CONSTANT * np.abs(mean))


def solve(
    parts: list[Part],
    matrix: FeatureMatrix,
    values: np.ndarray,
    targets: np.ndarray,
    columns: ColumnMoments,
    n_probes: int,
    config: ProbeConfig,
) -> tuple[list[Part], Float[np.ndarray, "look probe"], Solution]:
    """Takes the parts of a family to their optimum.

    Args:
        parts: without the weights of columns that do not vary.
        matrix: the training rows.
        values: [batch, row] class ids or scores.
        targets: [row] the same.
        columns: of the matrix.
        n_probes: of the family.
        config: tolerance, iterations, penalty.

    Returns:
        The parts with their last weights, each probe's loss every `proximal.INTERVAL` iterations, and how close to the
        optimum each is.
    """
    start, null_loss = _best_constant(targets, parts[0].packing.n_outputs)
    problems = [_problem(part, matrix, values, columns, null_loss) for part in parts]
    descents = []
    for part, problem in zip(parts, problems, strict=True):
        bias = jax.device_put(np.tile(np.float32(start), (len(part.probes), 1)), part.device)
        descent = proximal.descend(
            jax.device_put(proximal.start(bias, part.weight_map, part.packing), part.device),
            _rows(matrix, values, part.device),
            config.tolerance,
            problem,
            part.weight_map,
            packing=part.packing,
            max_iterations=config.max_iterations,
            squared_l2=config.squared_l2,
        )
        descents.append(descent)
    states: list[Any] = [None for _ in parts]
    records: list[list[Any]] = [[] for _ in parts]
    for looks in itertools.zip_longest(*descents):  # in turn, so that devices work at the same time
        for i, state in enumerate(looks):
            if state is not None:
                states[i] = state
                records[i].append(state.loss)

    n_looks = max(len(record) for record in records)
    losses = np.zeros((n_looks, n_probes), np.float32)
    residual, iterations = np.zeros(n_probes, np.float32), np.zeros(n_probes, np.int32)
    solved = []
    for part, problem, state, record in zip(parts, problems, states, records, strict=True):
        probes = list(part.probes)
        losses[:, probes] = np.stack(record + record[-1:] * (n_looks - len(record)))
        residual[probes], iterations[probes] = np.asarray(state.residual), np.asarray(state.iterations)
        solved.append(part._replace(params=proximal.finish(state, problem, packing=part.packing)))
    return solved, losses, Solution(residual, iterations, config.tolerance)


def _rows(matrix: FeatureMatrix, values: np.ndarray, device: Any) -> proximal.Rows:
    """All rows with their values, [batch, row]: held on a device where they fit."""

    def read(chunk: slice) -> Batches:
        return Batches(matrix.on(device, chunk), *jax.device_put((values[chunk], matrix.counts[chunk]), device))

    chunks = matrix.chunks()
    return read(chunks[0]) if len(chunks) == 1 else lambda: map(read, chunks)


def _problem(
    part: Part, matrix: FeatureMatrix, values: np.ndarray, columns: ColumnMoments, null_loss: float
) -> proximal.Problem:
    """What a part minimises, with steps from the largest eigenvalue of each probe's covariance."""
    classes = np.issubdtype(values.dtype, np.integer)
    curvature, n_probes = proximal.curvature(classes), len(part.probes)
    mean = columns.mean[part.family.columns].astype(np.float32)
    numbers = [np.float32(number) for number in (1 / curvature, null_loss, matrix.n_rows)]
    rest = jax.device_put((mean, np.ones(n_probes, np.float32), *numbers), part.device)
    problem = proximal.Problem(part.penalty.l1, part.penalty.l2, *rest)

    weight_map, packing = proximal.one_output(part.weight_map, part.packing)
    rows = _rows(matrix, np.zeros(values.shape, np.float32), part.device)
    draw = np.random.default_rng(0).normal(size=len(columns.mean)) * columns.varies
    draw = jax.device_put(draw[part.family.columns].astype(np.float32), part.device)
    process = proximal.lanczos_start(draw, weight_map, packing=packing)
    alphas, betas = [], []
    for _ in range(LANCZOS_STEPS):
        product = proximal.total_sums(rows, process.vector, problem, weight_map, packing=packing).gradient
        process, alpha = proximal.lanczos_step(process, product, problem, weight_map, packing=packing)
        alphas.append(alpha)
        betas.append(process.beta)
    largest = _largest_eigenvalues(np.stack(alphas, 1), np.stack(betas, 1))
    steps = 1 / (curvature * np.where(largest > 0, largest, 1))
    return problem._replace(step=jax.device_put(steps.astype(np.float32), part.device))


def _best_constant(targets: np.ndarray, n_outputs: int) -> tuple[Float[np.ndarray, " output"], float]:
    """The bias without weights, and its loss; a class without rows, whose best output is -infinity, is far below."""
    if not np.issubdtype(targets.dtype, np.integer):
        mean = np.mean(targets, dtype=np.float64) if len(targets) else 0.0
        loss = np.mean((targets - mean) ** 2) if len(targets) else 0.0
        bias = np.array([mean])
    else:
        shares = np.maximum(np.bincount(targets, minlength=n_outputs) / max(len(targets), 1), 1e-9)
        bias = np.log(shares) - np.log(shares).mean()
        loss = -(shares * np.log(shares)).sum()
    return bias, max(float(loss), float(np.finfo(np.float32).tiny) * 1e6)


def _largest_eigenvalues(
    diagonal: Float[np.ndarray, "probe step"], off_diagonal: Float[np.ndarray, "probe step"]
) -> Float[np.ndarray, " probe"]:
    """The largest Ritz value of each Lanczos process and how far an eigenvalue may lie from it."""
    matrices = diagonal[:, :, None].astype(np.float64) * np.eye(diagonal.shape[1])
    steps = np.arange(diagonal.shape[1] - 1)
    matrices[:, steps, steps + 1] = matrices[:, steps + 1, steps] = off_diagonal[:, :-1]
    values, vectors = np.linalg.eigh(matrices)
    return 1.001 * (values[:, -1] + off_diagonal[:, -1] * np.abs(vectors[:, -1, -1]))
