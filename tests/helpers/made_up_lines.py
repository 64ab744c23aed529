"""Lines of activations as the original writes them, of random numbers."""

import json

import numpy as np

LAYERS, SIZE = 2, 3


def sentence(vectors, tokens=None, index=0):
    """A line of the original's: vectors [token, layer, neuron]."""
    names = tokens or [f"t{i}" for i in range(len(vectors))]
    features = [
        {"token": name, "layers": [{"index": i, "values": list(map(float, v))} for i, v in enumerate(token)]}
        for name, token in zip(names, vectors, strict=True)
    ]
    return json.dumps({"linex_index": index, "features": features})


def values(n_tokens, seed=0):
    return np.random.default_rng(seed).normal(size=(n_tokens, LAYERS, SIZE)).round(6)


def write(path, *lines, end="\n"):
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return path


def same(found, expected):
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


GOOD = sentence(values(1))
