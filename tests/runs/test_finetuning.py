"""Runs that fine-tune: by the command and from Python, alone and before a study."""

import dataclasses
import json
import logging
import shutil
from typing import Any

import numpy as np
import pytest
from helpers import tiny_encoder
from helpers.processes import launch
from helpers.small_training import separable

import jaxred
from jaxred.config import FinetuneConfig, SourceConfig, StudyConfig, TaskConfig
from jaxred.errors import UserError
from jaxred.finetuning import training
from jaxred.finetuning.classifier import load_classifier
from jaxred.runs import report, study
from jaxred.runs.workdir import Workdir
from jaxred.validation import validate

FINETUNE = FinetuneConfig(epochs=3, learning_rate=2e-2, n_layers=1)


@pytest.fixture(scope="module")
def texts():
    return {split: separable(n, seed) for seed, (split, n) in enumerate((("train", 80), ("test", 30)))}


def small_config(encoder, finetune=FINETUNE, **task):
    config = StudyConfig(finetune=finetune)
    config.encoder.path = str(encoder)
    config.extraction = dataclasses.replace(config.extraction, max_length=12)
    config.probe = dataclasses.replace(config.probe, epochs=2, batch_size=32)
    config.selection = dataclasses.replace(config.selection, deltas=((3.0, 1.0),), fractions=(0.25, 0.5))
    config.clustering = dataclasses.replace(config.clustering, thresholds=(-1.0,), sweep_thresholds=(0.5,))
    config.task = dataclasses.replace(config.task, **{"name": "parallel", **task})
    return config


@pytest.fixture(scope="module")
def task_folder(texts, tmp_path_factory):
    sentences, labels = ({split: rows[part] for split, rows in texts.items()} for part in (0, 1))
    return tiny_encoder.write_task(tmp_path_factory.mktemp("task"), sentences, labels)


@pytest.fixture(scope="module")
def tuned_study(encoder_folder, task_folder, tmp_path_factory):
    """A whole study with fine-tuning."""
    finetune = dataclasses.replace(FINETUNE, enabled=True)
    config = small_config(encoder_folder, finetune, data_dir=str(task_folder))
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    study.run(config, str(folder))
    return config, Workdir(folder)


def test_a_study_fine_tunes_and_compares(tuned_study):
    config, folder = tuned_study
    saved = json.loads((folder.path / "config.json").read_text())
    assert saved["finetune"]["enabled"] is True
    assert saved["encoder"]["path"] == config.encoder.path
    run = jaxred.open_run(folder.path)
    tuned, both = run.finetuning, run.before_after
    assert tuned is not None
    assert both is not None
    assert (tuned.n_layers, tuned.classes, tuned.n_steps) == (1, ["high", "low"], 3 * 9)
    assert tuned.n_rows == {"train": 72, "dev": 8, "test": 30}
    assert len(tuned.dev) == 3
    assert tuned.test is not None
    assert tuned.test > 0.8
    assert tuned.test_interval is not None
    assert tuned.test_interval[0] <= tuned.test <= tuned.test_interval[1]
    assert set(both.layers) == {"before", "after"}
    assert {len(scores) for scores in both.layers.values()} == {2}  # the embeddings and one layer, on both sides
    before = jaxred.open_run(folder.before)
    assert before.pipeline is not None
    assert run.pipeline is not None
    assert before.pipeline.encoder.n_neurons == run.pipeline.encoder.n_neurons == 24
    assert both.layers["after"][1] == run.pipeline.independent[1].overall("test")
    assert both.layers["before"][1] == before.pipeline.independent[1].overall("test")
    assert both.sets[0].rule == "Oracle"
    assert not folder.training.exists()


