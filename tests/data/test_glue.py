import importlib.util
import re
from pathlib import Path

import pytest
from helpers.shared import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.data.examples import Example
from jaxred.data.glue import GLUE_TASKS, glue_name, load_glue, read_glue_file
from jaxred.errors import UserError
from jaxred.validation import validate

# Columns as GLUE's own files have them, written out again so that the module's table is checked against something:
# number of columns, columns of the texts, column of the label, header (all 1-based), for train and for the dev file.
OFFICIAL = {
    ("cola", "train"): (4, (4,), 2, False),
    ("cola", "test"): (4, (4,), 2, False),
    ("sst2", "train"): (2, (1,), 2, True),
    ("sst2", "test"): (2, (1,), 2, True),
    ("mrpc", "train"): (5, (4, 5), 1, True),
    ("mrpc", "test"): (5, (4, 5), 1, True),
    ("qqp", "train"): (6, (4, 5), 6, True),
    ("qqp", "test"): (6, (4, 5), 6, True),
    ("stsb", "train"): (10, (8, 9), 10, True),
    ("stsb", "test"): (10, (8, 9), 10, True),
    ("mnli", "train"): (12, (9, 10), 12, True),
    ("mnli", "test"): (16, (9, 10), 16, True),
    ("qnli", "train"): (4, (2, 3), 4, True),
    ("qnli", "test"): (4, (2, 3), 4, True),
    ("rte", "train"): (4, (2, 3), 4, True),
    ("rte", "test"): (4, (2, 3), 4, True),
    ("wnli", "train"): (4, (2, 3), 4, True),
    ("wnli", "test"): (4, (2, 3), 4, True),
}
LABELS = {
    **{task: ["0", "1"] for task in ("cola", "sst2", "mrpc", "qqp", "wnli")},
    **{task: ["entailment", "not_entailment"] for task in ("qnli", "rte")},
    "mnli": ["contradiction", "entailment", "neutral"],
    "stsb": ["0.000", "3.25", "5"],
}


def official_row(task: str, split: str, texts: list[str], label: str) -> str:
    n_columns, text_columns, label_column, _ = OFFICIAL[task, split]
    cells = [f"cell{i}" for i in range(1, n_columns + 1)]
    for column, text in zip(text_columns, texts, strict=True):
        cells[column - 1] = text
    cells[label_column - 1] = label
    return "\t".join(cells)


def write_file(path: Path, task: str, split: str, rows: list[str], end: str = "\n") -> Path:
    header = ["\t".join(f"name{i}" for i in range(OFFICIAL[task, split][0]))] if OFFICIAL[task, split][3] else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(row + end for row in header + rows).encode())
    return path


def texts_for(task: str, words: str = "some text") -> list[str]:
    return [f"{words} {i}" for i in range(len(OFFICIAL[task, "train"][1]))]


def write_task(folder: Path, task: str, n: int = 12) -> None:
    for split, file in (("train", "train.tsv"), ("test", "dev_matched.tsv" if task == "mnli" else "dev.tsv")):
        labels = LABELS[task]
        rows = [official_row(task, split, texts_for(task, f"{split} {i}"), labels[i % len(labels)]) for i in range(n)]
        write_file(folder / file, task, split, rows)


def refused(path: Path, task: str, split: str = "train") -> str:
    with pytest.raises(UserError) as caught:
        read_glue_file(path, task, split)
    return str(caught.value)


def test_the_nine_tasks_are_known_in_every_spelling():
    assert sorted(GLUE_TASKS) == sorted({task for task, _ in OFFICIAL})
    for spelling, name in (("SST-2", "sst2"), ("sst-2", "sst2"), ("STS-B", "stsb"), ("CoLA", "cola"), ("MNLI", "mnli")):
        assert glue_name(spelling) == name
    assert glue_name("sst3") is None
    assert {glue_name(task.folder) for task in GLUE_TASKS.values()} == set(GLUE_TASKS)


def test_a_configuration_is_made_of_every_glue_task_and_no_other():
    spec = importlib.util.spec_from_file_location("glue", ROOT / "configs" / "glue.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, task in GLUE_TASKS.items():
        made = module.get_config(task.folder)
        validate(made)
        assert (glue_name(made.task.name), made.task.kind) == (name, task.kind)
    for unknown in ("sst3", "movie_reviews", ""):
        with pytest.raises(UserError) as caught:
            module.get_config(unknown)
        known = ", ".join(GLUE_TASKS)
        assert str(caught.value) == f"configs/glue.py:{unknown} is not known: choose one of {known}."


text = st.text(
    st.characters(codec="utf-8", exclude_characters="\n\r\t") | st.sampled_from("\u2028\x85\v\f\u00a0\"'"), min_size=1
).filter(str.strip)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("glue")


@pytest.mark.parametrize(("task", "split"), OFFICIAL)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), end=st.sampled_from(["\n", "\r\n"]))
def test_official_columns_are_read_back(scratch, task, split, data, end):
    n_texts = len(OFFICIAL[task, split][1])
    rows = data.draw(
        st.lists(
            st.tuples(st.lists(text, min_size=n_texts, max_size=n_texts), st.sampled_from(LABELS[task])), min_size=1
        )
    )
    path = write_file(scratch / "file.tsv", task, split, [official_row(task, split, *row) for row in rows], end)
    expected = [
        Example(texts[0], texts[1] if n_texts == 2 else None, float(label) if task == "stsb" else label)
        for texts, label in rows
    ]
    assert read_glue_file(path, task, split) == expected


