"""Ablation of runs: after fine-tuning, of an encoder that came with its head, from Python, and where it cannot be."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from helpers import small_models, tiny_encoder
from helpers.processes import launch
from helpers.small_training import separable

import jaxred
from jaxred.config import AblationConfig, FinetuneConfig, StudyConfig
from jaxred.errors import UserError
from jaxred.runs import report, study
from jaxred.runs.ablation import run_ablation

FINETUNE = FinetuneConfig(epochs=3, learning_rate=2e-2, n_layers=1, enabled=True)
ABLATION = AblationConfig(shares=(0.0, 0.5, 0.9), n_draws=2)


@pytest.fixture(scope="module")
def texts():
    return {split: separable(n, seed) for seed, (split, n) in enumerate((("train", 80), ("test", 30)))}


def small_config(encoder, data_dir="", finetune=FINETUNE):
    config = StudyConfig(finetune=finetune, ablation=ABLATION)
    config.encoder.path = str(encoder)
    config.extraction = dataclasses.replace(config.extraction, max_length=12)
    config.probe = dataclasses.replace(config.probe, epochs=2, batch_size=32)
    config.selection = dataclasses.replace(config.selection, fractions=(0.25, 0.5))
    config.task = dataclasses.replace(config.task, name="parallel", data_dir=str(data_dir))
    return config


@pytest.fixture(scope="module")
def tuned(encoder_folder, texts, tmp_path_factory):
    sentences, labels = ({split: rows[part] for split, rows in texts.items()} for part in (0, 1))
    task = tiny_encoder.write_task(tmp_path_factory.mktemp("task"), sentences, labels)
    config = small_config(encoder_folder, str(task))
    folder = study.run_stages(config, str(tmp_path_factory.mktemp("runs") / "tuned"), False, ("minimal_neurons",))
    return config, folder, run_ablation(config, folder)


def test_the_models_own_score_and_the_probes_stand_beside_each_other(tuned):
    _, folder, result = tuned
    run = jaxred.open_run(folder.path)
    assert run.ablation == result
    assert run.finetuning is not None
    assert run.minimal_neurons is not None
    assert result.whole == pytest.approx(run.finetuning.test)
    assert [point.share for point in result.probe] == [0.75, 0.5, 0.0]
    oracle = run.minimal_neurons.oracle
    assert (result.probe[-1].score, result.probe[-1].interval) == (oracle.overall("test"), oracle.interval)
    orders = {entry.order for entry in result.neurons}
    rankings = {"weights", "probeless", "gaussian", "average_precision", "variance"}
    assert orders == {*rankings, "weights, best first", "random"}
    assert all(entry.score == result.whole for entry in result.neurons if entry.n_removed == 0)


def test_the_report_shows_it_and_the_second_run_is_instant(tuned, caplog):
    config, folder, result = tuned
    caplog.set_level("INFO")
    before = folder.result("ablation").stat().st_mtime_ns
    assert run_ablation(config, folder) == result
    assert folder.result("ablation").stat().st_mtime_ns == before
    report.write(folder)
    page = folder.report.read_text()
    assert "What the model can do without" in page
    assert (folder.figures / "ablation.png").stat().st_size > 10_000
    assert (folder.figures / "ablation_layers.png").exists()


def test_another_value_is_measured_again_and_means_are_of_the_training_rows(tuned):
    config, folder, result = tuned
    means = dataclasses.replace(config, ablation=dataclasses.replace(ABLATION, value="mean"))
    found = run_ablation(means, folder)
    assert (found.value, found.whole) == ("mean", result.whole)
    assert [entry.score for entry in found.neurons] != [entry.score for entry in result.neurons]
    run_ablation(config, folder)


def test_an_encoder_that_came_with_its_head_is_ablated_as_it_is(tuned, texts, tmp_path):
    config, folder, result = tuned
    own = small_config(folder.finetuned, config.task.data_dir, FinetuneConfig())
    other = study.run_stages(own, str(tmp_path / "own"), False, ("minimal_neurons",))
    found = run_ablation(own, other)
    assert (found.whole, found.n_rows) == (result.whole, result.n_rows)
    named = json.loads((folder.finetuned / "config.json").read_text())
    strange = shutil.copytree(folder.finetuned, tmp_path / "strange")
    (strange / "config.json").write_text(json.dumps(named | {"id2label": {"0": "yes", "1": "no"}}))
    with pytest.raises(UserError, match=r"has the classes yes, no, where the task has high, low: pass config"):
        run_ablation(dataclasses.replace(own, encoder=dataclasses.replace(own.encoder, path=str(strange))), other)


def test_from_python_the_test_texts_are_given_again(texts, encoder_folder):
    config = dataclasses.replace(small_config(encoder_folder), task=StudyConfig().task)
    given = texts["train"], texts["test"]
    run = jaxred.study(given[0][0], given[0][1], encoder_folder, test=given[1], config=config, stages="minimal_neurons")
    with pytest.raises(UserError, match=r"came from Python and are not kept: pass test=\(texts, labels\)"):
        jaxred.ablate(run)
    found = jaxred.ablate(run, test=given[1], config=dataclasses.replace(ABLATION, value="resample"))
    assert (found.value, found.n_rows) == ("resample", 30)
    assert np.isfinite([entry.score for entry in found.layers]).all()


def test_a_run_without_a_minimal_set_says_what_to_run(tuned, tmp_path):
    config, folder, _ = tuned
    (copy := shutil.copytree(folder.path, tmp_path / "copy") / "results" / "minimal_neurons.json").unlink()
    with pytest.raises(UserError, match="has no minimal set of neurons: run jaxred minimal-neurons first"):
        run_ablation(config, type(folder)(copy.parents[1]))


def test_the_command_prints_the_table(tuned):
    config, folder, _ = tuned
    settings = ["--config.ablation.shares=(0.0,0.5,0.9)", "--config.ablation.n_draws=2", "--config.finetune.enabled"]
    settings += ["--config.finetune.epochs=3", "--config.finetune.learning_rate=2e-2", "--config.finetune.n_layers=1"]
    settings += [f"--config.encoder.path={config.encoder.path}", "--config.extraction.max_length=12"]
    settings += ["--config.probe.epochs=2", "--config.probe.batch_size=32", "--config.selection.fractions=(0.25,0.5)"]
    files = f"--config.task.data_dir={config.task.data_dir}"
    named = ["--config=configs/parallel.py", f"--workdir={folder.path}", files]
    done = launch("ablation", *named, *settings)
    assert done.returncode == 0, done.stderr
    assert "can go at a loss of" in done.stdout


def test_a_causal_model_is_scored_by_its_perplexity(tuned, tmp_path):
    config, _, _ = tuned
    encoder = small_models.write_encoder(tmp_path / "gpt2", "gpt2")
    causal = small_config(encoder, config.task.data_dir, FinetuneConfig())
    causal.extraction = dataclasses.replace(causal.extraction, pooling="last")
    causal.ablation = dataclasses.replace(ABLATION, score="perplexity", limit_rows=9)
    folder = study.run_stages(causal, str(tmp_path / "run"), False, ("minimal_neurons",))
    found = run_ablation(causal, folder)
    assert (found.metric, found.value) == ("perplexity", "zero")
    assert found.whole > 1
    assert found.constant is not None
    report.write(folder)
    assert "test perplexity" in folder.report.read_text() or (folder.figures / "ablation.png").exists()
    masked = dataclasses.replace(config, ablation=causal.ablation)
    with pytest.raises(UserError, match="is of causal models"):
        run_ablation(masked, tuned[1])
