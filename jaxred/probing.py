"""Trains families of probes and asks them for predictions: many probes, one read of the data.

A probe has the same weights whether it is trained alone, in a family, in a part of one (families are cut to a memory
budget and spread over devices), or from a matrix that is streamed.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxred.config import ProbeConfig
from jaxred.errors import UserError
from jaxred.families import ALIGN, Family
from jaxred.kernels import elastic_net, proximal
from jaxred.kernels import family as kernel
from jaxred.kernels.elastic_net import Penalty
from jaxred.kernels.family import Batches, Layout, Packing, Params, Segment
from jaxred.matrix import FeatureMatrix

PREDICT_BATCHES = 8  # batches asked for predictions at once
GROUP_WEIGHTS = 150_000  # weights that a pass of the optimiser goes through at once; they should stay in the cache
PART_BYTES = 1 << 30  # for the weights of one part of a family and what the optimiser keeps of them
WEIGHT_BYTES = {"adam": 16, "fista": 24}  # of a weight: value, two moments, gradient; two points, their next, gradient
LANCZOS_STEPS = 16  # passes over the data for the largest eigenvalue of every probe's covariance
CONSTANT = 1e-6  # a column whose deviation is a smaller share of its mean is constant, up to rounding
CONVERGED = 0.01  # the share of its loss that a probe may still lose in its last epoch


class Settings(NamedTuple):
    """What may differ between the probes of a family."""

    l1: Float[np.ndarray, " probe"]
    l2: Float[np.ndarray, " probe"]
    learning_rate: Float[np.ndarray, " probe"]
    seed: Int[np.ndarray, " probe"]


class Solution(NamedTuple):
    """How close to its optimum fista has brought a probe, or every probe of a family."""

    residual: Any  # the smallest subgradient, as a share: `jaxred.kernels.proximal.inspect`
    iterations: Any
    tolerance: float


class Probe(NamedTuple):
    """A trained linear probe: outputs = features[:, columns] @ weights + bias."""

    columns: Int[np.ndarray, " column"]
    weights: Float[np.ndarray, "column output"]
    bias: Float[np.ndarray, " output"]
    losses: Float[np.ndarray, " epoch"]  # penalties included: of each epoch's batches; of fista, every 10 steps
    solution: "Solution | None" = None  # of fista

    @property
    def converged(self) -> bool:
        """Of fista, whether its residual met the tolerance; of Adam, whether the last epoch lowered the loss by less
        than CONVERGED of it.
        """
        if self.solution is not None:
            return bool(self.solution.residual <= self.solution.tolerance)
        return len(self.losses) > 1 and bool(self.losses[-2] - self.losses[-1] <= CONVERGED * abs(self.losses[-1]))


class Part(NamedTuple):
    """Some probes of a family, trained together on one device."""

    probes: tuple[int, ...]  # their numbers in the family
    family: Family
    packing: Packing
    layout: Layout
    params: Params


@dataclass(frozen=True)
class Fit:
    """A trained family."""

    family: Family
    parts: tuple[Part, ...]
    losses: Float[np.ndarray, "epoch probe"]
    regression: bool
    solution: Solution | None = None  # of fista, for every probe

    def probe(self, index: int) -> Probe:
        """One probe of the family, unpacked."""
        part = next(part for part in self.parts if index in part.probes)
        place = part.probes.index(index)
        arrays = _unpacked(part.packing, part.params)
        found = part.family.places(place)
        weights = np.zeros((0, part.packing.n_outputs), np.float32)
        if found:
            starts = [segment.start for segment in part.family.segments]
            mine = [arrays[number][at][:, positions - starts[number]].T for number, at, positions in found]
            rank = self.family.rank[np.concatenate([positions for _, _, positions in found])]
            weights = np.concatenate(mine)[np.argsort(rank)]
        bias = np.asarray(part.params.bias)[place]
        solution = self.solution
        if solution is not None:
            residual, iterations = solution.residual[index].item(), solution.iterations[index].item()
            solution = Solution(residual, iterations, solution.tolerance)
        return Probe(self.family.owned(index), weights, bias, self.losses[:, index], solution)

    def predict(self, features: FeatureMatrix | Float[np.ndarray, "row column"]) -> np.ndarray:
        """Every probe's class ids [row, probe], or scores for regression."""
        matrix = features if isinstance(features, FeatureMatrix) else FeatureMatrix.from_rows(features, 128)
        shape = len(matrix.blocks), self.family.n_probes, matrix.batch_size
        predictions = np.zeros(shape, np.float32 if self.regression else np.int32)
        for part in self.parts:
            device = next(iter(part.params.bias.devices()))
            columns, packing = part.layout.columns, part.packing
            for batches, blocks in matrix.windows(device, PREDICT_BATCHES):  # one shape, one compilation
                found = kernel.predict(part.params, blocks, columns, packing=packing, regression=self.regression)
                predictions[batches, list(part.probes)] = np.asarray(found)[: batches.stop - batches.start]
        return predictions.transpose(0, 2, 1).reshape(shape[0] * shape[2], shape[1])[: matrix.n_rows]


