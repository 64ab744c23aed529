"""Features of random rows, with whatever neurons a test plants in them."""

import numpy as np

from jaxred.activations.matrix import FeatureMatrix
from jaxred.probing.features import Features


def made_up_features(
    rows: dict[str, np.ndarray], targets: dict[str, np.ndarray], n_layers: int = 1, batch_size: int = 32
) -> Features:
    """Features of rows [row, neuron] and class ids, by split."""
    matrices = {split: FeatureMatrix.from_rows(x.astype(np.float32), batch_size) for split, x in rows.items()}
    classes = tuple(map(str, range(int(max(y.max() for y in targets.values())) + 1)))
    of_rows = {split: y.astype(np.int32) for split, y in targets.items()}
    return Features(matrices, of_rows, classes, n_layers, rows["train"].shape[1] // n_layers, None)


def planted(n_neurons: int = 24, deciding: int = 7, n_classes: int = 2, seed: int = 0, **sizes: int) -> Features:
    """Rows of noise in which one neuron says the class."""
    random = np.random.default_rng(seed)
    sizes = {"train": 200, "dev": 80, "test": 120, **sizes}
    targets = {split: random.integers(0, n_classes, n) for split, n in sizes.items()}
    rows = {split: random.normal(size=(n, n_neurons)) for split, n in sizes.items()}
    for split, y in targets.items():
        rows[split][:, deciding] = 0.3 * rows[split][:, deciding] + 3 * y
    return made_up_features(rows, targets, n_layers=2)
