import json

import numpy as np
from helpers.small_store import HIDDEN, N_ROWS, VALUES, write_store

from jaxred.activations.store import chunk_sizes


def test_large_windows_are_cut_into_chunks_that_divide_them(tmp_path, monkeypatch):
    monkeypatch.setattr(chunk_sizes, "CHUNK_ROWS", 4)
    opened = write_store(tmp_path, window_rows=9)
    assert [rows for rows, _ in opened.windows()] == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10)]
    np.testing.assert_array_equal(opened.matrix(), VALUES.reshape(N_ROWS, -1))
    metadata = json.loads((tmp_path / "hidden_states" / "zarr.json").read_text())
    assert metadata["codecs"][0]["configuration"]["chunk_shape"] == [3, 1, HIDDEN]


def test_a_store_is_read_by_runs_of_whole_chunks_up_to_their_most_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(chunk_sizes, "CHUNK_ROWS", 7)
    opened = write_store(tmp_path, window_rows=3)
    assert [rows for rows, _ in opened.windows()] == [slice(0, 6), slice(6, 10)]