def repeated_settings(config: ProbeConfig, n_probes: int, repeats: int = 1) -> Settings:
    """The configuration's settings for a family repeated so many times; repeat r takes the seed + r."""
    seeds = config.seed + np.repeat(np.arange(repeats), n_probes)
    everyone = np.ones(len(seeds), np.float32)
    return Settings(everyone * config.l1, everyone * config.l2, everyone * config.learning_rate, seeds)


def fit(
    family: Family,
    features: FeatureMatrix | Float[np.ndarray, "row column"],
    targets: Int[np.ndarray, " row"] | Float[np.ndarray, " row"],
    n_outputs: int,
    config: ProbeConfig,
    settings: Settings | None = None,
) -> Fit:
    """Trains every probe of a family.

    Args:
        family: what is trained.
        features: the training matrix, in the order in which its rows are taken.
        targets: class ids (integers) or scores (floats).
        n_outputs: classes; 1 for regression.
        config: solver, penalties, learning rate, epochs, batch size, seed.
        settings: penalties, learning rate and seed of every probe, in place of the configuration's.

    Raises:
        UserError: if rows are to be shuffled and the matrix does not fit in memory.
    """
    matrix = features if isinstance(features, FeatureMatrix) else FeatureMatrix.from_rows(features, config.batch_size)
    settings = settings or repeated_settings(config, family.n_probes)
    regression = not np.issubdtype(targets.dtype, np.integer)
    values = matrix.batched(targets.astype(np.float32 if regression else np.int32))
    chunks = matrix.chunks()
    if config.solver == "fista":
        return _optimum(family, matrix, targets, n_outputs, config, settings)
    order = _orders(matrix, config, chunks)

    devices = jax.local_devices()
    parts, states, losses = [], [], []
    for number, probes in enumerate(_divided(family, n_outputs, len(devices), config.solver)):
        device = devices[number % len(devices)]
        part, penalty = _prepared(family, probes, n_outputs, settings, device)
        parts.append((part, penalty, device))
        states.append(jax.device_put(elastic_net.start(part.params), device))
        losses.append([])
    n_passes, epochs = (1, config.epochs) if len(chunks) == 1 else (config.epochs, 1)
    for _ in range(n_passes):
        for batches in chunks:
            for i, (part, penalty, device) in enumerate(parts):
                data = Batches(
                    matrix.on(device, batches),
                    jax.device_put(values[batches], device),
                    jax.device_put(matrix.counts[batches], device),
                )
                states[i], summed = elastic_net.train(
                    states[i],
                    data,
                    penalty,
                    part.layout,
                    None if order is None else jax.device_put(order, device),
                    packing=part.packing,
                    epochs=epochs,
                    squared_l2=config.squared_l2,
                )
                losses[i].append(summed)
    jax.block_until_ready(states)
    record = np.zeros((config.epochs, family.n_probes), np.float32)
    for (part, _, _), summed in zip(parts, losses, strict=True):
        whole = np.concatenate([np.asarray(s) for s in summed]).reshape(config.epochs, len(chunks), len(part.probes))
        record[:, list(part.probes)] = whole.sum(1) / len(matrix.blocks)
    trained = tuple(part._replace(params=state.params) for (part, _, _), state in zip(parts, states, strict=True))
    return Fit(family, trained, record, regression)


