"""What neurons of runs respond to: texts of rows, what is kept, the command, and what it says."""

import numpy as np
import pytest
from helpers import tiny_encoder
from helpers.small_store import write_store

import jaxred
from jaxred.config import ExtractionConfig, ProbeConfig, SelectionConfig, StudyConfig, TaskConfig
from jaxred.data.examples import WordDataset
from jaxred.errors import UserError
from jaxred.runs import neurons, report, study
from jaxred.runs.row_texts import texts_of_run
from jaxred.runs.run import open_run
from jaxred.runs.sources import TaskFiles
from jaxred.runs.top_words import neurons_of

LABELS = ("ADJ", "NOUN")
SETTINGS = {
    "probe": ProbeConfig(epochs=4, batch_size=16, learning_rate=0.05),
    "selection": SelectionConfig(deltas=((3.0, 1.0),), fractions=(0.25, 0.5)),
}


@pytest.fixture(scope="module")
def words_run(encoder_folder, tmp_path_factory):
    """A study of labelled words, some of which max_length cuts off; windows end within sentences."""
    folder, rng = tmp_path_factory.mktemp("words"), np.random.default_rng(0)
    for split, n in (("train", 60), ("test", 20)):
        blocks = []
        for _ in range(n):
            words = rng.integers(0, 20, rng.integers(1, 12))
            blocks.append("".join(f"w{word} {LABELS[word % 2]}\n" for word in words))
        (folder / f"{split}.txt").write_text("\n".join(blocks))
    config = StudyConfig(task=TaskConfig(name="columns", data_dir=str(folder), fallback_label="NOUN"), **SETTINGS)
    config.encoder.path = str(encoder_folder)
    config.extraction = ExtractionConfig(max_length=8, window_rows=32, token_budget=128)
    study.run(config, str(folder / "run"))
    return open_run(folder / "run")


def test_words_are_those_of_the_rows_of_the_store(words_run):
    store = words_run.activations("train")
    texts = texts_of_run(store, "train", words_run.config)
    dataset = TaskFiles().load(words_run.config)
    assert isinstance(dataset, WordDataset)
    assert texts is not None
    sentences = dataset.splits["train"]
    places = list(zip(store.sentence_index(), store.word_index(), strict=True))
    assert texts == [sentences[sentence].words[word] for sentence, word in places]
    assert len(texts) < sum(len(sentence.words) for sentence in sentences)  # some are cut off


def test_types_are_the_means_over_their_rows(words_run):
    store = words_run.activations("train")
    texts = np.array(texts_of_run(store, "train", words_run.config))
    found = words_run.top_words([(2, 3)], k=4, min_count=2)
    column = np.asarray(store[:, 2, 3], np.float64)
    means = {word: column[texts == word].mean() for word in set(texts) if (texts == word).sum() >= 2}
    order = sorted(means, key=lambda word: means[word])
    assert [each.text for each in found.neurons[0].largest] == order[:-5:-1]
    assert [each.text for each in found.neurons[0].smallest] == order[:4]
    assert found.unit == "word"
    assert [each.label for each in found.neurons[0].classes] == list(LABELS)
    by_store = jaxred.top_words(store, ["2:3"], texts.tolist(), k=4, min_count=2, split="train")
    assert by_store == found
    dataset = TaskFiles().load(words_run.config)
    assert isinstance(dataset, WordDataset)
    by_sentences = jaxred.top_words(
        store, (2, 3), [sentence.words for sentence in dataset.splits["train"]],
        k=4, min_count=2, split="train",
    )  # fmt: skip
    assert by_sentences == found
    assert jaxred.top_words(str(words_run.path), ["2:3"], k=4, min_count=2) == found


def test_the_study_keeps_them_and_the_report_shows_them(words_run):
    kept = words_run.results["neurons"]
    assert [(each.layer, each.index) for each in kept.neurons] == [(n.layer, n.index) for n in words_run.neurons]
    assert words_run.top_words() == kept
    html = words_run.report().read_text()
    assert "What neurons respond to" in html
    assert f"<b>{kept.neurons[0].layer}:{kept.neurons[0].index}</b>" in html
    lines = (words_run.path / "results" / "neurons.csv").read_text().splitlines()
    assert lines[0].endswith("mean,deviation,mean_ADJ,mean_NOUN,largest_words,smallest_words")
    assert sum(" | " in line.rsplit(",", 1)[-1] for line in lines[1:]) == len(kept.neurons)


