"""A small task whose classes a linear probe can learn."""

import numpy as np

N_ROWS, N_COLUMNS, N_CLASSES = 90, 64, 3


def random_task(n_rows=N_ROWS, seed=0):
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(n_rows, N_COLUMNS)).astype(np.float32)
    return features, np.argmax(features[:, :N_CLASSES] + draw.normal(size=(n_rows, N_CLASSES)), axis=1)


def relative_error(values, reference):
    return np.linalg.norm(values - reference) / np.linalg.norm(reference)