def _optimum(
    family: Family,
    matrix: FeatureMatrix,
    targets: np.ndarray,
    n_outputs: int,
    config: ProbeConfig,
    settings: Settings,
) -> Fit:
    """Takes every probe to its optimum by `jaxred.kernels.proximal`."""
    regression = not np.issubdtype(targets.dtype, np.integer)
    values = matrix.batched(targets.astype(np.float32 if regression else np.int32))
    chunks, devices = matrix.chunks(), jax.local_devices()
    mean, deviation = matrix.mean_and_deviation()
    varies = deviation > CONSTANT * np.abs(mean)
    null_bias, null_loss = _best_constant(targets, n_outputs, regression)
    curvature = proximal.curvature(not regression)
    draw = np.random.default_rng(0).normal(size=len(mean)) * varies
    tolerance = np.float32(config.tolerance)

    def data(device: Any, batches: slice, values: np.ndarray) -> Batches:
        parts = values[batches], matrix.counts[batches]
        return Batches(matrix.on(device, batches), *jax.device_put(parts, device))

    def sums_at(part: Part, problem: proximal.Problem, point: Params, values: np.ndarray, device: Any) -> proximal.Sums:
        found = jax.device_put(proximal.no_sums(point), device)
        for batches in chunks:
            read = data(device, batches, values)
            found = proximal.accumulate(found, point, read, problem, part.layout, packing=part.packing)
        return found

    parts, problems, states, homes = [], [], [], []
    for number, probes in enumerate(_divided(family, n_outputs, len(devices), config.solver)):
        device = devices[number % len(devices)]
        part, penalty = _prepared(family, probes, n_outputs, settings, device, varies)
        mine = part.family
        centre, draws = mean[mine.columns].astype(np.float32), draw[mine.columns].astype(np.float32)
        numbers = [np.float32(number) for number in (1 / curvature, null_loss, matrix.n_rows)]
        rest = jax.device_put((centre, np.ones(len(probes), np.float32), *numbers), device)
        problem = proximal.Problem(penalty.l1, penalty.l2, *rest)
        layout, packing = proximal.one_output(part.layout, part.packing)
        alone = part._replace(layout=layout, packing=packing)
        process = proximal.lanczos_start(jax.device_put(draws, device), layout, packing=packing)
        alphas, betas = [], []
        for _ in range(LANCZOS_STEPS):
            product = sums_at(alone, problem, process.vector, np.zeros(values.shape, np.float32), device).gradient
            process, alpha = proximal.lanczos_step(process, product, problem, layout, packing=packing)
            alphas.append(alpha)
            betas.append(process.beta)
        entries = [np.stack([np.broadcast_to(v, len(probes)) for v in each], 1) for each in (alphas, betas)]
        largest = _largest_eigenvalues(*entries)
        steps = 1 / (curvature * np.where(largest > 0, largest, 1))
        problems.append(problem._replace(step=jax.device_put(steps.astype(np.float32), device)))
        bias = jax.device_put(np.tile(np.float32(null_bias), (len(probes), 1)), device)
        states.append(jax.device_put(proximal.start(bias, part.layout, part.packing), device))
        parts.append(part)
        homes.append(device)

    records: list[list[Any]] = [[] for _ in parts]
    if len(chunks) == 1:
        for i, (part, problem, device) in enumerate(zip(parts, problems, homes, strict=True)):
            states[i], *records[i] = proximal.solve(
                states[i],
                data(device, chunks[0], values),
                tolerance,
                problem,
                part.layout,
                packing=part.packing,
                max_iterations=config.max_iterations,
                squared_l2=config.squared_l2,
            )
        records = [list(np.asarray(record)[: int(n)]) for record, n in records]
    else:
        for taken in range(config.max_iterations + 1):
            look = taken % proximal.INTERVAL == 0 or taken == config.max_iterations
            for i, (part, problem, device) in enumerate(zip(parts, problems, homes, strict=True)):
                how = {"packing": part.packing, "squared_l2": config.squared_l2}
                if look:
                    sums = sums_at(part, problem, states[i].params, values, device)
                    states[i] = proximal.inspect(states[i], sums, problem, part.layout, **how)
                    records[i].append(np.asarray(states[i].loss))
            if taken == config.max_iterations or all((np.asarray(s.residual) <= tolerance).all() for s in states):
                break
            for i, (part, problem, device) in enumerate(zip(parts, problems, homes, strict=True)):
                how = {"packing": part.packing, "squared_l2": config.squared_l2}
                gradient = sums_at(part, problem, states[i].ahead, values, device).gradient
                states[i] = proximal.advance(states[i], gradient, tolerance, problem, part.layout, **how)

    n_looks = max(len(record) for record in records)
    losses = np.zeros((n_looks, family.n_probes), np.float32)
    residual, iterations = np.zeros(family.n_probes, np.float32), np.zeros(family.n_probes, np.int32)
    for i, (part, problem) in enumerate(zip(parts, problems, strict=True)):
        mine = list(part.probes)
        losses[:, mine] = np.stack(records[i] + records[i][-1:] * (n_looks - len(records[i])))
        residual[mine], iterations[mine] = np.asarray(states[i].residual), np.asarray(states[i].iterations)
        parts[i] = part._replace(params=proximal.finish(states[i], problem, packing=part.packing))
    return Fit(family, tuple(parts), losses, regression, Solution(residual, iterations, config.tolerance))