def test_a_byte_order_mark_before_the_header_or_the_first_row_is_dropped(tmp_path):
    for task in ("mrpc", "cola"):
        path = write_file(tmp_path / "a.tsv", task, "train", [official_row(task, "train", texts_for(task), "1")])
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert read_glue_file(path, task, "train") == [Example(*[*texts_for(task), None][:2], "1")]
    path.write_bytes(b"\xef\xbb\xbf1\t0\t\tthe mark is not part of any cell\n")
    assert read_glue_file(path, "cola", "train")[0].label == "0"


def test_a_dev_file_cut_out_of_mnli_train_keeps_its_columns(tmp_path):
    path = write_file(
        tmp_path / "dev_matched.tsv", "mnli", "train", [official_row("mnli", "train", ["a", "b"], "neutral")]
    )
    assert read_glue_file(path, "mnli", "test") == [Example("a", "b", "neutral")]


@pytest.mark.parametrize(("task", "split"), OFFICIAL)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_wrong_number_of_columns_is_named(tmp_path, task, split, change):
    n_columns, *_, header = OFFICIAL[task, split]
    good = official_row(task, split, texts_for(task), LABELS[task][0])
    bad = good.rsplit("\t", 1)[0] if change < 0 else f"{good}\textra"
    path = write_file(tmp_path / "a.tsv", task, split, [good, good, bad, good])
    message = f"{path}, line {3 + header}: {n_columns + change} columns separated by tabs, but {n_columns} are expected"
    assert refused(path, task, split).startswith(message)


