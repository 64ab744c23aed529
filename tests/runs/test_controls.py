"""Controls of a whole run of labelled words, and of sentences, under a tiny random encoder."""

import csv

import numpy as np
import pytest
from helpers.tiny_encoder import study_config

from jaxred.activations.store import Store
from jaxred.config import SelectionConfig, recorded_task
from jaxred.data import load_task
from jaxred.data.examples import WordDataset
from jaxred.io.result_files import load_result
from jaxred.probing.features import SPLITS, load_features
from jaxred.report import tables
from jaxred.runs import controls, report, study
from jaxred.runs.workdir import Workdir
from jaxred.studies.results import ControlsResult, PipelineResult
from jaxred.studies.results.controls import WORD_TYPES

LABELS = ("ADJ", "NOUN", "VERB")


@pytest.fixture(scope="module")
def config(encoder_folder, tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("task"), np.random.default_rng(0)
    for split, n in (("train", 60), ("test", 20)):
        blocks = []
        for _ in range(n):
            words = rng.integers(0, 30 if split == "train" else 40, rng.integers(1, 9))
            blocks.append("".join(f"w{word}\t{LABELS[word % 3]}\n" for word in words))
        (folder / f"{split}.tsv").write_text("\n".join(blocks))
    config = study_config(encoder_folder, folder, max_length=8, window_rows=64)
    config.task.name, config.task.label_column, config.task.word_column = "columns", "2", 1
    config.task.separator = "tab"
    config.probe.batch_size, config.probe.learning_rate, config.probe.epochs = 16, 0.05, 3
    config.selection = SelectionConfig(deltas=((1.0, 1.0),), fractions=(0.1, 0.5))
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, config):
    folder = tmp_path_factory.mktemp("run")
    study.run_stages(config, str(folder), False, ("controls",))
    report.write(Workdir(folder))
    return Workdir(folder)


def test_words_of_rows_are_those_of_the_text(workdir, config):
    stores = {split: Store(workdir.activations(split)) for split in ("train", "test")}
    features = load_features(stores, recorded_task(config), config.probe)
    words = controls.row_words(features, stores, config)
    assert words is not None
    for split in SPLITS:
        expected = [LABELS[int(word[1:]) % 3] for word in words[split]]
        assert [features.classes[label] for label in features.targets[split]] == expected
    dataset = load_task(config.task)
    assert isinstance(dataset, WordDataset)
    assert {*words["train"], *words["dev"]} <= {word for sentence in dataset.splits["train"] for word in sentence.words}
    targets, kind = controls.control_targets(features, stores, config)
    assert kind == WORD_TYPES
    of_type = {}
    for split in SPLITS:
        for word, label in zip(words[split], targets[split].tolist(), strict=True):
            assert of_type.setdefault(word, label) == label


def test_the_pipeline_is_run_and_left_as_it_is(workdir, config, tmp_path):
    study.run_stages(config, str(tmp_path), False, ("pipeline",))
    assert load_result(Workdir(tmp_path).result("pipeline")) == load_result(workdir.result("pipeline"))


def test_results_tables_and_report_are_written(workdir):
    result = workdir.load(ControlsResult)
    assert len(result.of("layer")) == len(result.of("layers"))
    lines = workdir.result("controls").with_suffix(".csv").read_text().splitlines()
    assert len(lines) == len(result.probes) + 1
    page = workdir.report.read_text()
    assert "selectivity" in page
    assert "every word type has one label" in page
    assert {"control_scores", "compression"} <= {path.stem for path in workdir.figures.glob("*.png")}


def test_the_pipelines_own_tables_have_selectivity(workdir, config):
    result, pipeline = workdir.load(ControlsResult), workdir.load(PipelineResult)
    oracle = result.named(pipeline.oracle_probe)
    assert oracle is not None
    table = workdir.result("table").with_suffix(".md").read_text()
    assert table.splitlines()[0].rstrip("| ").endswith("selectivity")
    shown = f"{oracle.selectivity.difference:.3f}"
    for text in (table, study.printed("pipeline", config, workdir)):
        (line,) = [line for line in text.splitlines() if line.startswith("| Oracle")]
        assert shown in line.split("|")[-2]
    lines = list(csv.DictReader(workdir.result("table").with_suffix(".csv").open()))
    names = {"oracle": pipeline.oracle_probe, "LS + CCFS": pipeline.selection[0].minimal_probe}
    for kind, name in names.items():
        entry = result.named(name)
        assert entry is not None
        row = next(line for line in lines if line["set"] == kind)
        assert float(row["selectivity"]) == pytest.approx(entry.selectivity.difference)
        assert float(row["selectivity_low"]) == pytest.approx(entry.selectivity.interval[0])
    for part, kind in (("independent", "layer"), ("incremental", "layers")):
        shown_of_layers = [float(line["selectivity"]) for line in lines if line["set"] == part]
        assert shown_of_layers == pytest.approx([entry.selectivity.difference for entry in result.of(kind)])
    assert "selectivity" not in tables.printed(pipeline)


def test_a_second_run_keeps_them(workdir, config, monkeypatch):
    monkeypatch.setattr(controls.controls, "controls", None)
    study.run_stages(config, str(workdir.path), False, ("controls",))
