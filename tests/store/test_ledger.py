import json
from dataclasses import replace

import numpy as np
import pytest
from small_store import IDENTITY, N_ROWS, N_WINDOWS, VALUES, fill, ledger, write_store, writer

from jaxred.errors import UserError
from jaxred.store import Store, read_ledger
from jaxred.store.ledger import checksum


def test_the_ledger_keeps_what_it_was_given_and_sums_the_notes(tmp_path):
    opened = write_store(tmp_path)
    assert opened.ledger == ledger(windows_finished=N_WINDOWS, notes={"tokens": 100 + 101 + 102})
    assert opened.ledger == read_ledger(tmp_path)


def test_a_ledger_from_before_there_were_words_is_read(copy):
    content = json.loads((copy / "ledger.json").read_text())
    del content["rows"], content["checksum"]
    content["checksum"] = checksum(content)
    (copy / "ledger.json").write_text(json.dumps(content))
    np.testing.assert_array_equal(Store(copy).matrix(), VALUES.reshape(N_ROWS, -1))


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", '["checksum"]', "1", "null", '"checksum"', '{"checksum": 1}', "\xff"]
)
def test_a_ledger_that_is_none(copy, text):
    (copy / "ledger.json").write_bytes(text.encode("latin-1"))
    for attempt in (lambda: Store(copy), lambda: writer(copy), lambda: read_ledger(copy)):
        with pytest.raises(UserError, match="Delete this folder and run again"):
            attempt()
    fill(writer(copy, overwrite=True))
    np.testing.assert_array_equal(Store(copy).matrix(), VALUES.reshape(N_ROWS, -1))


def test_a_ledger_someone_edited_is_refused(copy):
    content = json.loads((copy / "ledger.json").read_text())
    (copy / "ledger.json").write_text(json.dumps({**content, "identity": {**IDENTITY, "pooling": "mean"}}))
    with pytest.raises(UserError, match=r"ledger\.json is damaged: its checksum does not fit"):
        Store(copy)


def test_a_store_of_another_format_is_refused(copy, monkeypatch):
    monkeypatch.setattr("jaxred.store.ledger.FORMAT", 2)
    with pytest.raises(UserError, match="written in store format 1; this jaxred reads format 2"):
        Store(copy)
    with pytest.raises(UserError, match="store format 1"):
        writer(copy)


def test_windows_of_a_ledger():
    assert [ledger().window(i) for i in range(ledger().n_windows)] == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert replace(ledger(), n_rows=8).n_windows == 2
    assert replace(ledger(), n_rows=9).n_windows == 3