def test_a_wrong_number_of_columns_in_the_first_line_is_named(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("sentence,label\nfine,1\n")
    assert refused(path, "sst2").startswith(f"{path}, line 1: 1 columns separated by tabs, but 2 are expected")
    assert "but 16 or 12 are expected" in refused(path, "mnli", "test")


@pytest.mark.parametrize("task", sorted(GLUE_TASKS))
@pytest.mark.parametrize("label", ["", "2", "label", " 1", "entailed", "nan", "inf"])
def test_labels_the_task_does_not_have_are_named(tmp_path, task, label):
    if task == "stsb" and label in ("2", " 1"):
        return  # these are scores
    good, bad = (official_row(task, "train", texts_for(task), value) for value in (LABELS[task][0], label))
    path = write_file(tmp_path / "a.tsv", task, "train", [good, bad])
    message = refused(path, task)
    line = 2 + OFFICIAL[task, "train"][3]
    if task == "stsb":
        assert message.startswith(f"{path}, line {line}: the score is {label!r}, but a finite number is expected")
    else:
        allowed = ", ".join(LABELS[task])
        assert message.startswith(f"{path}, line {line}: the label is {label!r}, but only {allowed} are allowed")


@pytest.mark.parametrize("task", sorted(set(GLUE_TASKS) - {"qqp"}))
@pytest.mark.parametrize("empty", ["", "  ", "\u00a0"])
def test_empty_texts_are_named(tmp_path, task, empty):
    _, text_columns, _, header = OFFICIAL[task, "train"]
    for i, column in enumerate(text_columns):
        texts = texts_for(task)
        texts[i] = empty
        path = write_file(tmp_path / "a.tsv", task, "train", [official_row(task, "train", texts, LABELS[task][0])])
        assert refused(path, task).startswith(f"{path}, line {1 + header}: the text in column {column} is empty")


def test_qqp_may_lack_one_question_but_not_both(tmp_path):
    rows = [official_row("qqp", "train", texts, "0") for texts in (["a", ""], ["", "b"])]
    path = write_file(tmp_path / "a.tsv", "qqp", "train", rows)
    assert read_glue_file(path, "qqp", "train") == [Example("a", "", "0"), Example("", "b", "0")]
    write_file(path, "qqp", "train", [*rows, official_row("qqp", "train", ["", " "], "0")])
    assert refused(path, "qqp").startswith(f"{path}, line 4: the text in column 4 is empty")


def test_the_few_broken_lines_of_qqp_are_left_out(tmp_path):
    good, broken = official_row("qqp", "train", ["a", "b"], "1"), 'with a line break?"\twhy\t0'
    path = write_file(tmp_path / "a.tsv", "qqp", "train", [good] * 1500 + [broken] + [good] * 499)
    assert len(read_glue_file(path, "qqp", "train")) == 1999
    write_file(path, "qqp", "train", [good] * 1500 + [broken] + [good] * 498)
    assert len(read_glue_file(path, "qqp", "train")) == 1998
    write_file(path, "qqp", "train", [good] * 900 + [broken] + [good] * 90)
    assert refused(path, "qqp").startswith(f"{path}, line 902: 3 columns separated by tabs, but 6 are expected")
    write_file(path, "qqp", "train", [good] * 1500 + [f"{good}\textra"] + [good] * 499)
    assert refused(path, "qqp").startswith(f"{path}, line 1502: 7 columns")
    good = official_row("mrpc", "train", ["a", "b"], "1")
    write_file(path, "mrpc", "train", [good] * 1500 + [broken] + [good] * 499)
    assert refused(path, "mrpc").startswith(f"{path}, line 1502: 3 columns")  # QQP alone


@pytest.mark.parametrize("task", sorted(GLUE_TASKS))
def test_a_missing_or_unwanted_header_is_named(tmp_path, task):
    path = write_file(
        tmp_path / "a.tsv", task, "train", [official_row(task, "train", texts_for(task), LABELS[task][0])]
    )
    header, row = [*path.read_text().split("\n"), ""][:2]
    if task == "cola":
        path.write_text("\t".join(["source", "label", "star", "sentence"]) + "\n" + header + "\n")
        assert refused(path, task).startswith(f"{path}, line 1: the label is 'label'")
        assert "CoLA files have no header" in refused(path, task)
    else:
        path.write_text(f"{row}\n{row}\n")
        message = f"{path}, line 1: the label column holds {LABELS[task][0]!r}, but a header is expected"
        assert refused(path, task).startswith(message)


def test_a_file_with_nothing_below_its_header_is_named(tmp_path):
    path = write_file(tmp_path / "a.tsv", "rte", "train", [])
    assert refused(path, "rte").startswith(f"{path} has a header but no examples below it")


@pytest.mark.parametrize("task", sorted(GLUE_TASKS))
def test_train_is_train_and_the_dev_file_is_test(tmp_path, task):
    write_task(tmp_path, task)
    (tmp_path / "test.tsv").write_text("never read")
    dataset = load_glue(task, tmp_path)
    assert (dataset.name, dataset.kind) == (task, "regression" if task == "stsb" else "classification")
    assert {split: [e.text for e in examples] for split, examples in dataset.splits.items()} == {
        split: [f"{split} {i} 0" for i in range(12)] for split in ("train", "test")
    }


@pytest.mark.parametrize("spelling", ["SST-2", "sst-2", "sst2", "Sst2"])
def test_a_folder_spelled_like_the_task_is_found(tmp_path, spelling):
    write_task(tmp_path / spelling, "sst2")
    write_task(tmp_path / "RTE", "rte")
    assert load_glue("sst2", tmp_path).splits["train"][0].text == "train 0 0"
    assert load_glue("sst2", tmp_path / spelling).splits["train"][0].text == "train 0 0"


def test_a_folder_with_its_own_files_comes_before_a_folder_in_it(tmp_path):
    write_task(tmp_path, "sst2", n=11)
    write_task(tmp_path / "SST-2", "sst2", n=12)
    assert len(load_glue("sst2", tmp_path).splits["train"]) == 11


def test_missing_files_are_named(tmp_path):
    def message(task: str) -> str:
        with pytest.raises(UserError) as caught:
            load_glue(task, tmp_path)
        return str(caught.value)

    assert message("sst2").startswith(
        f"{tmp_path} has no train.tsv and no dev.tsv: GLUE task sst2 needs train.tsv and dev"
    )
    assert "config.task.data_dir" in message("sst2")
    assert "SST-2/" in message("sst2")
    write_task(tmp_path / "MNLI", "mnli")
    (tmp_path / "MNLI" / "dev_matched.tsv").unlink()
    assert message("mnli").startswith(f"{tmp_path / 'MNLI'} has no dev_matched.tsv: GLUE task mnli needs")
    (tmp_path / "dev.tsv").write_text("x")
    assert message("sst2").startswith(f"{tmp_path} has no train.tsv: ")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("task", "n_train", "n_test"),
    [("sst2", 67349, 872), ("mrpc", 3668, 408), ("rte", 2490, 277), ("stsb", 5749, 1500), ("cola", 8551, 1043)],
)
def test_official_row_counts(real_data, task, n_train, n_test):
    splits = load_glue(task, real_data / "glue").splits
    assert {split: len(examples) for split, examples in splits.items()} == {"train": n_train, "test": n_test}
    if task != "stsb":
        assert {e.label for e in splits["train"]} == {e.label for e in splits["test"]} == set(LABELS[task])


@pytest.mark.shared
def test_the_official_qnli_dev_file_is_read(real_data):
    assert len(read_glue_file(real_data / "glue" / "QNLI" / "dev.tsv", "qnli", "test")) == 5463


@pytest.mark.shared
@pytest.mark.parametrize("task", ["mnli", "qqp", "qnli"])
def test_the_subsets_are_read(real_data, task):
    splits = load_glue(task, real_data / "glue_subsets").splits
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 8999, "test": 1000}
    few = real_data / "glue_subsets" / "kshot_native" / task.upper() / "16-13"
    assert len(load_glue(task, few).splits["train"]) == 16 * len(LABELS[task])


def test_messages_hold_no_unfilled_field(tmp_path):
    path = write_file(tmp_path / "a.tsv", "rte", "train", ["one cell"])
    assert not re.search(r"[{}]", refused(path, "rte"))
