from collections import Counter

import numpy as np
import pytest

from jaxred.data.movie_reviews import _rows, load_movie_reviews


@pytest.fixture(scope="module")
def by_class():
    return load_movie_reviews().splits


@pytest.fixture(scope="module")
def by_rating():
    return load_movie_reviews("regression").splits


def test_every_rated_sentence_is_there(by_rating):
    assert {split: len(examples) for split, examples in by_rating.items()} == {"train": 9544, "test": 1061}
    ratings = [e.label for examples in by_rating.values() for e in examples]
    assert (min(ratings), max(ratings)) == (-3.875, 3.94117647059)
    assert sum(rating == 0 for rating in ratings) == 37
    assert all(e.pair is None and e.text.strip() for examples in by_rating.values() for e in examples)
    assert by_rating["train"][0].label == 2.26666666667  # the source's first row, "The Rock is destined ..."
    assert by_rating["train"][0].text.startswith("The Rock is destined")


def test_the_sign_of_the_rating_is_the_class(by_class, by_rating):
    counts = {split: Counter(e.label for e in examples) for split, examples in by_class.items()}
    assert counts == {"train": {"negative": 4795, "positive": 4715}, "test": {"negative": 531, "positive": 527}}
    for split, examples in by_rating.items():
        signs = [(e.text, "positive" if e.label > 0 else "negative") for e in examples if e.label != 0]
        assert [(e.text, e.label) for e in by_class[split]] == signs  # the same split, in the same order


def test_no_sentence_is_on_both_sides(by_rating):
    train, test = ({e.text for e in by_rating[split]} for split in ("train", "test"))
    assert not train & test
    assert (len(train), len(test)) == (9542, 1061)
    repeated = [text for text, n in Counter(e.text for e in by_rating["train"]).items() if n > 1]
    assert len(repeated) == 2


def test_the_documented_recipe_gives_the_test_set(by_rating):
    # Putting test sentences at the permutation's last tenth of positions, and train at the others, restores the file.
    held_out = np.sort(np.random.RandomState(7361).permutation(10603)[9542:])
    assert len(held_out) == len(by_rating["test"])
    train = list(dict.fromkeys(e.text for e in by_rating["train"]))
    test = [e.text for e in by_rating["test"]]
    merged = iter(train)
    chosen = dict(zip(held_out.tolist(), test, strict=True))
    texts = [chosen[i] if i in chosen else next(merged) for i in range(10603)]
    assert texts == list(dict.fromkeys(text for _, text in _rows()))
