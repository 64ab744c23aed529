import os

import pyarrow as pa
import pytest
from helpers.saved_dataset import save_dataset

from jaxred.config import TaskConfig
from jaxred.data.lines import MissingFile
from jaxred.data.table_files import find_splits, open_split, open_table
from jaxred.errors import UserError


@pytest.fixture
def folder(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / name).write_text("text,label\na,1\n")
        return tmp_path

    return make


def names(path, **fields):
    return {split: part.name for split, part in find_splits(path, TaskConfig(name="table", **fields)).items()}


def refused(path, **fields):
    with pytest.raises(UserError) as caught:
        find_splits(path, TaskConfig(name="table", data_dir=str(path), **fields))
    return str(caught.value)


@pytest.mark.parametrize("dev", ["dev.csv", "validation.tsv", "valid.jsonl", "val.parquet", "Validation.CSV"])
def test_splits_by_their_usual_names(folder, dev):
    path = folder("train.csv", "test.json", dev, "notes.txt", "other.csv", ".train.csv")
    assert names(path) == {"train": "train.csv", "test": "test.json", "dev": dev}


def test_splits_by_given_names(folder):
    path = folder("train.csv", "dev.csv", "test.csv", "train.tsv", "mine.csv")
    assert names(path, train_split="train.tsv", test_split="dev") == {"train": "train.tsv", "test": "dev.csv"}
    assert names(path, train_split="mine", dev_split="test.csv", test_split="dev.csv") == {
        "train": "mine.csv", "test": "dev.csv", "dev": "test.csv",
    }  # fmt: skip


def test_one_file_and_train_alone(folder):
    path = folder("train.csv")
    assert names(path) == names(path / "train.csv") == {"train": "train.csv"}
    assert "test_split='test' names a file of a folder" in refused(path / "train.csv", test_split="test")


def test_a_test_file_that_is_not_used_is_warned_of(folder, caplog):
    path = folder("train.csv", "test.csv", "reviews.csv")
    assert names(path / "reviews.csv") == {"train": "reviews.csv"}
    assert not caplog.text
    assert names(path / "train.csv") == {"train": "train.csv"}
    assert "train.csv is used alone, and test.csv next to it is not: pass the folder" in caplog.text


def test_a_pipe_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "train.csv")
    for path in (tmp_path, tmp_path / "train.csv"):
        with pytest.raises(UserError, match="is a named pipe"):
            open_split(find_splits(path, TaskConfig())["train"])


def test_what_is_missing_or_there_twice(folder, tmp_path):
    path = folder("reviews.csv")
    assert "has no train (train.csv, " in refused(path)
    assert "but reviews.csv: name the file that is train as config.task.train_split" in refused(path)
    path = folder("train.csv", "dev.csv", "valid.csv")
    assert "has dev.csv and valid.csv: name the one that is dev as config.task.dev_split" in refused(path)
    (tmp_path / "valid.csv").unlink()
    assert "config.task.test_split=dev.csv" in refused(path)
    assert "has no 'tset'" in refused(path, test_split="tset")
    folder("train.tsv", "test.csv")
    assert "has train.csv and train.tsv: name the one that is train" in refused(path)


def test_shards_are_one_file(folder, tmp_path):
    path = folder(*(f"train-0000{i}-of-00002.csv" for i in range(2)), "test-00000-of-00001.csv")
    splits = find_splits(path, TaskConfig())
    assert [table.path.name for table in open_split(splits["train"])] == [
        "train-00000-of-00002.csv",
        "train-00001-of-00002.csv",
    ]
    (tmp_path / "train-00001-of-00002.csv").unlink()
    with pytest.raises(MissingFile, match=r"train-00001-of-00002\.csv does not exist"):
        open_split(splits["train"])


def test_links_out_of_the_folder_are_not_followed(folder, tmp_path):
    path = folder("in/test.csv", "out/train.csv") / "in"
    (path / "train.csv").symlink_to(tmp_path / "out" / "train.csv")
    assert "train.csv is a link to" in refused(path)
    (path / "train.csv").unlink()
    (path / "train.csv").symlink_to("test.csv")
    assert names(path)["train"] == "train.csv"


def test_folders_of_datasets(tmp_path):
    table = pa.table({"text": ["a", "b", "c"], "label": [0, 1, 0]})
    save_dataset(tmp_path, {"train": table, "validation": table, "test": table}, {}, n_files=2)
    assert names(tmp_path) == {"train": "train", "dev": "validation", "test": "test"}
    assert names(tmp_path, test_split="validation") == {"train": "train", "test": "validation"}
    tables = open_split(tmp_path / "train")
    assert [table.values(0) for table in tables] == [["a", "b"], ["c"]]
    assert tables[1].where(0) == f"{tmp_path / 'train' / 'data-00001-of-00002.arrow'}, row 1"


def test_an_unknown_suffix(tmp_path):
    with pytest.raises(UserError, match=r"none of the suffixes that task table reads \(\.csv, \.tsv"):
        open_table(tmp_path / "train.xlsx")
