"""Labels that look the same, or hold line breaks, are rejected on every way in and out."""

import numpy as np
import pytest
from helpers.tiny_encoder import write_task
from hypothesis import given
from hypothesis import strategies as st

from jaxred.activations.files.conversion import to_store
from jaxred.activations.files.exporting import to_file
from jaxred.activations.store import Store, StoreWriter
from jaxred.activations.store.ledger import Ledger
from jaxred.config import TaskConfig
from jaxred.data import load_task
from jaxred.data.examples import Example, LabelledSentence
from jaxred.data.labels import encode_labels, refuse_odd_labels
from jaxred.data.parallel import write_parallel
from jaxred.data.parallel_words import write_parallel_words
from jaxred.errors import UserError

ALIKE = {
    "zero_width": "NO\u200bUN",
    "no_break": "NOUN\u00a0",
    "mark": "\ufeffNOUN",
    "soft_hyphen": "NO\u00adUN",
    "direction": "\u200eNOUN",
    "variation": "NOUN\ufe0f",
    "filler": "NOUN\u3164",
    "control": "NOUN\x01",
    "blank": "NOUN ",
}
BROKEN = ["A\nB", "A\rB", "A\u2028B", "A\u0085B", "A\x0bB"]


@pytest.mark.parametrize("other", ALIKE.values(), ids=ALIKE.keys())
def test_labels_that_look_the_same(other):
    with pytest.raises(UserError, match=r"labels '.*NO.*UN.*' and '.*NO.*UN.*' look the same"):
        refuse_odd_labels(["VERB", "NOUN", other, "NOUN"], "here")


def test_accents_that_are_written_in_two_ways():
    with pytest.raises(UserError, match=r"'cafe\\u0301' and 'caf\\xe9' look the same"):
        refuse_odd_labels(["caf\u00e9", "cafe\u0301"], "here")


def test_labels_that_can_be_told_apart():
    refuse_odd_labels(["a", "A", "x2", "x\u00b2", "caf\u00e9", "cafe", "a b", "ab", "_", 1.5, "\U0001f600"], "here")


@pytest.mark.parametrize("label", BROKEN)
def test_line_breaks(label):
    with pytest.raises(UserError, match="holds a line break"):
        refuse_odd_labels([label], "here")


@given(st.sets(st.text(min_size=1, max_size=3), max_size=6))
def test_what_passes_survives_a_file_of_lines(labels):
    try:
        refuse_odd_labels(labels, "here")
    except UserError:
        return
    assert len({label.strip() for label in labels}) == len(labels)
    assert all(len(label.splitlines()) == 1 for label in labels)


# Ways in -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [*ALIKE.values()])
@pytest.mark.parametrize("split", ["train", "test"])
def test_parallel_files(tmp_path, other, split):
    labels = {name: ["VERB", "NOUN"] * 8 for name in ("train", "test")}
    labels[split][7] = other
    write_task(tmp_path, {name: [f"text {i}" for i in range(16)] for name in labels}, labels)
    with pytest.raises(UserError, match="look the same"):
        load_task(TaskConfig(name="parallel", data_dir=str(tmp_path)))


def write_words(folder, split, name, rows):
    if name == "columns":
        text = "\n".join("".join(f"{word}\t{label}\n" for word, label in row) for row in rows)
        (folder / f"{split}.txt").write_text(text)
    elif name == "conllu":
        rest = "\t".join("_" * 6)
        lines = ["".join(f"{i}\t{w}\t_\t{tag}\t{rest}\n" for i, (w, tag) in enumerate(row, 1)) for row in rows]
        (folder / f"{split}.conllu").write_text("\n".join(lines))
    else:
        for suffix, column in ((".word", 0), (".label", 1)):
            lines = [" ".join(cells[column] for cells in row) for row in rows]
            (folder / f"{split}{suffix}").write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("name", ["parallel_words", "columns", "conllu"])
@pytest.mark.parametrize("other", ["NO\u200bUN", "NOUN\u00a0", "NOUN\u3000", "NOUN\ufe0f"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_labelled_words(tmp_path, name, other, split):
    for each in ("train", "test"):
        rows = [[(f"w{i}", "VERB"), (f"v{i}", "NOUN")] for i in range(8)]
        rows[3][1] = ("v3", other if each == split else "NOUN")
        write_words(tmp_path, each, name, rows)
    separator = {"separator": "tab"} if name == "columns" else {}
    with pytest.raises(UserError, match=r"look the same|white space that is no blank"):
        load_task(TaskConfig(name=name, data_dir=str(tmp_path), **separator))


@pytest.mark.parametrize("other", [*ALIKE.values(), *BROKEN])
@pytest.mark.parametrize("where", ["inside", "beside"])
def test_imported_arrays(tmp_path, other, where):
    states = np.random.default_rng(0).normal(size=(4, 2, 3)).astype("f4")
    labels = ["NOUN", other, "VERB", "VERB"]
    np.savez(tmp_path / "a.npz", hidden_states=states, **({"labels": labels} if where == "inside" else {}))
    path = None
    if where == "beside":
        if "\n" in other:
            pytest.skip("two lines")
        path = tmp_path / "a.label"
        path.write_bytes("\n".join(["VERB", *labels[:3]]).encode())
    with pytest.raises(UserError, match=r"look the same|line break"):
        to_store(tmp_path / "a.npz", tmp_path / "store", labels=path)


# Ways out ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["NOUN", other] for other in ALIKE.values()] + [[label, "VERB"] for label in BROKEN])
def test_a_store_to_files(tmp_path, names):
    """A store that an earlier version wrote."""
    ledger = Ledger({"source": "x"}, 2, 1, 3, "float32", 2, sorted(names))
    writer = StoreWriter(tmp_path / "store", ledger, np.arange(2, dtype=np.int32), np.arange(2, dtype=np.int32))
    writer.write(0, np.ones((2, 1, 3), np.float32))
    writer.flush()
    with pytest.raises(UserError, match=r"look the same|line break"):
        to_file(Store(tmp_path / "store"), tmp_path / "out.json")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("other", [*ALIKE.values(), *BROKEN])
def test_examples_to_parallel_files(tmp_path, other):
    with pytest.raises(UserError):
        write_parallel([Example("a", None, "NOUN"), Example("b", None, other)], tmp_path / "train")
    with pytest.raises(UserError):
        write_parallel_words([LabelledSentence(("a", "b"), ("NOUN", other), 1)], tmp_path / "train")
    assert not list(tmp_path.iterdir())


def test_labels_that_would_be_written_alike(tmp_path):
    sentence = LabelledSentence(("a", "b"), ("A B", "A~B"), 1)
    with pytest.raises(UserError, match="would both be written as 'A~B'"):
        write_parallel_words([sentence], tmp_path / "train")


def test_labels_as_a_store_keeps_them():
    names, ids = encode_labels(["b", "a", "b", "10"])
    assert (names, ids.tolist(), str(ids.dtype)) == (["10", "a", "b"], [2, 1, 2, 0], "int32")
    names, scores = encode_labels([0.5, -1.0])
    assert (names, scores.tolist(), str(scores.dtype)) == ([], [0.5, -1.0], "float64")
