"""Claim: rankings that look at each neuron alone cost less than the probes of a pipeline at the size of SST-2
(5,000 rows, 2,688 neurons); the Gaussian one costs more, and a small part of what plain refitting takes.

    python benchmarks/rankings.py
    python benchmarks/rankings.py --n_classes=20

Rows are made up: 5,000 of train and 1,000 of dev, 2,688 neurons (7 layers of 384). The rivals are, in the same run:
class means by NumPy's indexing; scikit-learn's `average_precision_score` of every neuron and its negative, timed on a
few neurons and scaled up; and SciPy's multivariate normal refitted for every neuron that a greedy step tries, timed on
a few steps and neurons and scaled up. Programs are compiled before, and the time of that is given separately.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import _machine
import numpy as np
from absl import app, flags
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.metrics import average_precision_score

from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ProbeConfig
from jaxred.probing import fit, rankings
from jaxred.probing.families import layer_family, prefix_family
from jaxred.probing.features import Features
from jaxred.probing.gaussian import GREEDY, PRIOR_ROWS, SHRINKAGE
from jaxred.studies.selection import CCFS_FRACTIONS, minimal_set_sizes

_ROWS = flags.DEFINE_integer("n_rows", 5000, "Training rows.")
_DEV = flags.DEFINE_integer("n_dev", 1000, "Rows of dev.")
_LAYERS = flags.DEFINE_integer("n_layers", 7, "Layers.")
_HIDDEN = flags.DEFINE_integer("hidden_size", 384, "Neurons per layer.")
_CLASSES = flags.DEFINE_integer("n_classes", 2, "Classes.")
_SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")

RIVAL_NEURONS, RIVAL_STEPS = 20, (0, 15, 31, 47, 63)  # that the slow rivals are timed on


def made_up(n_rows: int, n_dev: int, n_layers: int, hidden_size: int, n_classes: int) -> Features:
    """Correlated neurons, a tenth of which know a little of the class."""
    random, n_neurons = np.random.default_rng(0), n_layers * hidden_size
    mix = random.normal(size=(64, n_neurons)).astype(np.float32)
    shift = 0.2 * random.normal(size=(n_classes, n_neurons)) * (random.random(n_neurons) < 0.1)
    matrices, targets = {}, {}
    for split, n in (("train", n_rows), ("dev", n_dev), ("test", n_dev)):
        targets[split] = random.integers(0, n_classes, n).astype(np.int32)
        noise = random.normal(size=(n, n_neurons)).astype(np.float32)
        rows = random.normal(size=(n, 64)).astype(np.float32) @ mix / 8 + noise + shift[targets[split]]
        matrices[split] = FeatureMatrix.from_rows(rows.astype(np.float32), 128)
    return Features(matrices, targets, tuple(map(str, range(n_classes))), n_layers, hidden_size, None)


def seconds(work: Callable[[], Any]) -> float:
    """Of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def rival_probeless(x: np.ndarray, y: np.ndarray, n_classes: int) -> None:
    means = [x[y == c].mean(0) for c in range(n_classes)]
    np.argsort(-sum(np.abs(a - b) for i, a in enumerate(means) for b in means[:i]))


def rival_average_precision(x: np.ndarray, y: np.ndarray, n_classes: int) -> None:
    for column in x.T:
        for c in range(n_classes):
            max(average_precision_score(y == c, column), average_precision_score(y == c, -column))


def rival_gaussian_seconds(features: Features, x: dict[str, np.ndarray], n_greedy: int) -> float:
    """Of all steps, from a few neurons of a few steps."""
    y, n_neurons = features.targets, features.n_neurons
    n_classes = len(features.classes)
    rows = [x["train"][y["train"] == c].astype(np.float64) for c in range(n_classes)]
    per_neuron = []
    steps = [step for step in RIVAL_STEPS if step < n_greedy]
    tried = min(RIVAL_NEURONS, n_neurons - n_greedy)
    for step in steps:
        begin = time.perf_counter()
        for neuron in range(tried):
            chosen = [*range(n_neurons - step, n_neurons), neuron]
            joint = []
            for of_class in rows:
                part = of_class[:, chosen]
                weight = PRIOR_ROWS / (PRIOR_ROWS + len(part))
                sigma: Any = np.atleast_2d(np.cov(part, rowvar=False, bias=True))
                sigma = (1 - weight) * sigma + weight * np.diag(np.diag(sigma)) + SHRINKAGE * np.eye(len(chosen))
                density = multivariate_normal.logpdf(x["dev"][:, chosen], part.mean(0), sigma)
                joint.append(density + np.log(len(part) / len(x["train"])))
            scores = np.array(joint)
            np.mean(scores[y["dev"], np.arange(scores.shape[1])] - logsumexp(scores, axis=0))
        per_neuron.append((time.perf_counter() - begin) / tried)
    return float(np.mean(per_neuron)) * n_greedy * n_neurons


def main(argv: list[str]) -> None:
    del argv
    size = (_ROWS.value, _DEV.value, _LAYERS.value, _HIDDEN.value)
    features = made_up(*((256, 64, 2, 40) if _SMALLEST.value else size), _CLASSES.value)
    everyone, n_outputs = np.arange(features.n_neurons), features.n_outputs
    data, targets = features.matrices["train"], features.targets["train"]
    ranked: dict[str, dict[str, float]] = {}
    for name in ("probeless", "gaussian", "average_precision", "variance", "random"):

        def rank(name: str = name) -> None:
            rankings.order(features, name)

        first = seconds(rank)
        least = min(seconds(rank) for _ in range(1 if _SMALLEST.value else 3))
        ranked[name] = {"first_call": first, "least_of_three": least}
    probe = ProbeConfig(epochs=1 if _SMALLEST.value else ProbeConfig().epochs)
    sizes = minimal_set_sizes(features.n_neurons, features.n_neurons, CCFS_FRACTIONS)
    layers = layer_family(features.n_layers, features.hidden_size)
    grid = prefix_family(everyone, sizes, features.n_neurons)
    probes = {
        "layers": seconds(lambda: fit(layers, data, targets, n_outputs, probe)),
        "one_search": seconds(lambda: fit(grid, data, targets, n_outputs, probe)),
    }
    x = {split: np.asarray(matrix) for split, matrix in features.matrices.items()}
    few, n_classes = slice(0, RIVAL_NEURONS), len(features.classes)
    scale = features.n_neurons / len(everyone[few])
    report = {
        "machine": _machine.describe(),
        "rows": {split: len(rows) for split, rows in x.items()},
        "neurons": features.n_neurons,
        "classes": n_classes,
        "ranking_seconds": ranked,
        "probe_seconds_with_compilation": probes,
        "rival_seconds": {
            "probeless_numpy": seconds(lambda: rival_probeless(x["train"], targets, n_classes)),
            "average_precision_scikit_learn_scaled_up": scale
            * seconds(lambda: rival_average_precision(x["train"][:, few], targets, n_classes)),
            "gaussian_scipy_scaled_up": rival_gaussian_seconds(features, x, min(GREEDY, features.n_neurons // 2)),
            "variance_numpy": seconds(lambda: x["train"].var(0, dtype=np.float64)),
        },
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