def test_the_page_shows_the_curve_and_both_sides(tuned_study):
    _, folder = tuned_study
    html = folder.report.read_text()
    figures = {path.stem for path in folder.figures.glob("*.png")}
    assert {"learning_curve", "layers_before_after"} <= figures
    assert html.count("data:image/png;base64,") == len(figures)
    assert "(kept)" in html
    assert "neurons, before" in html
    assert "neurons, after" in html


def test_a_second_run_trains_nothing(tuned_study, monkeypatch):
    config, folder = tuned_study

    def refuse(*_, **__):
        raise AssertionError("something is trained")

    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*") if path.is_file()}
    monkeypatch.setattr(training, "train", refuse)
    monkeypatch.setattr("jaxred.probing.fit", refuse)
    study.run(config, str(folder.path))
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*") if path.is_file()} == before


def test_other_settings_are_rejected_or_replace(tuned_study, tmp_path):
    config, folder = tuned_study
    shutil.copytree(folder.path, tmp_path / "copy")
    other = dataclasses.replace(config, finetune=dataclasses.replace(config.finetune, seed=1))
    with pytest.raises(UserError, match=r"finetune\.seed was 42 and is now 1"):
        study.run(other, str(tmp_path / "copy"))
    old = (folder.finetuned / "model.safetensors").read_bytes()
    assert (tmp_path / "copy" / "finetuned" / "model.safetensors").read_bytes() == old
    study.run(other, str(tmp_path / "copy"), overwrite=True)
    assert (tmp_path / "copy" / "finetuned" / "model.safetensors").read_bytes() != old


def test_other_settings_of_probes_keep_the_fine_tuned_encoder(tuned_study, tmp_path, monkeypatch):
    config, folder = tuned_study
    shutil.copytree(folder.path, tmp_path / "copy")
    other = dataclasses.replace(config, probe=dataclasses.replace(config.probe, seed=7))
    with monkeypatch.context() as patched:
        patched.setattr(training, "train", lambda *_, **__: pytest.fail("something is trained"))
        study.run(other, str(tmp_path / "copy"), overwrite=True)
    run = jaxred.open_run(tmp_path / "copy")
    assert run.finetuning == jaxred.open_run(folder.path).finetuning
    assert run.pipeline is not None
    assert run.pipeline != jaxred.open_run(folder.path).pipeline


def test_a_run_of_the_encoder_as_it_is_removes_the_fine_tuned_one(tuned_study, tmp_path):
    config, folder = tuned_study
    shutil.copytree(folder.path, tmp_path / "copy")
    as_it_is = dataclasses.replace(config, finetune=dataclasses.replace(config.finetune, enabled=False))
    study.run(as_it_is, str(tmp_path / "copy"), overwrite=True)
    assert not (tmp_path / "copy" / "finetuned").exists()
    assert not (tmp_path / "copy" / "before").exists()
    assert jaxred.open_run(tmp_path / "copy").finetuning is None


def test_a_damaged_encoder_is_fine_tuned_again(tuned_study, tmp_path, caplog):
    config, folder = tuned_study
    shutil.copytree(folder.path, tmp_path / "copy")
    weights = tmp_path / "copy" / "finetuned" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with caplog.at_level(logging.WARNING, "jaxred"):
        study.finetune(config, str(tmp_path / "copy"), False)
    assert "the encoder is fine-tuned again" in caplog.text
    assert weights.read_bytes() == (folder.finetuned / "model.safetensors").read_bytes()


def test_the_small_model_of_a_tuned_study_predicts(tuned_study, texts):
    _, folder = tuned_study
    run = jaxred.open_run(folder.path)
    small = run.reduced("oracle")
    sentences, labels = texts["test"]
    assert run.pipeline is not None
    right = np.mean([answer == label for answer, label in zip(small.predict(sentences), labels, strict=True)])
    assert right == pytest.approx(run.pipeline.oracle.overall("test"), abs=1e-6)


