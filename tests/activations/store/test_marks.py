import json

import pytest
from helpers.small_store import CLASSES, IDENTITY, N_WINDOWS, SENTENCES, VALUES, fill, ledger, write_store, writer
from helpers.tiny_encoder import contents

from jaxred.activations.store import StoreWriter, read_ledger
from jaxred.activations.store.kvstore import open_kvstore
from jaxred.activations.store.marks import Marks


@pytest.fixture
def marks(tmp_path):
    def of(folder, **changes):
        return Marks(open_kvstore(str(folder)), str(folder), ledger(**changes))

    return of


def test_marks_are_read_as_they_were_written(tmp_path, marks):
    mine = marks(tmp_path)
    assert mine.read() == {}
    mine.write(2, {"tokens": 7})
    mine.write(10, {})
    assert mine.read() == marks(tmp_path).read() == {2: {"tokens": 7}, 10: {}}
    mine.remove(2)
    assert mine.read() == {10: {}}
    mine.clear()
    assert mine.read() == {}
    assert not (tmp_path / "finished").exists()


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b'{"notes": {}}', b"\xff"])
def test_a_damaged_mark_is_not_heeded(tmp_path, marks, left):
    marks(tmp_path).write(0, {"tokens": 1})
    marks(tmp_path).write(1, {"tokens": 1})
    (tmp_path / "finished" / "0").write_bytes(left)
    assert list(marks(tmp_path).read()) == [1]
    content = json.loads((tmp_path / "finished" / "1").read_bytes())
    (tmp_path / "finished" / "1").write_text(json.dumps({**content, "notes": {"tokens": 2}}))
    assert marks(tmp_path).read() == {}


def test_a_mark_of_another_store_is_not_heeded(tmp_path, marks):
    marks(tmp_path, identity={**IDENTITY, "pooling": "mean"}).write(0, {})
    assert marks(tmp_path).read() == {}
    marks(tmp_path, windows_finished=2, notes={"tokens": 3}).write(1, {})
    assert list(marks(tmp_path).read()) == [1]


def test_one_process_goes_on_with_what_several_have_marked(tmp_path, marks):
    write_store(tmp_path / "whole")
    folder = tmp_path / "store"
    open_writer = writer(folder)
    for window in (0, 2):
        rows = open_writer.ledger.window(window)
        open_writer._hidden_states[rows].write(VALUES[rows]).result()
        marks(folder).write(window, {"tokens": 100 + window})
    again = StoreWriter(folder, ledger(), CLASSES, SENTENCES, any_order=True)
    assert (again.ledger.windows_finished, again.windows) == (1, [1])
    again.write(1, VALUES[again.ledger.window(1)], {"tokens": 101})
    again.finish()
    assert read_ledger(folder).windows_finished == N_WINDOWS
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_marked_window_that_is_damaged_is_written_again(tmp_path, marks):
    write_store(tmp_path / "whole")
    folder = tmp_path / "store"
    open_writer = writer(folder)
    rows = open_writer.ledger.window(1)
    open_writer._hidden_states[rows].write(VALUES[rows]).result()
    for window in (1, 2):  # 2 was never written
        marks(folder).write(window, {"tokens": 100 + window})
    again = StoreWriter(folder, ledger(), CLASSES, SENTENCES, any_order=True)
    assert again.windows == [0, 2]
    for window in again.windows:
        again.write(window, VALUES[again.ledger.window(window)], {"tokens": 100 + window})
    again.finish()
    assert contents(folder) == contents(tmp_path / "whole")


def test_all_windows_were_marked_and_not_counted(tmp_path, marks):
    write_store(tmp_path / "whole")
    folder = tmp_path / "store"
    open_writer = writer(folder)
    for window in range(N_WINDOWS):
        rows = open_writer.ledger.window(window)
        open_writer._hidden_states[rows].write(VALUES[rows]).result()
        marks(folder).write(window, {"tokens": 100 + window})
    again = StoreWriter(folder, ledger(), CLASSES, SENTENCES, any_order=True)
    assert again.windows == []
    again.finish()
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_writer_in_order_leaves_no_marks(tmp_path):
    fill(writer(tmp_path), until=2)
    assert not (tmp_path / "finished").exists()
