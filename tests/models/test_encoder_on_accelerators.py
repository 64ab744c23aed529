"""What a GPU or TPU is given to encode, as far as a machine without one can tell: the same vectors from the shapes
chosen for it, and programs that lower for it."""

import jax
import numpy as np
import pytest
from helpers.encoder_agreement import TINY, random_batch, random_tiny

from jaxred.models.encoder import Encoder

every_encoder = pytest.mark.parametrize("encoder_type", TINY, ids=lambda encoder_type: encoder_type.__name__)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    return lambda: monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@every_encoder
def test_encoders_lower_for_accelerators(as_on_a_gpu, encoder_type, platform):
    as_on_a_gpu()
    model = random_tiny(encoder_type)
    traced = jax.jit(lambda *batch: Encoder.__call__(model, *batch)).trace(*random_batch(model.config))
    assert "stablehlo.dot_general" in traced.lower(lowering_platforms=(platform,)).as_text()


@every_encoder
def test_an_accelerators_shapes_encode_the_same_vectors(as_on_a_gpu, encoder_type):
    model = random_tiny(encoder_type)
    batch = random_batch(model.config)
    here = np.asarray(jax.jit(lambda *batch: Encoder.__call__(model, *batch))(*batch))
    as_on_a_gpu()
    there = np.asarray(jax.jit(lambda *batch: Encoder.__call__(model, *batch))(*batch))
    assert np.linalg.norm(here - there) <= 2e-6 * np.linalg.norm(here)
