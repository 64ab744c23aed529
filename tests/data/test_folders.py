"""A folder of another task is named in the error, with the configuration that reads it."""

import json
import os

import pytest

from jaxred.config import SourceConfig, StudyConfig, TaskConfig
from jaxred.data import load_task
from jaxred.data.folders import reader_of
from jaxred.errors import UserError
from jaxred.original.importing import open_stores

FOLDERS = {
    "table.py": {"train.csv": "text,label\n", "test.csv": ""},
    "table.py ": {"train-00000-of-00001.parquet": "", "test-00000-of-00001.parquet": ""},
    "table.py  ": {"dataset_dict.json": "{}"},
    "table.py   ": {"state.json": "{}"},
    "table.py    ": {"train.tsv": "review\tstars\n", "dev.tsv": ""},
    "glue.py:sst2": {"train.tsv": "sentence\tlabel\r\na\t1\n", "dev.tsv": ""},
    "glue.py:cola": {"train.tsv": "gj04\t1\t\tOur friends.\n", "dev.tsv": ""},
    "parallel.py": {"train.word": "a fine film\n", "train.label": "good\n"},
    "labeling.py:parallel_words": {"train.word": "a fine film\n", "train.label": "D A N\n"},
    "labeling.py:ud_pos": {"en_ewt-ud-train.conllu": ""},
    "labeling.py:pmb_semtag": {"train.conll": ""},
    "labeling.py:conll2000_chunk": {"train.txt": "Rockwell NNP B-NP\n"},
    "labeling.py:columns": {"train.txt": "Rockwell NNP\n"},
    "stores.py": {"train/ledger.json": "{}"},
}
FIRST = {"glue.py:sst2": "train.tsv and dev.tsv of SST-2", "stores.py": "stores of activations"}


def make(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize("config", FOLDERS)
def test_folders_are_known_by_their_files(tmp_path, config):
    sentence = reader_of(make(tmp_path / "data", FOLDERS[config]))
    first = FIRST.get(config, next(iter(FOLDERS[config])))
    assert sentence.startswith(f"This folder has {first}")
    assert sentence.endswith(f": it is read by --config=configs/{config.strip()}.")
    files = sentence.removeprefix("This folder has ").split(":")[0]
    assert reader_of(tmp_path) == (
        f"Its folder data has {files}: pass that one, which --config=configs/{config.strip()} reads."
    )


def test_glue_by_the_name_of_the_folder(tmp_path):
    make(tmp_path / "RTE", {"train.tsv": "index\tsentence1\n", "dev.tsv": ""})
    assert reader_of(tmp_path / "RTE").endswith("--config=configs/glue.py:rte.")
    assert reader_of(tmp_path).startswith("Its folder RTE has train.tsv and dev.tsv of RTE: pass that one")


def test_what_is_not_known(tmp_path):
    (tmp_path / "notes.md").write_text("")
    os.mkfifo(tmp_path / "train.tsv")
    os.mkfifo(tmp_path / "dev.tsv")
    assert reader_of(tmp_path).endswith("table.py.")  # without waiting for the pipe
    assert reader_of(tmp_path / "none") == reader_of(tmp_path / "notes.md") == ""
    assert reader_of(make(tmp_path / "b", {"a.csv": ""})) == ""


@pytest.mark.parametrize("task", ["sst2", "parallel", "ud_pos", "conll2000_pos", "pmb_ccg", "parallel_words"])
def test_a_task_that_misses_its_files_names_the_reader(tmp_path, task):
    make(tmp_path, FOLDERS["table.py"])
    with pytest.raises(UserError) as caught:
        load_task(TaskConfig(task, data_dir=str(tmp_path)))
    assert str(caught.value).endswith(
        "This folder has train.csv and test.csv: it is read by --config=configs/table.py."
    )
    with pytest.raises(UserError, match=r"This file is read by --config=configs/table\.py\.$"):
        load_task(TaskConfig(task, data_dir=str(tmp_path / "train.csv")))


def test_table_and_stores_name_the_reader(tmp_path):
    make(tmp_path, FOLDERS["parallel.py"])
    with pytest.raises(UserError, match=r"train\.word and train\.label: it is read by --config=configs/parallel\.py"):
        load_task(TaskConfig("table", data_dir=str(tmp_path)))
    with pytest.raises(UserError, match=r"has no store train: .* it is read by --config=configs/parallel\.py"):
        open_stores(StudyConfig(TaskConfig(""), source=SourceConfig(stores=str(tmp_path))))


@pytest.mark.parametrize(
    ("task", "files"),
    [
        ("parallel", {"train.word": "a\n" * 10, "train.label": "x\ny\n" * 5}),
        ("conllu", {"a-train.conllu": "1\ta\t_\tX" + "\t_" * 6 + "\n"}),
        ("table", {"train-00000-of-00002.csv": "text,label\na,1\n"}),
    ],
)
def test_a_task_does_not_recommend_itself(tmp_path, task, files):
    make(tmp_path, files)
    with pytest.raises(UserError) as caught:
        load_task(TaskConfig(task, data_dir=str(tmp_path)))
    assert "--config=configs" not in str(caught.value)


def test_damaged_files_are_not_taken_for_missing(tmp_path):
    make(tmp_path, {"train.word": "a\nb\n", "train.label": json.dumps("x"), "train.csv": ""})
    with pytest.raises(UserError) as caught:
        load_task(TaskConfig("parallel", data_dir=str(tmp_path)))
    assert "--config=configs" not in str(caught.value)
