import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.config import METRICS, StudyConfig, to_dict
from jaxred.errors import UserError
from jaxred.original import experiment
from jaxred.validation import validate

SENTENCES = {name: key.example for name, key in experiment.KEYS.items() if name not in experiment.DEV_KEYS}
WORDS = {name: key.example for name, key in experiment.KEYS.items()}


@pytest.fixture
def write(tmp_path):
    """Writes an experiment file beside its data folder; None leaves a key out."""
    (tmp_path / "data").mkdir()

    def write(values=SENTENCES, **changes):
        content = {k: v for k, v in {**values, "base_dir": "data", **changes}.items() if v is not None}
        (tmp_path / "exp.json").write_text(json.dumps(content))
        return tmp_path / "exp.json"

    return write


def refused(path):
    with pytest.raises(UserError) as caught:
        experiment.load(path)
    return str(caught.value)


def test_sentences_and_words_are_told_apart_by_dev(write):
    sentences = experiment.load(write())
    assert not sentences.labels_words
    assert list(sentences.splits) == ["train", "test"]
    words = experiment.load(write(WORDS))
    assert words.labels_words
    assert list(words.splits) == ["train", "dev", "test"]
    assert words.splits["dev"].labels.name == "dev.label"


def test_every_key_has_an_example_that_fits_and_is_described():
    text = experiment.describe()
    for name, key in experiment.KEYS.items():
        assert key.fits(key.example), name
        assert f'"{name}": {json.dumps(key.example)},  # {key.description}' in text


def test_the_study_is_what_the_file_says(write):
    changes = {
        "task_specific_tag": "X",
        "limit_instances": 500,
        "clustering_thresholds": [0.2, -1],
        "num_epochs": 3,
        "batch_size": 64,
        "lambda_l1": 0,
        "lambda_l2": 0.5,
        "metric": "f1",
        "performance_deltas": [[4, 2.5]],
    }
    path = write(**changes)
    config = experiment.study_config(experiment.load(path))
    validate(config)
    assert (config.task.name, config.source.original, config.task.kind) == ("", str(path), "classification")
    assert (config.task.metric, config.task.limit_instances, config.task.fallback_label) == ("f1", 500, "X")
    assert (config.probe.epochs, config.probe.batch_size, config.probe.l1, config.probe.l2) == (3, 64, 0.0, 0.5)
    assert config.clustering.thresholds == (0.2, -1.0)
    assert config.selection.deltas == ((4.0, 2.5),)


def test_what_the_file_does_not_say_stays_at_the_defaults(write):
    config, default = experiment.study_config(experiment.load(write())), StudyConfig()
    mine, theirs = to_dict(config), to_dict(default)
    for section in ("probe", "clustering", "selection", "extraction"):
        assert mine[section] == theirs[section]
    assert config.task.split_seed == 7361


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_metrics_fit_the_model_type(write, metric, kind):
    path = write(model_type=kind, metric=metric)
    if (kind == "regression") == (metric in ("pearson", "spearman", "pearson_and_spearman")):
        config = experiment.study_config(experiment.load(path))
        validate(config)
        assert (config.task.fallback_label == "") == (kind == "regression")
    else:
        assert f"metric is '{metric}', but for model_type '{kind}' it is one of " in refused(path)


