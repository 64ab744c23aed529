"""Studies and activations from Python, against the same by the command's way."""

import json

import numpy as np
import pytest
from helpers import tiny_encoder

import jaxred
from jaxred.activations.in_memory import HiddenStates
from jaxred.activations.store import Store
from jaxred.config import ExtractionConfig, ProbeConfig, SelectionConfig, SourceConfig, StudyConfig, TaskConfig
from jaxred.report.findings import headline
from jaxred.runs import study as by_command
from jaxred.runs.run import Run

CONFIG = StudyConfig(
    extraction=ExtractionConfig(max_length=16),
    probe=ProbeConfig(epochs=2, batch_size=32),
    selection=SelectionConfig(deltas=((3.0, 1.0),), fractions=(0.25, 0.5)),
)


@pytest.fixture(scope="module")
def texts():
    return tiny_encoder.sentences(120)


@pytest.fixture(scope="module")
def labels(texts):
    return ["even" if len(text.split()) % 2 == 0 else "odd" for text in texts]


@pytest.fixture(scope="module")
def run(texts, labels, encoder_folder, tmp_path_factory):
    """A study of texts with its own test set."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    test = texts[90:], labels[90:]
    return jaxred.study(texts[:90], labels[:90], encoder_folder, test=test, config=CONFIG, workdir=folder)


# Activations


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_hidden_states_are_those_of_an_extraction(texts, encoder_folder, tmp_path, pooling):
    states = jaxred.hidden_states(texts[:30], encoder_folder, pooling=pooling, max_length=16)
    assert isinstance(states, HiddenStates)
    store = jaxred.hidden_states(texts[:30], encoder_folder, pooling=pooling, max_length=16, store=tmp_path / "mine")
    assert isinstance(store, Store)
    assert states.shape == store.shape == (30, 3, 12)
    np.testing.assert_array_equal(states, store)
    np.testing.assert_array_equal(states.matrix(), store.matrix())


def test_pairs_and_fewer_layers(texts, encoder_folder):
    pairs = jaxred.hidden_states([(text, texts[0]) for text in texts[:5]], encoder_folder, max_length=30, n_layers=1)
    single = jaxred.hidden_states(texts[:5], encoder_folder, max_length=30, n_layers=1)
    assert pairs.shape == single.shape == (5, 2, 12)
    assert not np.allclose(pairs, single)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "texts has no texts"),
        (["a", ""], "texts, row 2, is '', but a text is expected"),
        (["a", 3], "texts, row 2, is '3', but a text is expected"),
        ([("a", "b"), ("a",)], "row 2, is .*, but two texts are expected"),
        ([None, "a"], "texts, row 1, is 'None', but a text is expected"),
        ("a text", "texts is one text"),
    ],
)
def test_what_is_no_text_is_named_by_its_row(given, words, encoder_folder):
    with pytest.raises(ValueError, match=words):
        jaxred.hidden_states(given, encoder_folder)


def test_redundancy_takes_arrays_states_stores_and_paths_alike(texts, encoder_folder, tmp_path):
    states = jaxred.hidden_states(texts, encoder_folder, max_length=16)
    store = jaxred.hidden_states(texts, encoder_folder, max_length=16, store=tmp_path / "mine")
    results = [jaxred.redundancy(given) for given in (states, np.asarray(states), store, str(tmp_path / "mine"))]
    for result in results[1:]:
        np.testing.assert_array_equal(result.cka, results[0].cka)
        assert [entry.n_clusters for entry in result.thresholds] == [
            entry.n_clusters for entry in results[0].thresholds
        ]
    assert results[0].n_rows == len(texts)
    with pytest.raises(ValueError, match="at least 2 rows"):
        jaxred.redundancy(states[:1])
    with pytest.raises(ValueError, match=r"\[row, layer, neuron\]"):
        jaxred.redundancy(np.zeros((3, 4)))


# Studies


def test_a_study_from_python_is_that_of_the_command(run, texts, labels, encoder_folder, tmp_path):
    splits = {"train": (0, 90), "test": (90, 120)}
    for split, (first, last) in splits.items():
        (tmp_path / f"{split}.word").write_text("".join(f"{text}\n" for text in texts[first:last]))
        (tmp_path / f"{split}.label").write_text("".join(f"{label}\n" for label in labels[first:last]))
    config = StudyConfig(
        task=TaskConfig(name="parallel", data_dir=str(tmp_path)), extraction=CONFIG.extraction, probe=CONFIG.probe,
        selection=CONFIG.selection,
    )  # fmt: skip
    config.encoder.path = str(encoder_folder)
    folder = by_command.run_stages(config, str(tmp_path / "run"), False, by_command.STUDY)
    for name in ("pipeline", "cluster_sweep", "redundancy"):
        ours, theirs = (json.loads(place.result(name).read_text()) for place in (run._workdir, folder))
        for content in (ours, theirs):
            content.get("task", {}).pop("name", None)
            del content["identity"], content["digest"]
        assert ours == theirs
    store = tiny_encoder.extract(config, folder.stores)["train"]
    np.testing.assert_array_equal(store, run.activations("train"))


def test_a_run_shows_what_it_has(run):
    assert run.pipeline is not None
    assert run.cluster_sweep is not None
    assert run.redundancy is not None
    assert run.minimal_neurons is None
    assert run.headline == headline(run.pipeline)
    assert repr(run).startswith("<Run mine of texts: ")
    assert "\n" not in repr(run)
    assert run.table().startswith("|")
    assert "threshold" in run.table("cluster_sweep")
    with pytest.raises(ValueError, match="no result 'minimal_neurons'"):
        run.table("minimal_neurons")


def test_frames_have_a_row_per_set(run):
    pytest.importorskip("pandas")
    frame = run.to_frame()
    assert set(frame["set"]) == {"oracle", "independent", "incremental", "LayerSelector", "LS + CCFS"}
    oracle = frame[frame["set"] == "oracle"].iloc[0]
    assert oracle["test"] == run.pipeline.oracle.overall("test")
    assert oracle["n_neurons"] == 3 * 12
    assert len(run.to_frame("redundancy")) == len(run.redundancy.thresholds)


def test_a_probe_gives_the_scores_that_the_study_reports(run):
    test = run.activations("test")
    oracle = run.probe(run.study.oracle_probe)
    assert oracle.score(test, test.labels()) == pytest.approx(run.pipeline.oracle.overall("test"))
    for choice in run.pipeline.selection:
        probe = run.probe(choice.minimal_probe)
        assert probe.score(np.asarray(test), test.labels()) == pytest.approx(choice.minimal_scores.overall("test"))
    with pytest.raises(ValueError, match="There is no probe 'nothing'"):
        run.probe("nothing")


def test_a_standardised_probe_takes_rows_as_they_are(texts, labels, encoder_folder):
    config = StudyConfig(extraction=CONFIG.extraction, selection=CONFIG.selection)
    config.probe = ProbeConfig(epochs=3, batch_size=32, standardize=True)
    test = texts[90:], labels[90:]
    run = jaxred.study(texts[:90], labels[:90], encoder_folder, test=test, config=config, stages=["pipeline"])
    rows = run.activations("test")
    assert run.probe(run.study.oracle_probe).score(rows, rows.labels()) == pytest.approx(
        run.pipeline.oracle.overall("test")
    )


def test_neurons_are_those_of_the_smallest_finding(run, monkeypatch):
    monkeypatch.setattr("jaxred.runs.run.smallest_finding", lambda study: 0)
    chosen = run.study.minimal_sets[0]
    fresh = Run(run._workdir, run.config)
    assert [(neuron.layer, neuron.index) for neuron in fresh.neurons] == chosen.neurons
    probe = fresh.probe(chosen.probe)
    for neuron in fresh.neurons:
        (place,) = np.flatnonzero(probe.columns == neuron.layer * 12 + neuron.index)
        assert neuron.weight == probe.weights[place].max()
        assert neuron.label == probe.classes[int(probe.weights[place].argmax())]


def test_the_report_is_written_where_it_is_asked(run, tmp_path):
    assert run.report() == run.path / "report.html"
    path = run.report(tmp_path / "mine.html")
    assert path.read_bytes() == (run.path / "report.html").read_bytes()
    with pytest.raises(ValueError, match="Cannot write"):
        run.report(tmp_path / "nowhere" / "mine.html")


def test_an_open_run_is_the_run(run):
    again = jaxred.open_run(run.path)
    assert again.pipeline.to_json()["oracle"] == run.pipeline.to_json()["oracle"]
    assert again.config == run.config
    with pytest.raises(ValueError, match="not the folder of a run"):
        jaxred.open_run(run.path / "results")


def test_a_second_study_in_the_workdir_is_kept(run, texts, labels, encoder_folder):
    before = tiny_encoder.modified(run.path)
    test = texts[90:], labels[90:]
    again = jaxred.study(texts[:90], labels[:90], encoder_folder, test=test, config=CONFIG, workdir=run.path)
    assert tiny_encoder.modified(run.path) == before
    assert again.headline == run.headline
    other = labels[1:90] + labels[:1]
    with pytest.raises(ValueError, match="overwrite=True"):
        jaxred.study(texts[:90], other, encoder_folder, test=test, config=CONFIG, workdir=run.path)


def test_activations_and_labels_are_studied_alike(run, labels):
    train, test = run.activations("train"), run.activations("test")
    given = np.asarray(train), labels[:90]
    for rows, names in (given, (HiddenStates(given[0]), given[1]), (train, None)):
        result = jaxred.study(rows, names, test=(test, None), config=CONFIG, stages=["pipeline"]).pipeline
        assert result.oracle == run.pipeline.oracle
        assert [choice.n_minimal for choice in result.selection] == [c.n_minimal for c in run.pipeline.selection]


def test_test_is_held_out_where_there_is_none(run, texts, labels, encoder_folder):
    result = jaxred.study(texts, labels, encoder_folder, config=CONFIG, stages=["pipeline"]).pipeline
    rows = result.task.rows
    assert sum(rows.values()) == len(texts)
    assert rows["test"] == pytest.approx(0.2 * len(texts), abs=8)
    states = np.random.default_rng(0).normal(size=(100, 2, 8))
    rows = jaxred.study(states, np.arange(100) % 3, config=CONFIG, stages=["pipeline"]).pipeline.task
    assert rows.classes == ["0", "1", "2"]
    assert rows.rows["test"] == 20


def test_scores_are_a_regression(encoder_folder):
    draw = np.random.default_rng(0)
    states = draw.normal(size=(200, 2, 8))
    scores = states[:, 1, 3] + 0.1 * draw.normal(size=200)
    result = jaxred.study(states, scores, kind="regression", config=CONFIG, stages=["minimal_neurons"])
    assert result.minimal_neurons.task.kind == "regression"
    assert result.minimal_neurons.task.metric == "pearson"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": ["even"]}, "train has 20 rows and 1 labels"),
        ({"labels": None}, "train has no labels"),
        ({"labels": ["even"] * 20}, "All .* training rows have the label 'even'"),
        ({"labels": ["even", ""] * 10}, "train, row 2"),
        ({"texts": "one text"}, "texts is one text"),
        ({"config": StudyConfig(source=SourceConfig(stores="a"))}, "config.source.stores names activations, but study"),
        ({"test": ["a", "b", "c"]}, r"test is a list, but a pair is expected: test=\(texts, labels\)"),
        ({"test": (["a"],)}, "test is a tuple, but a pair"),
        ({"model": (["a"], ["b"])}, r"pass test texts and their labels as test="),
        ({"config": {"pooling": "mean"}}, "config is a dict, but a jaxred.StudyConfig is expected"),
        ({"texts": np.zeros((20, 4))}, r"reshape it to \(rows, layers, neurons\)"),
        ({"stages": ["nothing"]}, "choose from redundancy"),
        ({"kind": "ranking"}, "task.kind='ranking'"),
        ({"model": "/nowhere"}, "/nowhere"),
    ],
)
def test_what_does_not_fit_is_a_sentence(change, words, texts, encoder_folder):
    given = {"texts": texts[:20], "labels": ["even", "odd"] * 10, "model": encoder_folder, "config": CONFIG} | change
    with pytest.raises(ValueError, match=words):
        jaxred.study(**given)


@pytest.mark.parametrize("wrap", [list, np.array, lambda labels: [np.int64(label) for label in labels]])
def test_labels_that_are_numbers_are_classes_and_score_as_such(wrap):
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 200).tolist()
    states = draw.normal(size=(200, 2, 8)) + 2 * np.array(labels)[:, None, None]
    run = jaxred.study(states, wrap(labels), test=(states, wrap(labels)), config=CONFIG, stages="minimal_neurons")
    assert run.study.task.classes == ["0", "1"]
    oracle = run.probe("oracle")
    assert oracle.score(states, wrap(labels)) == pytest.approx(run.study.oracle.overall("test"))
    assert run.study.oracle.overall("test") > 0.6
    with pytest.raises(ValueError, match="No label of y, such as 'no', is a class of the probe: 0, 1"):
        oracle.score(states, ["no"] * 200)
    with pytest.raises(ValueError, match="X has 200 rows and y 5 labels"):
        oracle.score(states, labels[:5])


def test_frames_of_one_column_are_that_column(texts, labels, encoder_folder):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": texts[:30], "label": labels[:30]}, index=range(100, 130))
    expected = jaxred.hidden_states(texts[:30], encoder_folder, max_length=16)
    np.testing.assert_array_equal(jaxred.hidden_states(frame[["text"]], encoder_folder, max_length=16), expected)
    with pytest.raises(ValueError, match="data frame of 2 columns: pass one of them"):
        jaxred.study(frame, frame["label"], encoder_folder)