def _best_constant(targets: np.ndarray, n_outputs: int, regression: bool) -> tuple[Float[np.ndarray, " output"], float]:
    """The bias without weights, and its loss; a class without rows, whose best output is -infinity, is far below."""
    if regression:
        mean = np.mean(targets, dtype=np.float64) if len(targets) else 0.0
        loss = np.mean((targets - mean) ** 2) if len(targets) else 0.0
        bias = np.array([mean])
    else:
        shares = np.maximum(np.bincount(targets, minlength=n_outputs) / max(len(targets), 1), 1e-9)
        bias = np.log(shares) - np.log(shares).mean()
        loss = -(shares * np.log(shares)).sum()
    return bias, max(float(loss), float(np.finfo(np.float32).tiny) * 1e6)


def _largest_eigenvalues(
    diagonal: Float[np.ndarray, "probe step"], beside: Float[np.ndarray, "probe step"]
) -> Float[np.ndarray, " probe"]:
    """The largest Ritz value of each Lanczos process and how far an eigenvalue may lie from it."""
    matrices = diagonal[:, :, None].astype(np.float64) * np.eye(diagonal.shape[1])
    steps = np.arange(diagonal.shape[1] - 1)
    matrices[:, steps, steps + 1] = matrices[:, steps + 1, steps] = beside[:, :-1]
    values, vectors = np.linalg.eigh(matrices)
    return 1.001 * (values[:, -1] + beside[:, -1] * np.abs(vectors[:, -1, -1]))


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
            "(--config.task.limit_instances) or layers (--config.encoder.n_layers)."
        )
    draw = np.random.default_rng(config.seed)
    n_batches, size = len(matrix.blocks), matrix.batch_size
    nobody = np.arange(matrix.n_rows, n_batches * size)
    orders = [np.concatenate([draw.permutation(matrix.n_rows), nobody]) for _ in range(config.epochs)]
    return np.stack(orders).reshape(config.epochs, n_batches, size).astype(np.int32)


def _divided(family: Family, n_outputs: int, n_devices: int, solver: str) -> list[tuple[int, ...]]:
    """The probes of each part: as many parts as devices, or more where a part would not fit in its memory."""
    weights = family.n_weights(n_outputs)
    n_parts = max(math.ceil(weights.sum() * WEIGHT_BYTES[solver] / PART_BYTES), min(n_devices, family.n_probes), 1)
    parts: list[list[int]] = [[] for _ in range(n_parts)]
    load = np.zeros(n_parts)
    for probe in np.argsort(-weights, kind="stable").tolist():  # the largest first, each to the least laden part
        lightest = int(np.argmin(load))
        parts[lightest].append(probe)
        load[lightest] += weights[probe]
    return [tuple(sorted(part)) for part in parts if part] or [()]


def _prepared(
    family: Family,
    probes: tuple[int, ...],
    n_outputs: int,
    settings: Settings,
    device: Any,
    varies: Bool[np.ndarray, " matrix_column"] | None = None,
) -> tuple[Part, Penalty]:
    """A part of a family with its initial weights, on its device; weights of columns that do not vary take no part."""
    mine = family.only(probes)
    packing = _packing(mine, n_outputs)
    existing = mine if varies is None else _of_varying(mine, varies)
    group_of = [
        np.concatenate([_row_probes(s, packing) for s in packing.segments[a:b]], dtype=np.int32)
        for a, b in packing.groups
    ]
    columns = None if np.array_equal(mine.columns, np.arange(len(mine.columns))) else mine.columns.astype(np.int32)
    weights, bias = _initial_params(mine, packing, settings.seed[list(probes)])
    settings_of = [values[list(probes)] for values in (settings.l1, settings.l2, settings.learning_rate)]
    columns, rows, owned, settings_of, weights, bias = jax.device_put(
        (columns, group_of, _owned(existing, packing), settings_of, weights, bias), device
    )
    layout, penalty, params = Layout(columns, tuple(rows), owned), Penalty(*settings_of), Params(weights, bias)
    return Part(probes, mine, packing, layout, params), penalty


