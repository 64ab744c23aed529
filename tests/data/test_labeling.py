import functools

import pytest

from jaxred.config import TaskConfig
from jaxred.data import load_task
from jaxred.data.columns import read_columns
from jaxred.data.examples import WordDataset
from jaxred.data.labeling import LABELING_TASKS, load_labeling
from jaxred.errors import UserError

DAY = "the DT B-NP\nday NN I-NP\nis VBZ B-VP\n\n"


@pytest.fixture
def folder(tmp_path):
    """CoNLL-2000 with sentences of 3, 1 and 3 words again and again."""
    for split, n in (("train", 4), ("test", 2)):
        (tmp_path / f"{split}.txt").write_text((DAY + "so RB O\n\n" + DAY) * n)
    return tmp_path


def config(folder, name="conll2000_chunk", **fields):
    return TaskConfig(name=name, data_dir=str(folder), **fields)


def refused(*args, **fields):
    with pytest.raises(UserError) as caught:
        load_task(config(*args, **fields))
    return str(caught.value)


def n_words(dataset, split="train"):
    return [len(sentence.words) for sentence in dataset.splits[split]]


def test_a_row_is_a_word(folder):
    dataset = load_task(config(folder))
    assert isinstance(dataset, WordDataset)
    assert (dataset.name, dataset.kind, list(dataset.splits)) == (
        "conll2000_chunk",
        "classification",
        ["train", "test"],
    )
    assert n_words(dataset) == [3, 1, 3] * 4
    assert n_words(dataset, "test") == [3, 1, 3] * 2
    assert dataset.splits["train"][1].labels == ("O",)
    assert load_task(config(folder, "conll2000_pos")).splits["train"][1].labels == ("RB",)
    assert load_task(config(folder, label_column="word")).splits["train"][1].labels == ("so",)


def test_a_dev_file_is_dev(folder):
    (folder / "dev.txt").write_text(DAY)
    assert n_words(load_task(config(folder)), "dev") == [3]


@pytest.mark.parametrize(("limit", "kept"), [(-1, 12), (28, 12), (27, 11), (13, 5), (12, 5), (11, 5), (10, 4)])
def test_train_is_cut_at_a_sentence(folder, limit, kept):
    dataset = load_task(config(folder, limit_instances=limit))
    assert n_words(dataset) == ([3, 1, 3] * 4)[:kept]
    assert len(dataset.splits["test"]) == 6
    assert dataset.notes["train"].get("sentences_beyond_limit", 0) == 12 - kept
    assert (dataset.notes["train"]["sentences"], dataset.notes["train"]["words"]) == (12, 28)


def test_a_limit_below_the_first_sentence(folder):
    assert "limit_instances=2 is fewer than the 3 words of the first sentence" in refused(folder, limit_instances=2)


def test_long_sentences_are_left_out_and_listed(folder):
    dataset = load_labeling(config(folder, max_sent_l=2), folder)
    assert n_words(dataset) == [1] * 4
    assert dataset.notes["train"]["sentences_too_long"] == 8
    assert dataset.notes["train"]["too_long_lines"][:3] == [1, 7, 11]
    assert "sentences_beyond_limit" not in dataset.notes["train"]
    limited = load_labeling(config(folder, max_sent_l=2, limit_instances=3), folder)
    assert n_words(limited) == [1] * 3
    assert limited.notes["train"]["sentences_beyond_limit"] == 1  # of those that are not too long
    (folder / "test.txt").write_text(DAY)
    assert "test.txt has no sentence of at most config.task.max_sent_l=2 words" in refused(folder, max_sent_l=2)


def test_the_first_word_may_be_ignored(folder):
    dataset = load_task(config(folder, ignore_start_token=True))
    assert n_words(dataset) == [2] * 8
    assert dataset.splits["train"][0][:2] == (("day", "is"), ("I-NP", "B-VP"))
    assert n_words(load_task(config(folder, ignore_start_token=True, max_sent_l=2))) == [2] * 8
    (folder / "test.txt").write_text("so RB O\n\nday NN I-NP\n")
    assert "test.txt has no sentence of more than one word" in refused(folder, ignore_start_token=True)


