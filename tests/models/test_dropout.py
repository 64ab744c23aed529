"""Dropout: its rates in `config.json`, and the noise of a step."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_models import write_encoder

from jaxred.errors import UserError
from jaxred.finetuning.classifier import load_classifier
from jaxred.models import pretrained
from jaxred.models.dropout import SILENT, DropoutRates, Noise, read_rates
from jaxred.models.loading import ARCHITECTURES, architecture
from jaxred.models.tokenization import Tokenizer

PATH, KEY = Path("config.json"), jax.random.key(1)
PLACES = {"embeddings": ("hidden_dropout_prob", 0.1), "attention": ("attention_dropout", 0.0)}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, (0.1, 0.0)),
        ({"hidden_dropout_prob": 0.3, "attention_dropout": 0}, (0.3, 0.0)),
        ({"hidden_dropout_prob": None, "attention_dropout": 0.5, "other": 9}, (0.1, 0.5)),
    ],
)
def test_rates_are_those_of_the_file(raw, expected):
    rates = read_rates(PLACES, raw, PATH)
    assert rates == DropoutRates(embeddings=expected[0], attention=expected[1])


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, True, "0.1", float("nan")])
def test_a_rate_that_cannot_be_is_named(rate):
    with pytest.raises(UserError, match=r"config\.json: hidden_dropout_prob=.* is not possible: it must be a number"):
        read_rates(PLACES, {"hidden_dropout_prob": rate}, PATH)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_values_are_dropped_at_the_rate_and_the_others_scaled(rate):
    noise = Noise(jax.random.key(0), DropoutRates(inner=rate))
    values = np.asarray(noise("inner", jnp.full((200, 300), 2.0)))
    kept = values != 0
    assert abs(1 - kept.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / values.size)
    np.testing.assert_allclose(values[kept], 2 / (1 - rate), rtol=1e-6)
    assert values.mean() == pytest.approx(2, rel=0.05)


def test_places_layers_and_keys_have_noise_of_their_own():
    rates = DropoutRates(**dict.fromkeys(DropoutRates.__dataclass_fields__, 0.5))
    noises = [Noise(jax.random.key(seed), rates) for seed in (0, 1)]
    of_layers = [noise.of_layer(index) for noise in noises for index in (-1, 0, 1)]
    drawn = [
        np.asarray(noise.factors(place, (40,))).tobytes()
        for noise in (*noises, *of_layers)
        for place in DropoutRates.__dataclass_fields__
    ]
    assert len(set(drawn)) == len(drawn)
    again = np.asarray(noises[0].factors("embeddings", (40,))).tobytes()
    assert again == drawn[0]


def test_without_a_key_or_a_rate_values_are_as_they_were():
    x = jnp.arange(6.0)
    assert SILENT("inner", x) is x
    assert Noise(None, DropoutRates(inner=0.5))("inner", x) is x
    assert Noise(jax.random.key(0))("inner", x) is x
    assert SILENT.of_layer(3) is SILENT


def test_values_keep_their_type():
    noise = Noise(jax.random.key(0), DropoutRates(inner=0.5))
    assert noise("inner", jnp.ones(4, jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("model_type", ["bert", "xlnet"])
def test_every_rate_of_an_architecture_changes_its_scores(model_type, tmp_path):
    folder = write_encoder(tmp_path / "source", model_type)
    classifier, _ = load_classifier(folder, 3, False)
    tokenizer = Tokenizer(folder, classifier.encoder.config)
    batch = tokenizer.pad(tokenizer.encode(["the film is fine", "a plot was slow"], None, 16), [0, 1], 16, 2)
    encoder = architecture(model_type)

    def scores(**rates):
        return np.asarray(jax.jit(lambda key: classifier(batch, noise=Noise(key, DropoutRates(**rates))))(KEY))

    usual = scores()
    for place in (*encoder.dropouts, "head"):
        assert not np.allclose(scores(**{place: 0.5}), usual), place
    np.testing.assert_array_equal(np.asarray(jax.jit(lambda: classifier(batch))()), usual)


@pytest.mark.reference
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_default_rates_are_those_of_transformers(model_type, tmp_path):
    from transformers import AutoConfig

    defaults = AutoConfig.for_model(model_type).to_dict()
    encoder = architecture(model_type)
    for key, rate in encoder.dropouts.values():
        assert defaults[key] == pytest.approx(rate), key
    folder = write_encoder(tmp_path / "source", model_type)
    raw = {key: value for key, value in pretrained.read_config(folder).items() if "drop" not in key}
    assert read_rates(encoder.dropouts, raw, PATH) == read_rates(encoder.dropouts, defaults, PATH)
