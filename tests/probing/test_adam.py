"""Optimizers by way of `fit`, against the default and against optax on one dense probe."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.made_up_task import N_CLASSES, N_COLUMNS, random_task, relative_error

from jaxred import probing
from jaxred.config import ProbeConfig
from jaxred.errors import UserError
from jaxred.probing import fit, parts
from jaxred.probing.families import prefix_family, subset_family

CONFIG = ProbeConfig(l1=1e-3, l2=1e-3, learning_rate=1e-2, epochs=3, batch_size=32)
SUBSETS = [np.arange(i, N_COLUMNS, 2 + i % 5) for i in range(6)]
FAMILY = subset_family(SUBSETS, N_COLUMNS)
RATES = [1e-2, 1e-2, 2e-3, 1e-2, 5e-2, 1e-2]


def trained(optimizer=None, settings=None, config=CONFIG, family=FAMILY):
    return fit(family, *random_task(), N_CLASSES, config, settings, optimizer=optimizer)


def test_optaxs_adam_is_the_default_to_rounding():
    """To 1e-5, because optax takes 1 - 0.999 ** count in float32, whose rounding is 1e-5 of it in the first steps."""
    assert any(mask is not None for mask in FAMILY.masks)
    settings = probing.settings_of(CONFIG, 6)._replace(learning_rate=np.float32(RATES))
    for own in (None, settings):
        default, general = trained(settings=own), trained(optax.adam(1e-2), own)
        for probe in range(6):
            one, other = general.probe(probe), default.probe(probe)
            assert relative_error(one.weights, other.weights) <= 1e-5
            np.testing.assert_allclose(one.bias, other.bias, rtol=0, atol=1e-5)
            np.testing.assert_allclose(one.losses, other.losses, rtol=1e-5)


def dense_training(optimizer, columns, config):
    """One probe alone, by the autodiff of the loss as it is written, batch by batch, from fit's initial weights."""
    features, targets = random_task()
    x = jnp.asarray(features[:, columns])
    still = fit(
        prefix_family(columns, [len(columns)]), features, targets, N_CLASSES, replace(CONFIG, learning_rate=1e-30)
    ).probe(0)
    params = jnp.asarray(still.weights), jnp.asarray(still.bias)

    def loss(params, x, y):
        weights, bias = params
        data = -jnp.take_along_axis(jax.nn.log_softmax(x @ weights + bias), y[:, None], 1).mean()
        return data + config.l1 * jnp.abs(weights).sum() + config.l2 * jnp.sqrt((weights**2).sum())

    state = optimizer.init(params)
    for _ in range(config.epochs):
        for start in range(0, len(x), config.batch_size):
            rows = slice(start, start + config.batch_size)
            updates, state = optimizer.update(
                jax.grad(loss)(params, x[rows], jnp.asarray(targets[rows])), state, params
            )
            params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize(
    "optimizer",
    [optax.sgd(0.05), optax.sgd(0.05, momentum=0.9), optax.adamw(1e-2, weight_decay=0.1), optax.rmsprop(1e-3)],
    ids=["sgd", "momentum", "adamw", "rmsprop"],
)
def test_any_optimizer_trains_every_probe_of_a_family_as_if_it_were_alone(optimizer):
    fitted = trained(optimizer)
    for probe in (0, 4):
        weights, bias = dense_training(optimizer, SUBSETS[probe], CONFIG)
        assert relative_error(fitted.probe(probe).weights, weights) <= 1e-5
        np.testing.assert_allclose(fitted.probe(probe).bias, bias, rtol=0, atol=1e-5)
    for segment, mask, weights in zip(FAMILY.segments, FAMILY.masks, parts.unpacked(fitted.parts[0]), strict=True):
        if mask is not None:
            assert segment.owners
            assert (weights[np.broadcast_to(~mask.T[:, None], weights.shape)] == 0).all()


def test_a_probes_rate_scales_its_updates():
    settings = probing.settings_of(CONFIG, 6)._replace(learning_rate=np.float32(RATES))
    fitted = trained(optax.sgd(0.05), settings)
    for probe in range(6):
        alone = trained(optax.sgd(0.05 * RATES[probe] / 1e-2)).probe(probe)
        assert relative_error(fitted.probe(probe).weights, alone.weights) <= 1e-6


def test_an_optimizer_with_fista_is_refused():
    with pytest.raises(UserError, match="takes the place of Adam, but solver is 'fista'"):
        trained(optax.sgd(0.1), config=replace(CONFIG, solver="fista"))