def test_columns_by_number_separator_and_comment(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.tsv").write_text("-DOCSTART-\n\n" + "7,x y,A\n8,z,B\n\n" * 5)
    fields = {"word_column": 2, "label_column": "3", "separator": ",", "comment": "-DOCSTART-"}
    dataset = load_task(config(tmp_path, "columns", **fields))
    assert dataset.splits["train"][0] == (("x y", "z"), ("A", "B"), 3)


def test_words_and_labels_are_two_columns(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.tsv").write_text("A x\nB y\n\n" * 5)
    assert "word_column=2 is where task columns has its labels" in refused(tmp_path, "columns", word_column=2)
    dataset = load_task(config(tmp_path, "columns", word_column=2, label_column="1"))
    assert dataset.splits["train"][0][:2] == (("x", "y"), ("A", "B"))
    asked = load_task(config(tmp_path, "columns", word_column=2, label_column="2"))  # which word it is
    assert asked.splits["train"][0].labels == ("x", "y")


def test_labels_of_dev_without_its_words_are_not_passed_over(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.word").write_text("a b\nc\n" * 5)
        (tmp_path / f"{split}.label").write_text("X Y\nX\n" * 5)
    (tmp_path / "dev.label").write_text("X\n")
    assert "dev.label has no dev.word next to it" in refused(tmp_path, "parallel_words")


def test_parallel_words_with_sentences_that_do_not_fit(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.word").write_text("a b\nc\n" * 5 + "d\n")
        (tmp_path / f"{split}.label").write_text("X Y\nX\n" * 5 + "X Y\n")
    dataset = load_task(config(tmp_path, "parallel_words"))
    assert list(dataset.splits) == ["train", "dev", "test"]
    assert (dataset.notes["dev"]["sentences_dropped"], dataset.notes["dev"]["dropped_lines"]) == (1, [11])
    assert (len(dataset.splits["dev"]), dataset.notes["dev"]["sentences"]) == (10, 11)


def test_missing_and_ambiguous_files(folder):
    (folder / "test.txt").unlink()
    assert "has no file test.txt, which task conll2000_chunk needs" in refused(folder)
    assert "has no file *train.conllu" in refused(folder, "ud_pos")
    for name in ("a-train.conllu", "b-train.conllu"):
        (folder / name).write_text("")
    assert "2 files *train.conllu (a-train.conllu, b-train.conllu)" in refused(folder, "ud_pos")
    assert "needs a folder with train.conll and test.conll" in refused("", "pmb_ccg")


def test_too_few_words_and_one_class(folder):
    assert "has 3 training rows (config.task.limit_instances=3)" in refused(folder, limit_instances=3)
    (folder / "train.txt").write_text("a A O\n" * 12)
    assert "All 12 training rows of task conll2000_chunk have the same class" in refused(folder)


def test_one_sentence_is_refused_where_dev_is_held_out(folder):
    (folder / "train.txt").write_text(DAY.replace("\n\n", "\n") * 4)
    assert "one training sentence" in refused(folder)
    (folder / "dev.txt").write_text(DAY)
    assert n_words(load_task(config(folder))) == [12]


# Real data ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(labelling_data):
    """A task's real data by its name, each read once."""
    return functools.cache(lambda name: load_task(config(labelling_data[name], name)))


OFFICIAL = {
    "conll2000_chunk": {"train": 211_727, "test": 47_377},
    "conll2000_pos": {"train": 211_727, "test": 47_377},
    "ud_pos": {"train": 204_577, "dev": 25_147, "test": 25_094},
    "pmb_semtag": {"train": 50_408, "dev": 7_368, "test": 6_821},
    "pmb_ccg": {"train": 50_408, "dev": 7_368, "test": 6_821},
}


@pytest.mark.shared
@pytest.mark.parametrize("name", [name for name in OFFICIAL if name != "conll2000_pos"])  # which is read below
def test_official_numbers_of_words(labelled, name):
    dataset = labelled(name)
    assert {split: sum(n_words(dataset, split)) for split in dataset.splits} == OFFICIAL[name]
    assert {split: notes["words"] for split, notes in dataset.notes.items()} == OFFICIAL[name]


@pytest.mark.shared
def test_official_numbers_of_sentences_and_classes(labelled, labelling_data):
    chunks, tags = labelled("conll2000_chunk").splits, labelled("ud_pos").splits
    assert [len(chunks[split]) for split in ("train", "test")] == [8_936, 2_012]
    assert [len(tags[split]) for split in ("train", "dev", "test")] == [12_544, 2_001, 2_077]
    assert len({label for sentence in chunks["train"] for label in sentence.labels}) == 22
    assert len({label for sentence in tags["train"] for label in sentence.labels}) == 17
    evaluation = read_columns(labelling_data["pmb_ccg"] / "eval.conll", LABELING_TASKS["pmb_ccg"].columns, "ccg")
    assert sum(len(sentence.words) for sentence in evaluation) == 5_710
    assert len({label for sentence in evaluation for label in sentence.labels}) == 173


@pytest.mark.shared
def test_the_first_150_000_words_of_conll2000(labelled, labelling_data):
    dataset = load_task(config(labelling_data["conll2000_pos"], "conll2000_pos", limit_instances=150_000))
    assert {split: notes["words"] for split, notes in dataset.notes.items()} == OFFICIAL["conll2000_pos"]
    everything = n_words(labelled("conll2000_chunk"))
    assert sum(n_words(dataset)) <= 150_000 < sum(everything[: len(n_words(dataset)) + 1])