def test_the_kept_encoder_scores_as_the_result_says(tuned_study, texts):
    from jaxred.models.tokenization import Tokenizer

    _, folder = tuned_study
    tuned = jaxred.open_run(folder.path).finetuning
    assert tuned is not None
    classifier, _ = load_classifier(folder.finetuned, 2, False, fine_tuned=True)
    tokenizer = Tokenizer(folder.finetuned, classifier.encoder.config)
    sentences, labels = texts["test"]
    tokens = tokenizer.encode(sentences, None, 12)
    batch = tokenizer.pad(tokens, range(30), 16, 30)
    answers = np.argmax(np.asarray(classifier(batch)), axis=1)
    assert np.mean([tuned.classes[a] == label for a, label in zip(answers, labels, strict=True)]) == tuned.test


# Alone


def test_fine_tuning_alone_is_that_of_a_study(tuned_study, encoder_folder, task_folder, tmp_path):
    _, folder = tuned_study
    config = small_config(encoder_folder, data_dir=str(task_folder))
    alone = study.finetune(config, str(tmp_path / "alone"), False)
    report.write(alone)
    weights = [place.finetuned / "model.safetensors" for place in (alone, folder)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert "(kept)" in study.printed("finetuning", config, alone)
    html = alone.report.read_text()
    assert "data:image/png;base64," in html
    assert not list(alone.path.glob("activations/*"))
    run = jaxred.open_run(alone.path)
    assert run.finetuning is not None
    assert run.finetuned == alone.finetuned
    assert run.study is None


def test_the_command(encoder_folder, task_folder, tmp_path):
    flags = [
        "--config=configs/parallel.py", f"--config.task.data_dir={task_folder}", f"--workdir={tmp_path / 'run'}",
        f"--config.encoder.path={encoder_folder}", "--config.extraction.max_length=12", "--config.finetune.epochs=3",
        "--config.finetune.learning_rate=2e-2", "--config.finetune.n_layers=1",
    ]  # fmt: skip
    done = launch("finetune", *flags)
    assert done.returncode == 0, done.stderr
    assert "(kept)" in done.stdout
    assert f"Encoder: {tmp_path / 'run' / 'finetuned'}" in done.stdout
    assert (tmp_path / "run" / "report.html").is_file()
    assert (tmp_path / "run" / "finetuned" / "vocab.txt").is_file()
    again = launch("finetune", *flags, "--config.finetune.seed=7")
    assert again.returncode == 2
    assert "finetune.seed was 42 and is now 7" in again.stderr


def test_from_python(texts, encoder_folder, tmp_path):
    config = dataclasses.replace(small_config(encoder_folder), task=StudyConfig().task)
    sentences, labels = texts["train"]
    tuned = jaxred.finetune(
        sentences, labels, encoder_folder, test=texts["test"], config=config, workdir=tmp_path / "tuned"
    )
    assert tuned.finetuning is not None
    assert "fine-tuned, accuracy" in repr(tuned)
    assert tuned.finetuned == tmp_path / "tuned" / "finetuned"
    other = dataclasses.replace(config, finetune=dataclasses.replace(FINETUNE, epochs=1))
    with pytest.raises(ValueError, match=r"finetune\.epochs was 3 and is now 1"):
        jaxred.finetune(sentences, labels, encoder_folder, test=texts["test"], config=other, workdir=tmp_path / "tuned")
    plain = dataclasses.replace(config, finetune=FinetuneConfig())
    run = jaxred.study(sentences, labels, tuned.finetuned, test=texts["test"], config=plain, stages="pipeline")
    assert run.pipeline is not None
    assert run.pipeline.encoder.n_neurons == 24
    with pytest.raises(ValueError, match=r"has no fine-tuned encoder: call jaxred\.finetune"):
        _ = run.finetuned
    with pytest.raises(ValueError, match="finetune takes texts, but here are activations"):
        jaxred.finetune(np.zeros((8, 2, 3)), list("abababab"), workdir=tmp_path / "other")


def test_scores_are_fine_tuned_from_python(texts, encoder_folder, tmp_path):
    config = dataclasses.replace(small_config(encoder_folder), task=StudyConfig().task)
    sentences = texts["train"][0]
    scores = [len(text.split()) / 8 for text in sentences]
    tuned = jaxred.finetune(
        sentences, scores, encoder_folder, kind="regression", config=config, workdir=tmp_path / "tuned"
    )
    assert tuned.finetuning is not None
    assert (tuned.finetuning.kind, tuned.finetuning.metric, tuned.finetuning.classes) == ("regression", "pearson", [])
    assert tuned.finetuning.constant == {}


def test_words_are_fine_tuned(texts, encoder_folder, tmp_path):
    labels: dict[str, Any] = {
        s: [" ".join("ab"[int(w[1:]) < 15] for w in t.split()) for t in rows[0]] for s, rows in texts.items()
    }
    task = tiny_encoder.write_task(tmp_path / "task", {s: rows[0] for s, rows in texts.items()}, labels)
    config = small_config(encoder_folder, name="parallel_words", data_dir=str(task))
    folder = study.finetune(config, str(tmp_path / "run"), False)
    tuned = jaxred.open_run(folder.path).finetuning
    assert tuned is not None
    assert tuned.test is not None
    assert tuned.test > 0.8
    architectures = json.loads((folder.finetuned / "config.json").read_text())["architectures"]
    assert architectures == ["BertForTokenClassification"]


# What is rejected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: dataclasses.replace(c, source=SourceConfig(stores="s"), task=TaskConfig(name="")),
         r"config\.finetune needs a task's text, but config\.source\.stores names activations"),
        (lambda c: dataclasses.replace(c, encoder=dataclasses.replace(c.encoder, n_layers=1)),
         r"config\.encoder\.n_layers=1 cuts the encoder .* pass config\.finetune\.n_layers=1 in its place"),
        (lambda c: dataclasses.replace(c, finetune=dataclasses.replace(c.finetune, n_layers=9)),
         r"config\.finetune\.n_layers=9: a layer that does not exist; the model has 2"),
    ],
    ids=["source", "encoder.n_layers", "finetune.n_layers"],
)  # fmt: skip
@pytest.mark.parametrize("stage", ["finetune", "study"])
def test_what_does_not_fit_together_is_a_sentence(change, words, stage, encoder_folder, task_folder, tmp_path):
    enabled = dataclasses.replace(FINETUNE, enabled=True)
    config = change(small_config(encoder_folder, enabled, data_dir=str(task_folder)))
    command = {"finetune": study.finetune, "study": study.run}[stage]
    with pytest.raises(UserError, match=words) as error:
        command(config, str(tmp_path / "run"), False)
    assert "\n" not in str(error.value)


IMPOSSIBLE = {
    "n_layers": (-2, 1.5, True), "epochs": (0, -1, 2.5), "batch_size": (0, -8), "accumulation": (0, 9),
    "learning_rate": (0.0, -1.0, 2.0, float("nan")), "warmup_fraction": (-0.1, 1.0, float("nan")),
    "epsilon": (0.0, 1.0, float("inf")), "weight_decay": (-0.1, 1.0), "clip_norm": (-1.0, float("inf"), float("nan")),
    "seed": (-1, 2**32), "compute_dtype": ("float16", ""), "checkpoint_seconds": (-1,),
}  # fmt: skip
SWITCHES = {"enabled", "dropout", "group_by_length"}


def test_every_field_has_values_that_cannot_be():
    assert IMPOSSIBLE.keys() | SWITCHES == {field.name for field in dataclasses.fields(FinetuneConfig)}


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, values in IMPOSSIBLE.items() for value in values])
def test_impossible_values_are_named(field, value):
    config = StudyConfig()
    setattr(config.finetune, field, value)
    with pytest.raises(UserError, match=rf"config\.finetune\.{field}="):
        validate(config)