def test_a_second_run_reads_no_text(words_run, monkeypatch):
    first = neurons.run_neurons(words_run)
    monkeypatch.setattr(neurons, "texts_of_run", None)
    assert neurons.run_neurons(words_run) == first


def test_text_that_has_changed_is_rejected(words_run, tmp_path, monkeypatch):
    for split in ("train", "test"):
        (tmp_path / f"{split}.txt").write_text("w1 ADJ\nw2 NOUN\n\n" * 20)
    monkeypatch.setattr(words_run.config.task, "data_dir", str(tmp_path))
    with pytest.raises(UserError, match="are not of the train text that is there now"):
        words_run.top_words([(0, 0)])


@pytest.fixture(scope="module")
def pairs_run(encoder_folder, tmp_path_factory):
    first, second = tiny_encoder.sentences(60), tiny_encoder.sentences(60, seed=1)
    labels = ["even" if len(text.split()) % 2 == 0 else "odd" for text in first]
    pairs = list(zip(first, second, strict=True))
    folder = tmp_path_factory.mktemp("pairs") / "run"
    config = StudyConfig(extraction=ExtractionConfig(max_length=20), **SETTINGS)
    return jaxred.study(
        pairs[:45], labels[:45], encoder_folder, test=(pairs[45:], labels[45:]), config=config, workdir=folder,
        stages="pipeline",
    )  # fmt: skip


def test_pairs_are_shown_as_both(pairs_run):
    texts = [f"{a} | {b}" for a, b in zip(tiny_encoder.sentences(60), tiny_encoder.sentences(60, seed=1), strict=True)]
    found = pairs_run.top_words([(1, 2)], texts[:45], k=3)
    store = pairs_run.activations("train")
    assert [each.row for each in found.neurons[0].largest] == np.argsort(-store[:, 1, 2])[:3].tolist()
    assert [each.text for each in found.neurons[0].largest] == [texts[each.row] for each in found.neurons[0].largest]
    assert pairs_run.top_words([(1, 2)]).unit == "row"  # texts from Python cannot be read again
    given = jaxred.top_words(store, [(1, 2)], [tuple(text.split(" | ")) for text in texts[:45]], k=3, split="train")
    assert given == found


def test_activations_without_text_number_their_rows(tmp_path):
    store = write_store(tmp_path / "store")
    found = jaxred.top_words(store, ["0:1"], k=2)
    assert found.unit == "row"
    assert found.neurons[0].largest[0].text == f"row {int(store[:, 0, 1].argmax())}"
    assert [each.label for each in found.neurons[0].classes] == ["bad", "fair", "good"]
    with pytest.raises(UserError, match="neurons is missing"):
        jaxred.top_words(store)
    with pytest.raises(UserError, match="labels has shape"):
        jaxred.top_words(np.asarray(store), ["0:1"], labels=["a"])
    with pytest.raises(UserError, match=r"texts, row 2, is '3'"):
        jaxred.top_words(store, ["0:1"], ["a", 3])


def test_scores_are_correlated_with():
    values, scores = np.random.default_rng(0).normal(size=(30, 1, 2)), np.random.default_rng(1).normal(size=30)
    found = jaxred.top_words(values, [(0, 1)], labels=scores).neurons[0]
    assert found.classes == []
    assert found.correlation == pytest.approx(np.corrcoef(values[:, 0, 1], scores)[0, 1], abs=1e-6)


def test_names_of_neurons():
    assert neurons_of(["3:17", (5, 200)]) == [(3, 17), (5, 200)]
    assert neurons_of("3:17") == neurons_of((3, 17)) == [(3, 17)]
    for wrong in (["3"], ["a:b"], [3], ["1:2:3"]):
        with pytest.raises(UserError, match="is no neuron: name a layer and an index"):
            neurons_of(wrong)


def test_the_folder_of_a_command(words_run):
    found = neurons.run_folder(words_run.path, ["1:2"], 2, 3, "test")
    assert (found.split, found.neurons[0].layer, found.neurons[0].index) == ("test", 1, 2)
    again = neurons.run_folder(words_run.path, [], 10, 3, "train")
    assert again.neurons
    with pytest.raises(UserError, match="There is no neuron 9:0"):
        neurons.run_folder(words_run.path, ["9:0"], 10, 3, "train")
    with pytest.raises(UserError, match="no activations of split='dev'"):
        neurons.run_folder(words_run.path, ["1:2"], 10, 3, "dev")
    assert report.results_of(words_run.workdir)["neurons"] == again
