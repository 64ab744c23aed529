"""A whole study of labelled words under a tiny random encoder, and each stage's part in it."""

import shutil

import numpy as np
import pytest
from helpers.shared import ROOT
from helpers.tiny_encoder import extract, study_config

from jaxred.config import SelectionConfig
from jaxred.errors import UserError
from jaxred.io.result_files import load_result, save_result
from jaxred.probing.features import load_features, split_of
from jaxred.probing.metrics import OVERALL
from jaxred.runs import report, study
from jaxred.runs.workdir import Workdir

LABELS = ("ADJ", "NOUN", "VERB", "X")  # of a word by its number, so that an embedding tells


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Columns; one test label is not in train."""
    folder, rng = tmp_path_factory.mktemp("task"), np.random.default_rng(0)
    for split, n in (("train", 60), ("test", 20)):
        blocks = []
        for _ in range(n):
            words = rng.integers(0, 30, rng.integers(1, 9))
            blocks.append("".join(f"{i}\tw{word}\t{LABELS[word % 4]}\n" for i, word in enumerate(words)))
        (folder / f"{split}.tsv").write_text("# a comment\n" + "\n".join(blocks))
    (folder / "test.tsv").write_text((folder / "test.tsv").read_text() + "\n0\tw1\tNEW\n")
    return folder


@pytest.fixture(scope="module")
def config(encoder_folder, task):
    config = study_config(encoder_folder, task, max_length=8, window_rows=64)
    config.task.name, config.task.label_column, config.task.word_column = "columns", "3", 2
    config.task.separator, config.task.comment, config.task.fallback_label = "tab", "#", "X"
    config.probe.batch_size, config.probe.learning_rate, config.probe.epochs = 16, 0.05, 5
    config.selection = SelectionConfig(fractions=(0.1, 0.3, 0.6))
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, config):
    folder = tmp_path_factory.mktemp("run")
    study.run(config, str(folder))
    study.run_stages(config, str(folder), False, ("minimal_neurons",))
    report.write(Workdir(folder), force=True)
    return Workdir(folder)


def test_the_oracle_learns_and_everything_is_written(workdir):
    pipeline = load_result(workdir.result("pipeline"))
    assert pipeline["task"]["classes"] == list(LABELS)
    assert pipeline["oracle"]["test"][OVERALL] > pipeline["task"]["majority"]["accuracy"]["test"] + 0.2
    names = {"all_results", "all_results_cluster_sweep", "all_results_minimal_neurons"}
    names |= {"pipeline", "cluster_sweep", "minimal_neurons", "redundancy", "layer_measures"}
    assert {path.stem for path in workdir.results()} == names


def test_unseen_labels_and_what_was_left_out_are_in_the_results(workdir):
    for name in ("pipeline", "cluster_sweep", "minimal_neurons"):
        content = load_result(workdir.result(name))
        assert content["task"]["fallbacks"] == {"test": 1}
        notes = content["extraction"]["train"]
        assert notes["words_truncated"] > 0
        assert len(notes["truncated_lines"]) == notes["sentences_truncated"]
        rows = content["task"]["rows"]
        assert rows["train"] + rows["dev"] == notes["words"] - notes["words_truncated"]


def test_scores_of_every_class_are_those_of_the_probes(workdir):
    pipeline = load_result(workdir.result("pipeline"))
    entries = {"layers-0-2": pipeline["oracle"]}
    entries |= {f"layers-0-{e['top_layer']}": e["scores"] for e in pipeline["layer_selection"]}
    entries |= {e["minimal_probe"]: e["minimal_scores"] for e in pipeline["selection"]}
    assert set(pipeline["per_class"]) == set(entries)
    for name, scores in entries.items():
        for split in ("dev", "test"):
            found = pipeline["per_class"][name][split]["classes"]
            counts = {label: found[label]["support"] for label in LABELS}
            assert counts == pipeline["task"]["class_counts"][split]
            for label in LABELS:
                assert found[label]["recall"] == pytest.approx(scores[split][label])
            right = sum(found[label]["recall"] * counts[label] for label in LABELS)
            assert right / sum(counts.values()) == pytest.approx(scores[split][OVERALL])
    minimal = load_result(workdir.result("minimal_neurons"))
    assert minimal["per_class"]["oracle"]["test"] == pipeline["per_class"]["layers-0-2"]["test"]


def test_the_report_shows_classes_and_what_was_left_out(workdir):
    html = workdir.report.read_text()
    pipeline = load_result(workdir.result("pipeline"))
    entry = pipeline["per_class"]["layers-0-2"]["test"]["classes"]["NOUN"]
    row = next(line for line in html.splitlines() if line.startswith("<tr><td>NOUN</td>"))
    for name in ("precision", "recall", "f1"):
        assert f"<td>{entry[name]:.3f}</td>" in row
    assert "words in 60 sentences" in html
    assert "1 never seen in train, counted as the fallback class" in html


def test_a_report_of_results_without_scores_of_classes(workdir, tmp_path):
    shutil.copytree(workdir.path, tmp_path / "copy")
    old = Workdir(tmp_path / "copy")
    content = load_result(old.result("pipeline"))
    del content["per_class"]
    save_result(old.result("pipeline"), content["identity"], content)
    report.write(old, force=True)
    assert "oracle, test" in old.report.read_text()


@pytest.mark.parametrize("study", ["minimal_neurons", "cluster_sweep"])
def test_the_report_of_one_study_alone_shows_its_table_and_the_data(workdir, tmp_path, study):
    alone = Workdir(tmp_path)
    shutil.copy(workdir.path / "config.json", tmp_path)
    alone.result(study).parent.mkdir()
    shutil.copy(workdir.result(study), alone.result(study))
    report.write(alone)
    html, found = alone.report.read_text(), load_result(workdir.result(study))
    assert " on columns</h1>" in html
    assert "words in 60 sentences" in html
    assert html.count("<img src=") == 1
    if study == "cluster_sweep":
        assert f"<td>{found['thresholds'][0]['n_clusters']}</td>" in html
        assert "% right</td>" in html
        return
    assert (f"{found['n_minimal']} of 36 neurons" in html) == found["finding"]
    assert ("No finding: no set of neurons" in html) != found["finding"]
    assert f"<td>{found['minimal_scores']['test'][OVERALL]:.3f} [" in html
    entry = found["per_class"]["oracle"]["test"]["classes"]["NOUN"]
    assert f"<td>{entry['precision']:.3f}</td>" in next(
        line for line in html.splitlines() if line.startswith("<tr><td>NOUN</td>")
    )


def test_the_report_shows_all_studies_tables(workdir):
    html = workdir.report.read_text()
    for title in (
        "What is kept",
        "The minimal set out of all neurons",
        "Clusters of all neurons",
        "Redundancy of neurons",
    ):
        assert f"<h2>{title}" in html


def test_dev_is_held_out_by_whole_sentences(config, workdir):
    stores = extract(config, workdir.stores)
    split, sentence = split_of(stores, config.task), stores["train"].sentence_index()
    assert split is not None
    assert set(sentence[split.train_idx]).isdisjoint(sentence[split.dev_idx])
    features = load_features(stores, config.task, config.probe)
    labels = stores["train"].labels()[split.dev_idx]
    assert [features.classes[i] for i in features.targets["dev"]] == labels.tolist()


def test_unseen_labels_without_a_fallback_name_one(config, workdir, monkeypatch):
    monkeypatch.setattr(config.task, "fallback_label", "")
    with pytest.raises(UserError, match=r"1 label\(s\) never seen in train, such as 'NEW'. Known are ADJ, NOUN"):
        load_features(extract(config, workdir.stores), config.task, config.probe)


def test_every_task_of_the_configuration_is_possible():
    import importlib.util

    from jaxred.data.labeling import LABELING_TASKS
    from jaxred.validation import validate

    spec = importlib.util.spec_from_file_location("labeling", ROOT / "configs" / "labeling.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in LABELING_TASKS:
        made = module.get_config(name)
        validate(made)
        assert (made.task.name, made.task.limit_instances) == (name, 150_000)
    with pytest.raises(UserError, match="choose one of conll2000_chunk"):
        module.get_config("pos")
