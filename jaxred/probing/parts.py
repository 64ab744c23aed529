"""Parts of a family: the probes that are trained together on one device, as arrays there.

A family is cut so that a part's weights fit a memory budget, and so that every device has one.
"""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxred.config import ProbeConfig
from jaxred.probing.elastic_net import Penalty
from jaxred.probing.families import ALIGN, Family
from jaxred.probing.layout import Packing, Params, Segment, WeightMap

GROUP_WEIGHTS = {"cpu": 150_000}  # weights that a pass of the optimiser goes through at once, to stay in the cache
PART_BYTES = 1 << 30  # for the weights of one part of a family and what the optimiser keeps of them
WEIGHT_BYTES = {"adam": 16, "fista": 24}  # of a weight: value, two moments, gradient; two points, their next, gradient


class Settings(NamedTuple):
    """What may differ between the probes of a family."""

    l1: Float[np.ndarray, " probe"]
    l2: Float[np.ndarray, " probe"]
    learning_rate: Float[np.ndarray, " probe"]
    seed: Int[np.ndarray, " probe"]


class Part(NamedTuple):
    """Some probes of a family, trained together on one device."""

    probes: tuple[int, ...]  # their numbers in the family
    family: Family
    packing: Packing
    weight_map: WeightMap
    params: Params
    penalty: Penalty
    device: Any


def settings_of(config: ProbeConfig, n_probes: int) -> Settings:
    """The configuration's settings, for every probe of a family."""
    everyone = np.ones(n_probes, np.float32)
    seeds = np.full(n_probes, config.seed)
    return Settings(everyone * config.l1, everyone * config.l2, everyone * config.learning_rate, seeds)


def all_parts(
    family: Family,
    n_outputs: int,
    config: ProbeConfig,
    settings: Settings,
    varies: Bool[np.ndarray, " matrix_column"] | None = None,
) -> list[Part]:
    """A family cut into parts with their initial weights, spread over the devices.

    Args:
        family: what is cut.
        n_outputs: outputs of a probe.
        config: its solver decides how much memory a weight takes.
        settings: of every probe.
        varies: the columns of the matrix that vary; weights of the others take no part. By default all do.
    """
    devices = jax.local_devices()
    return [
        _prepared(family, probes, n_outputs, settings, devices[number % len(devices)], varies)
        for number, probes in enumerate(_divided(family, n_outputs, len(devices), config.solver))
    ]


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
    varies: Bool[np.ndarray, " matrix_column"] | None,
) -> Part:
    """A part of a family with its initial weights, on its device; weights of columns that do not vary take no part."""
    subfamily = family.only(probes)
    packing = _packing(subfamily, n_outputs)
    existing = subfamily if varies is None else _of_varying(subfamily, varies)
    group_of = [
        np.concatenate([_row_probes(s, packing) for s in packing.segments[a:b]], dtype=np.int32)
        for a, b in packing.groups
    ]
    columns = (
        None
        if np.array_equal(subfamily.columns, np.arange(len(subfamily.columns)))
        else subfamily.columns.astype(np.int32)
    )
    weights, bias = _initial_params(subfamily, packing, settings.seed[list(probes)])
    settings_of = [values[list(probes)] for values in (settings.l1, settings.l2, settings.learning_rate)]
    columns, rows, owned, settings_of, weights, bias = jax.device_put(
        (columns, group_of, _owned(existing, packing), settings_of, weights, bias), device
    )
    weight_map, penalty, params = WeightMap(columns, tuple(rows), owned), Penalty(*settings_of), Params(weights, bias)
    return Part(probes, subfamily, packing, weight_map, params, penalty, device)


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
    most = GROUP_WEIGHTS.get(jax.default_backend(), math.inf)  # elsewhere one pass: launches outweigh the cache
    groups, first, held = [], 0, 0
    for number, segment in enumerate(family.segments):
        held += len(segment.owners) * n_outputs * (segment.stop - segment.start)
        if held >= most or number == len(family.segments) - 1:
            groups.append((first, number + 1))
            first, held = number + 1, 0
    return Packing(family.segments, tuple(groups), tile, family.n_probes, n_outputs)


def _row_probes(segment: Segment, packing: Packing) -> Int[np.ndarray, " weight_row"]:
    return np.repeat(segment.owners, packing.n_rows(segment) // len(segment.owners))


def _owned(family: Family, packing: Packing) -> tuple[Float[np.ndarray, "_weight_row tile"] | None, ...]:
    """For each group, 1 where a weight exists; None where all do."""
    positions: list[np.ndarray | None] = []
    for first, last in packing.groups:
        if all(mask is None for mask in family.masks[first:last]):
            positions.append(None)
            continue
        parts = []
        for segment, mask in zip(family.segments[first:last], family.masks[first:last], strict=True):
            width = segment.stop - segment.start
            exists = np.ones((width, len(segment.owners)), bool) if mask is None else mask
            parts.append(np.repeat(exists.T[:, None], packing.n_outputs, 1).reshape(-1, packing.tile))
        positions.append(np.concatenate(parts).astype(np.float32))
    return tuple(positions)


def _initial_params(
    family: Family, packing: Packing, seeds: Int[np.ndarray, " probe"]
) -> tuple[tuple[Float[np.ndarray, "_weight_row tile"], ...], Float[np.ndarray, "probe output"]]:
    """PyTorch's default for a linear layer: weights and bias uniform in +-1/sqrt(columns).

    The draw depends on the seed and on the probe's own size, not on its place in the family.
    """
    n_outputs = packing.n_outputs
    weights = [np.zeros((len(s.owners), n_outputs, s.stop - s.start), np.float32) for s in family.segments]
    bias = np.zeros((family.n_probes, n_outputs), np.float32)
    for probe, seed in enumerate(seeds.tolist()):
        places = family.places(probe)
        positions_of_all = np.concatenate([positions for _, _, positions in places]) if places else np.zeros(0, int)
        bound = 1 / np.sqrt(len(positions_of_all)) if len(positions_of_all) else 0
        draw = np.random.default_rng([seed, len(positions_of_all), n_outputs])
        values = np.empty((len(positions_of_all), n_outputs))
        values[np.argsort(family.rank[positions_of_all])] = draw.uniform(-bound, bound, values.shape)
        bias[probe] = draw.uniform(-bound, bound, n_outputs)
        for number, owner, positions in places:
            inside = positions - family.segments[number].start
            weights[number][owner][:, inside], values = values[: len(inside)].T, values[len(inside) :]
    packed = [np.concatenate([w.reshape(-1, packing.tile) for w in weights[a:b]]) for a, b in packing.groups]
    return tuple(packed), bias


def unpacked(part: Part) -> list[Float[np.ndarray, "_owner output _column"]]:
    """The weights of each segment of a part."""
    arrays, packing = [], part.packing
    for (first, last), packed in zip(packing.groups, part.params.weights, strict=True):
        rows, at = np.asarray(packed), 0
        for segment in packing.segments[first:last]:
            count = packing.n_rows(segment)
            arrays.append(rows[at : at + count].reshape(len(segment.owners), packing.n_outputs, -1))
            at += count
    return arrays
