"""The built-in corpus: 10,605 sentences of movie reviews with the mean sentiment rating of about twenty people each.

Source: `additional_resources/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt` in the source distribution of
vaderSentiment 3.3.2 (Hutto & Gilbert 2014; MIT, see `movie_reviews.LICENSE`). `movie_reviews.tsv.xz` was made so:

1. download and unpack the source distribution of vaderSentiment 3.3.2;
2. take the file above: id, rating and text, separated by tabs, with CRLF line ends;
3. replace CRLF by LF and end the last line too; ids, ratings and texts stay byte for byte;
4. compress with `xz -9e`.

Ratings run from -3.875 to 3.941: 5,242 above zero, 5,326 below, 37 exactly zero.

Split: one tenth of the sentences is the test set, and rows keep the order of the file. Two sentences occur twice (ids
10324 and 10341, 10505 and 10559), so the 10,603 *different* sentences are divided and no sentence is on both sides:
`np.random.RandomState(7361).permutation(10603)`, the last tenth (1,061 sentences) is test. Both kinds share that split.
"""

import lzma
from importlib import resources

import numpy as np

from jaxred.data.examples import Dataset, Example

SPLIT_SEED = 7361


def load_movie_reviews(kind: str = "classification") -> Dataset:
    """The built-in movie reviews, as a classification or a regression task.

    Args:
        kind: classification (label 'positive' or 'negative' by the sign of the rating; the 37 sentences rated exactly 0
            are left out: train 9,510 rows, test 1,058) or regression (the rating; all rows: train 9,544, test 1,061).

    Returns:
        A dataset with the splits 'train' and 'test'.
    """
    rows = _rows()
    tested = _test_texts([text for _, text in rows])
    splits: dict[str, list[Example]] = {"train": [], "test": []}
    for rating, text in rows:
        if kind == "classification" and rating == 0:
            continue
        label = rating if kind == "regression" else "positive" if rating > 0 else "negative"
        splits["test" if text in tested else "train"].append(Example(text, None, label))
    return Dataset("movie_reviews", kind, splits)


def _rows() -> list[tuple[float, str]]:
    """Rating and text of every line, in file order."""
    compressed = resources.files("jaxred.data").joinpath("movie_reviews.tsv.xz").read_bytes()
    lines = lzma.decompress(compressed).decode("utf-8").removesuffix("\n").split("\n")
    return [(float(rating), text) for _, rating, text in (line.split("\t") for line in lines)]


def _test_texts(texts: list[str]) -> set[str]:
    """The held-out tenth of the different texts."""
    different = list(dict.fromkeys(texts))
    order = np.random.RandomState(SPLIT_SEED).permutation(len(different))
    return {different[i] for i in order[int(len(different) * 0.9) :]}
