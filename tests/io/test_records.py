import json
import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from jaxred.io.records import OPTIONAL, TRANSIENT, from_json, renamed, to_json
from jaxred.io.result_files import as_json


@dataclass(frozen=True)
class Inner:
    label: str = field(metadata=renamed("class"))
    score: float = 0.0


@dataclass(frozen=True)
class Outer:
    inner: Inner
    by_size: dict[int, Inner]
    pairs: list[tuple[int, int]]
    matrix: np.ndarray
    best: int | None = field(default=None, metadata=OPTIONAL)
    draws: dict[str, int] = field(default_factory=dict, metadata=TRANSIENT)


def made():
    return Outer(Inner("yes", math.nan), {3: Inner("no", 0.5)}, [(1, 2)], np.array([[1.0, np.nan]]), draws={"a": 1})


def test_what_is_written_is_read_back():
    written = json.loads(as_json(to_json(made())))
    assert written == {
        "inner": {"class": "yes", "score": None}, "by_size": {"3": {"class": "no", "score": 0.5}}, "pairs": [[1, 2]],
        "matrix": [[1.0, None]],
    }  # fmt: skip
    again = from_json(Outer, written)
    assert math.isnan(again.inner.score)
    assert again.by_size == {3: Inner("no", 0.5)}
    assert again.pairs == [(1, 2)]
    np.testing.assert_array_equal(again.matrix, [[1.0, np.nan]])
    assert (again.best, again.draws) == (None, {})
    assert from_json(Outer, {**written, "best": 4}).best == 4


@pytest.mark.parametrize(
    ("change", "words"), [({"inner": None}, "inner"), ({"pairs": [["a", 1]]}, "pairs"), ({"by_size": 3}, "by_size")]
)
def test_what_is_of_another_type_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        from_json(Outer, {**json.loads(as_json(to_json(made()))), **change})
    with pytest.raises(ValueError, match="required field missing"):
        from_json(Outer, {})
