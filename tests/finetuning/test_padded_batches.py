import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxred.finetuning.padded_batches import LENGTHS, ROW_MULTIPLE, padded_length, plan_batches


@given(st.lists(st.integers(1, 700), max_size=200), st.integers(8, 5000))
@settings(max_examples=100, deadline=None)
def test_batches_cover_every_row_once_within_the_budget(lengths, budget):
    array = np.array(lengths, np.int32)
    batches = plan_batches(array, budget)
    rows = [row for batch in batches for row in batch.rows.tolist()]
    assert sorted(rows) == list(range(len(lengths)))
    for position, batch in enumerate(batches):
        assert 1 <= len(batch.rows) <= batch.n_rows
        assert batch.length >= array[batch.rows].max()
        assert batch.n_rows * batch.length <= max(budget, batch.length)
        if batch.n_rows * batch.length <= budget < (batch.n_rows + 1) * batch.length or batch.n_rows > 1:
            assert (batch.n_rows + ROW_MULTIPLE) * batch.length > budget  # no smaller than need be
        if position + 1 < len(batches):
            assert len(batch.rows) == batch.n_rows
            assert batch.length >= batches[position + 1].length
    shapes = {(batch.n_rows, batch.length) for batch in batches}
    assert len(shapes) == len({length for _, length in shapes}) <= len({padded_length(n) for n in lengths})
    assert {length for _, length in shapes} <= {*LENGTHS, 1024}


def test_little_padding_is_computed():
    lengths = np.random.default_rng(0).integers(3, 129, 4096)
    batches = plan_batches(lengths, 65536)
    assert len({(batch.n_rows, batch.length) for batch in batches}) <= 8
    assert sum(len(batch.rows) * batch.length for batch in batches) < 1.4 * lengths.sum()


@pytest.mark.parametrize(
    ("length", "padded"),
    [(1, 8), (8, 8), (9, 16), (24, 24), (25, 32), (129, 160), (512, 512), (513, 1024), (1024, 1024)],
)
def test_padded_lengths(length, padded):
    assert padded_length(length) == padded
