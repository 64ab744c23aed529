"""Lengths of real sentences, for benchmarks to which it does not matter what the tokens are."""

from pathlib import Path

import numpy as np

from jaxred.data.glue import load_glue
from jaxred.data.movie_reviews import load_movie_reviews


def real_lengths(glue: str, n: int) -> np.ndarray:
    """Tokens of about so many test sentences, by their words: of SST-2, or of the built-in reviews without GLUE."""
    loaded = load_glue("sst2", Path(glue)) if glue else load_movie_reviews("classification")
    texts = [example.text for example in loaded.splits["test"]]
    words = np.array([len(text.split()) for text in texts[:: max(len(texts) // n, 1)][:n]])
    return np.minimum(np.round(words * 1.25).astype(int) + 2, 128)  # xlnet-base-cased: 1.25 pieces a word of SST-2
