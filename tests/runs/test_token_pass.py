"""Which runs have measures of layers over tokens, and of what text."""

import dataclasses

import numpy as np
import pytest
from helpers import tiny_encoder
from helpers.small_training import separable

from jaxred.activations.token_changes import token_changes
from jaxred.config import SourceConfig, StudyConfig
from jaxred.models import load_encoder
from jaxred.models.tokenization import Tokenizer
from jaxred.runs import study, token_pass
from jaxred.runs.token_pass import token_changes_of
from jaxred.studies.results import LayerMeasures


@pytest.fixture(scope="module")
def config(encoder_folder, tmp_path_factory):
    texts = {split: separable(n, seed) for seed, (split, n) in enumerate((("train", 60), ("test", 20)))}
    sentences, labels = ({split: rows[part] for split, rows in texts.items()} for part in (0, 1))
    config = StudyConfig()
    config.encoder.path = str(encoder_folder)
    config.extraction = dataclasses.replace(config.extraction, max_length=12)
    task = tiny_encoder.write_task(tmp_path_factory.mktemp("task"), sentences, labels)
    config.task = dataclasses.replace(config.task, name="parallel", data_dir=str(task))
    return config


def test_a_sample_of_the_training_text_is_read(config, encoder_folder, monkeypatch):
    monkeypatch.setattr(token_pass, "N_SENTENCES", 10)
    found = token_changes_of(config)
    assert found is not None
    assert found.n_sentences == 10
    encoder = load_encoder(encoder_folder)
    tokenizer = Tokenizer(encoder_folder, encoder.config)
    chosen = np.random.default_rng(0).permutation(60)[:10]
    sentences = separable(60, 0)[0]
    expected = token_changes(encoder, tokenizer, tokenizer.encode([sentences[i] for i in chosen], None, 12))
    np.testing.assert_allclose(found.block_influence, expected.block_influence, rtol=1e-5)


def test_text_that_is_not_there_any_more_is_not_asked_for(config):
    assert token_changes_of(dataclasses.replace(config, source=SourceConfig(stores="somewhere"))) is None
    for name in ("texts", "activations"):
        assert token_changes_of(dataclasses.replace(config, task=dataclasses.replace(config.task, name=name))) is None


def test_a_run_measures_its_layers_over_tokens(config, tmp_path):
    folder = study.run_stages(config, str(tmp_path / "run"), False, ("layer_measures",))
    found = folder.load(LayerMeasures)
    assert found.n_sentences == 60
    measure = found.by_layer["block_influence_of_tokens"]
    assert np.isnan(measure.whole[0])
    assert (measure.whole[1:] > 0).all()
    assert "Block Influence (tokens)" in study.printed("layer_measures", config, folder)
