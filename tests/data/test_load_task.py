import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from jaxred.config import TaskConfig
from jaxred.data import TASKS, load_task
from jaxred.data.examples import Example
from jaxred.data.parallel import write_parallel
from jaxred.data.split import sample_in_proportion
from jaxred.errors import UserError


def refused(**fields) -> str:
    with pytest.raises(UserError) as caught:
        load_task(TaskConfig(**fields))
    return str(caught.value)


def parallel(folder: Path, labels: list[str] | list[float]) -> dict[str, str]:
    for split in ("train", "test"):
        write_parallel([Example(f"{split} {i}", None, label) for i, label in enumerate(labels)], folder / split)
    return {
        "name": "parallel",
        "kind": "classification" if isinstance(labels[0], str) else "regression",
        "data_dir": str(folder),
    }


def sst2(folder: Path, n: int = 12) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("train.tsv", "dev.tsv"):
        (folder / file).write_text("sentence\tlabel\n" + "".join(f"text {i}\t{i % 2}\n" for i in range(n)))


def test_the_names_of_all_tasks():
    glue = {"cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"}
    words = {
        "conll2000_chunk",
        "conll2000_pos",
        "ud_pos",
        "conllu",
        "pmb_semtag",
        "pmb_ccg",
        "columns",
        "parallel_words",
    }
    assert set(TASKS) == {"movie_reviews", "parallel", "table"} | glue | words


def test_the_default_is_the_built_in_corpus():
    dataset = load_task(TaskConfig())
    assert (dataset.name, dataset.kind, set(dataset.splits)) == ("movie_reviews", "classification", {"train", "test"})
    assert isinstance(load_task(TaskConfig(kind="regression")).splits["train"][0].label, float)


@pytest.mark.parametrize("name", ["sst2", "SST-2", "sst-2"])
def test_glue_tasks_are_read_by_any_spelling(tmp_path, name):
    sst2(tmp_path)
    dataset = load_task(TaskConfig(name=name, data_dir=str(tmp_path)))
    assert (dataset.name, len(dataset.splits["train"])) == ("sst2", 12)


def test_parallel_files_are_read_as_the_kind_says(tmp_path):
    assert load_task(TaskConfig(**parallel(tmp_path / "a", ["x", "y"] * 6))).splits["test"][1].label == "y"
    assert load_task(TaskConfig(**parallel(tmp_path / "b", [0.0, 0.5] * 6))).splits["test"][1].label == 0.5


def test_an_unknown_task_lists_the_known_ones():
    assert refused(name="sst3") == f"config.task.name='sst3' is not known: choose one of {', '.join(TASKS)}."


def test_a_kind_the_task_does_not_have_is_refused(tmp_path):
    sst2(tmp_path)
    message = refused(name="sst2", kind="regression", data_dir=str(tmp_path))
    assert message.startswith("config.task.kind='regression' does not fit task sst2, which is classification")
    assert "pass config.task.kind='classification'" in message
    message = refused(name="STS-B", data_dir=str(tmp_path))
    assert message.startswith("config.task.kind='classification' does not fit task stsb, which is regression")
    assert "pass config.task.kind='regression'" in message


@pytest.mark.parametrize(("name", "files"), [("mnli", "train.tsv and dev_matched.tsv"), ("parallel", "train.word")])
def test_a_missing_folder_is_named(tmp_path, name, files):
    for data_dir, found in (("", "needs a folder"), (str(tmp_path / "no"), "does not exist"), (__file__, "is a file")):
        message = refused(name=name, data_dir=data_dir)
        assert found in message
        assert data_dir in message
        assert "as config.task.data_dir" in message
        assert files in message


def test_one_class_or_one_score_is_refused(tmp_path):
    message = refused(**parallel(tmp_path / "a", ["x"] * 12))
    assert message.startswith("All 12 training rows of task parallel have the same class, 'x'")
    message = refused(**parallel(tmp_path / "b", [0.5] * 12))
    assert message.startswith("All 12 training rows of task parallel have the same score, 0.5")


def test_fewer_than_ten_training_rows_are_refused(tmp_path):
    message = refused(**parallel(tmp_path / "a", ["x", "y", "z"] * 3))
    assert message.startswith("Task parallel has 9 training rows, but at least 10 are needed")
    assert len(load_task(TaskConfig(**parallel(tmp_path / "b", ["x", "y"] * 5))).splits["train"]) == 10
    message = refused(limit_instances=9)
    assert message.startswith("Task movie_reviews has 9 training rows (config.task.limit_instances=9), but at least 10")


def test_the_limit_cuts_train_alone(tmp_path):
    fields = parallel(tmp_path, ["x", "x", "y"] * 10)
    whole = load_task(TaskConfig(**fields)).splits
    cut = load_task(TaskConfig(**fields, limit_instances=12, split_seed=3)).splits
    assert cut["test"] == whole["test"]
    rows = sample_in_proportion([e.label for e in whole["train"]], 12, 3)
    assert cut["train"] == [whole["train"][i] for i in rows]
    assert Counter(e.label for e in cut["train"]) == {"x": 8, "y": 4}
    assert load_task(TaskConfig(**fields, limit_instances=1000)).splits == whole


def test_a_limit_below_the_number_of_classes_is_refused(tmp_path):
    fields = parallel(tmp_path, [f"class {i % 15}" for i in range(45)])
    assert refused(**fields, limit_instances=12).startswith(
        "config.task.limit_instances=12 is fewer than the 15 classes"
    )


@pytest.mark.shared
def test_real_scores_are_read_and_limited(real_data):
    fields = {"name": "stsb", "kind": "regression", "data_dir": str(real_data / "glue")}
    splits = load_task(TaskConfig(**fields, limit_instances=500)).splits
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 500, "test": 1500}
    assert all(0 <= e.label <= 5 for examples in splits.values() for e in examples)


@pytest.mark.shared
def test_real_text_survives_the_parallel_files(real_data, tmp_path):
    for name in ("sst2", "mrpc", "rte"):
        splits = load_task(TaskConfig(name=name, data_dir=str(real_data / "glue"))).splits
        for split, examples in splits.items():
            write_parallel(examples, tmp_path / name / split)
        assert load_task(TaskConfig(name="parallel", data_dir=str(tmp_path / name))).splits == splits


def test_reading_data_does_not_load_jax():
    code = "import sys, jaxred.data; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