def _of_varying(family: Family, varies: Bool[np.ndarray, " matrix_column"]) -> Family:
    """The family without the weights of columns that do not vary."""
    masks = []
    for segment, mask in zip(family.segments, family.masks, strict=True):
        there = varies[family.columns[segment.start : segment.stop]]
        if there.all():
            masks.append(mask)
        else:
            exists = np.ones((len(there), len(segment.owners)), bool) if mask is None else mask
            masks.append(exists & there[:, None])
    return replace(family, masks=tuple(masks))


def _packing(family: Family, n_outputs: int) -> Packing:
    width = math.gcd(*(s.stop - s.start for s in family.segments)) if family.segments else 1
    tile = max(d for d in range(1, min(width, ALIGN) + 1) if width % d == 0)
    groups, first, held = [], 0, 0
    for number, segment in enumerate(family.segments):
        held += len(segment.owners) * n_outputs * (segment.stop - segment.start)
        if held >= GROUP_WEIGHTS or number == len(family.segments) - 1:
            groups.append((first, number + 1))
            first, held = number + 1, 0
    return Packing(family.segments, tuple(groups), tile, family.n_probes, n_outputs)


def _row_probes(segment: Segment, packing: Packing) -> Int[np.ndarray, " weight_row"]:
    return np.repeat(segment.owners, packing.n_rows(segment) // len(segment.owners))


def _owned(family: Family, packing: Packing) -> tuple[Float[np.ndarray, "weight_row tile"] | None, ...]:
    """For each group, 1 where a weight exists; None where all do."""
    found: list[np.ndarray | None] = []
    for first, last in packing.groups:
        if all(mask is None for mask in family.masks[first:last]):
            found.append(None)
            continue
        parts = []
        for segment, mask in zip(family.segments[first:last], family.masks[first:last], strict=True):
            width = segment.stop - segment.start
            exists = np.ones((width, len(segment.owners)), bool) if mask is None else mask
            parts.append(np.repeat(exists.T[:, None], packing.n_outputs, 1).reshape(-1, packing.tile))
        found.append(np.concatenate(parts).astype(np.float32))
    return tuple(found)


def _initial_params(
    family: Family, packing: Packing, seeds: Int[np.ndarray, " probe"]
) -> tuple[tuple[Float[np.ndarray, "weight_row tile"], ...], Float[np.ndarray, "probe output"]]:
    """PyTorch's default for a linear layer: weights and bias uniform in +-1/sqrt(columns).

    The draw depends on the seed and on the probe's own size, not on its place in the family.
    """
    n_outputs = packing.n_outputs
    weights = [np.zeros((len(s.owners), n_outputs, s.stop - s.start), np.float32) for s in family.segments]
    bias = np.zeros((family.n_probes, n_outputs), np.float32)
    for probe, seed in enumerate(seeds.tolist()):
        places = family.places(probe)
        found = np.concatenate([positions for _, _, positions in places]) if places else np.zeros(0, int)
        bound = 1 / np.sqrt(len(found)) if len(found) else 0
        draw = np.random.default_rng([seed, len(found), n_outputs])
        values = np.empty((len(found), n_outputs))
        values[np.argsort(family.rank[found])] = draw.uniform(-bound, bound, values.shape)
        bias[probe] = draw.uniform(-bound, bound, n_outputs)
        for number, place, positions in places:
            inside = positions - family.segments[number].start
            weights[number][place][:, inside], values = values[: len(inside)].T, values[len(inside) :]
    packed = [np.concatenate([w.reshape(-1, packing.tile) for w in weights[a:b]]) for a, b in packing.groups]
    return tuple(packed), bias


def _unpacked(packing: Packing, params: Params) -> list[Float[np.ndarray, "owner output column"]]:
    """The weights of each segment."""
    arrays = []
    for (first, last), packed in zip(packing.groups, params.weights, strict=True):
        rows, at = np.asarray(packed), 0
        for segment in packing.segments[first:last]:
            count = packing.n_rows(segment)
            arrays.append(rows[at : at + count].reshape(len(segment.owners), packing.n_outputs, -1))
            at += count
    return arrays
