"""What a GPU or TPU is given to train, as far as a machine without one can tell: the same probes from the shapes
chosen for it, and programs that lower for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxred.config import ProbeConfig
from jaxred.probing import elastic_net, fit, parts
from jaxred.probing.families import layer_family, prefix_family
from jaxred.probing.layout import Batches

CONFIG = ProbeConfig(l1=1e-3, l2=1e-3, learning_rate=1e-2, epochs=3, batch_size=32)
N_ROWS, N_LAYERS, HIDDEN_SIZE = 90, 4, 128
N_COLUMNS = N_LAYERS * HIDDEN_SIZE


def layers():
    return layer_family(N_LAYERS, HIDDEN_SIZE)


def sizes():
    return prefix_family(np.random.default_rng(1).permutation(N_COLUMNS), [5, 128, 200, 256, 390, 512])


families = pytest.mark.parametrize("make", [layers, sizes])
platforms = pytest.mark.parametrize("platform", ["cuda", "tpu"])


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(parts, "GROUP_WEIGHTS", {"cpu": 1000})  # so that a small family has several on a CPU
    return lambda: monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def prepared(family, n_classes):
    settings = parts.settings_of(CONFIG, family.n_probes)
    (part,) = parts.all_parts(family, n_classes, CONFIG, settings)
    return part


@families
@pytest.mark.parametrize("n_classes", [2, 5])
def test_an_accelerators_shapes_train_the_same_probes(as_on_a_gpu, make, n_classes):
    draw = np.random.default_rng(0)
    features = draw.normal(size=(N_ROWS, N_COLUMNS)).astype(np.float32)
    targets = draw.integers(0, n_classes, N_ROWS).astype(np.int32)
    here, shapes = fit(make(), features, targets, n_classes, CONFIG), prepared(make(), n_classes).packing
    as_on_a_gpu()
    there, other_shapes = fit(make(), features, targets, n_classes, CONFIG), prepared(make(), n_classes).packing

    assert len(other_shapes.groups) == 1 < len(shapes.groups)
    assert len(other_shapes.segments) < len(shapes.segments)
    for number in range(make().n_probes):
        one, other = here.probe(number), there.probe(number)
        np.testing.assert_array_equal(one.columns, other.columns)
        assert np.linalg.norm(one.weights - other.weights) <= 2e-6 * np.linalg.norm(one.weights)
        np.testing.assert_allclose(one.losses, other.losses, rtol=2e-6)


@platforms
@families
def test_training_lowers_for_accelerators(as_on_a_gpu, make, platform):
    as_on_a_gpu()
    part = prepared(make(), 5)
    data = Batches(jnp.zeros((3, N_COLUMNS, 32)), jnp.zeros((3, 32), jnp.int32), jnp.full(3, 32, jnp.int32))
    traced = elastic_net.train.trace(
        elastic_net.start(part.params), data, part.penalty, part.weight_map, packing=part.packing, epochs=3
    )
    assert "stablehlo.while" in traced.lower(lowering_platforms=(platform,)).as_text()