def test_missing_and_unknown_keys_are_named_in_one_sentence(write):
    path = write(metric=None, lambda_l1=None, extra=1, more=2)
    found = refused(path)
    assert f"The experiment file {path} misses lambda_l1, metric and has the unknown extra, more: " in found
    assert " misses dev_source, dev_activations: " in refused(write(dev_labels="dev.label"))
    assert " has the unknown metrics: " in refused(write(metrics="f1"))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("base_dir", 3, "a text"),
        ("train_source", "", "a text"),
        ("task_specific_tag", ["N"], "a text"),
        ("max_sent_l", 0, "a whole number of at least 1"),
        ("max_sent_l", 10.5, "a whole number of at least 1"),
        ("is_brnn", "false", "true or false"),
        ("is_brnn", 0, "true or false"),
        ("num_neurons_per_layer", True, "a whole number of at least 1"),
        ("limit_instances", 0, "-1 or a whole number above 1"),
        ("clustering_thresholds", [], "a list of numbers, each -1 or within [0, 1]"),
        ("clustering_thresholds", [-1, 1.5], "a list of numbers, each -1 or within [0, 1]"),
        ("clustering_thresholds", 0.3, "a list of numbers, each -1 or within [0, 1]"),
        ("num_epochs", "10", "a whole number of at least 1"),
        ("batch_size", -1, "a whole number of at least 1"),
        ("lambda_l1", -1e-5, "a number of at least 0"),
        ("lambda_l2", float("nan"), "a number of at least 0"),
        ("performance_deltas", [[3, 1], [2]], "a list of pairs of numbers within [0, 100]"),
        ("performance_deltas", [3, 1], "a list of pairs of numbers within [0, 100]"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(write, name, value, expected):
    path = write(**{name: value})
    assert refused(path) == f"{path}: {name} is {json.dumps(value)}, but {expected} is expected."


@pytest.mark.parametrize("ranking", ["binary", "multiclasscv", "binarycv"])
def test_other_rankings_are_refused(write, ranking):
    assert f"ranking_type is '{ranking}', but only 'multiclass' is done here" in refused(write(ranking_type=ranking))


def test_an_unknown_model_type_is_refused(write):
    assert "model_type is 'ranking': choose one of classification, regression" in refused(write(model_type="ranking"))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "holds a list, but a JSON object is expected"),
        (b'{"metric": 1, "metric": 2}', "metric stands there twice"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused(tmp_path, content, found):
    (tmp_path / "exp.json").write_bytes(content)
    assert found in refused(tmp_path / "exp.json")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    assert f"The experiment file {tmp_path / 'none.json'} does not exist" in refused(tmp_path / "none.json")
    assert f"{tmp_path} is a folder, but a JSON file is expected" in refused(tmp_path)


def test_paths_are_relative_to_the_current_folder_and_then_to_the_file(write, tmp_path, monkeypatch):
    path = write(output_directory="out")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = experiment.load(path)
    assert found.splits["train"].source == tmp_path / "data" / "train.word"
    assert found.output_directory == tmp_path / "out"
    (tmp_path / "elsewhere" / "data").mkdir()
    found = experiment.load(path)
    assert found.splits["train"].source.resolve() == tmp_path / "elsewhere" / "data" / "train.word"
    assert found.output_directory.resolve() == tmp_path / "elsewhere" / "out"


def test_absolute_paths_are_taken_as_they_are(write, tmp_path):
    path = write(base_dir=str(tmp_path), output_directory=str(tmp_path / "x"))
    found = experiment.load(path)
    assert found.splits["test"].activations == tmp_path / "test.json"
    assert found.output_directory == tmp_path / "x"


def test_a_base_dir_that_is_not_there_is_named(write, tmp_path):
    found = refused(write(base_dir="nowhere"))
    assert f"base_dir is 'nowhere', but neither {Path().absolute() / 'nowhere'} nor {tmp_path / 'nowhere'} is" in found
    assert "base_dir is '/nowhere', but /nowhere is no folder: " in refused(write(base_dir="/nowhere"))


@given(st.dictionaries(st.sampled_from(sorted(WORDS)), st.none() | st.integers() | st.text() | st.lists(st.floats())))
@settings(max_examples=100, deadline=None)
def test_whatever_stands_in_the_file_it_is_a_study_or_refused(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("any")
    (folder / "exp.json").write_text(json.dumps({**WORDS, "base_dir": str(folder), **changes}))
    try:
        found = experiment.load(folder / "exp.json")
    except UserError:
        return
    assert isinstance(experiment.study_config(found), StudyConfig)
