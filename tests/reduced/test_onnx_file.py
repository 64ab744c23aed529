"""ONNX files against jaxred, in onnxruntime."""

import json

import numpy as np
import pytest
from helpers import small_models
from helpers.small_models import TEXTS, random_model

from jaxred.errors import UserError
from jaxred.reduced import onnx_file

pytestmark = pytest.mark.reference  # which installs the extra `onnx`
pytest.importorskip("jax2onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def run_onnx(path, model, texts):
    """The file's outputs, texts in batches of different sizes and lengths."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    tokens = model.tokenizer.encode(texts, None, model.facts.max_length)
    found, start = [], 0
    for size in (1, 2, 7, 50):
        rows = list(range(start, min(start + size, len(texts))))
        batch = model.tokenizer.pad(tokens, rows, int(tokens.lengths[rows].max()) + size % 3, len(rows))
        given = {name: getattr(batch, name).astype(np.int64) for name in onnx_file.INPUTS}
        found.append(session.run(None, given))
        start += size
    return session, [np.concatenate(each) for each in zip(*found, strict=True)]


@pytest.mark.parametrize(
    ("model_type", "n_layers", "pooling"),
    [("bert", 2, "cls"), ("distilbert", 1, "mean"), ("mpnet", 1, "max"), ("roberta", 2, "last"), ("bert", 0, "mean")],
)
def test_outputs_are_jaxreds(model_type, n_layers, pooling, tmp_path):
    source = small_models.write_encoder(tmp_path / "encoder", model_type)
    model = random_model(source, n_layers, pooling=pooling)
    session, (logits, probabilities) = run_onnx(model.save_onnx(tmp_path / "m.onnx"), model, TEXTS)
    np.testing.assert_allclose(logits, list(model.outputs(TEXTS)), rtol=0, atol=1e-5)
    np.testing.assert_allclose(probabilities, model.predict_proba(TEXTS), rtol=0, atol=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == model.classes
    assert {given.type for given in session.get_inputs()} == {"tensor(int64)"}


def test_words_are_of_every_token_and_regression_of_scores(tmp_path):
    source = small_models.write_encoder(tmp_path / "encoder", "bert")
    words = random_model(source, 1, rows="word", pooling="average")
    path = words.save_onnx(tmp_path / "words.onnx")
    tokens = words.tokenizer.encode_words([["fine", "film"]], 16)
    ids, types = tokens.tokens.ids[0][None].astype(np.int64), tokens.tokens.token_type_ids[0][None].astype(np.int64)
    session = onnxruntime.InferenceSession(str(path))
    logits = session.run(None, dict(zip(onnx_file.INPUTS, (ids, np.ones_like(ids), types), strict=True)))[0][0]
    means = [logits[i : i + n].mean(0) for i, n in zip(tokens.start, tokens.count, strict=True)]
    np.testing.assert_allclose(means, next(words.outputs([["fine", "film"]])), rtol=0, atol=1e-5)
    scores = random_model(source, 1, classes=(), pooling="mean")
    _, (found,) = run_onnx(scores.save_onnx(tmp_path / "scores.onnx"), scores, TEXTS)
    np.testing.assert_allclose(found, scores.predict(TEXTS), rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="is there already"):
        scores.save_onnx(tmp_path / "scores.onnx")


def test_an_architecture_that_cannot_be_translated_is_named(tmp_path):
    source = small_models.write_encoder(tmp_path / "encoder", "modernbert")
    with pytest.raises(UserError, match="of the architecture ModernBERT cannot be exported to ONNX"):
        random_model(source, 1, pooling="mean").save_onnx(tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_file_that_would_say_something_else_is_not_written(tmp_path, monkeypatch):
    source = small_models.write_encoder(tmp_path / "encoder", "bert")
    model = random_model(source, 1, pooling="mean")
    translated = onnx_file.translated
    monkeypatch.setattr(
        onnx_file,
        "translated",
        lambda function, names: translated(lambda *given: [1.1 * o for o in function(*given)], names),
    )
    with pytest.raises(UserError, match="would give other outputs than jaxred"):
        model.save_onnx(tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
