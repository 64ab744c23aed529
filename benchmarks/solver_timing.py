"""Claim: a family of probes goes to its optimum sooner together than one probe at a time in scikit-learn.

    python benchmarks/solver_timing.py [--n_rows=4000 --n_columns=384 --n_probes=16 --n_classes=2]

Prefixes of the standardised columns of random, correlated features are fitted by `probe.solver=fista` to its
tolerance, and by `LogisticRegression(solver="saga")` with the same objective. jaxred's compilation is reported apart,
and the largest relative difference between the weights of both.
"""

import json
import time
import warnings

import _machine
import numpy as np
from absl import app, flags
from sklearn.linear_model import LogisticRegression

from jaxred.config import ProbeConfig
from jaxred.probing import fit
from jaxred.probing.families import prefix_family

N_ROWS = flags.DEFINE_integer("n_rows", 4000, "Training rows.")
N_COLUMNS = flags.DEFINE_integer("n_columns", 384, "Neurons.")
N_PROBES = flags.DEFINE_integer("n_probes", 16, "Probes: prefixes of the neurons, equally spaced.")
N_CLASSES = flags.DEFINE_integer("n_classes", 2, "Classes.")
TOLERANCE = flags.DEFINE_float("tolerance", 1e-6, "The residual at which jaxred stops.")
RIVAL_TOLERANCE = flags.DEFINE_float("rival_tolerance", 1e-6, "The relative change at which saga stops.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")


def main(argv: list[str]) -> None:
    del argv
    n_rows, n_columns, n_probes, n_classes = N_ROWS.value, N_COLUMNS.value, N_PROBES.value, N_CLASSES.value
    if SMALLEST.value:
        n_rows, n_columns, n_probes = 500, 32, 4
    draw = np.random.default_rng(0)
    features = draw.normal(size=(n_rows, n_columns)) + draw.normal(size=(n_rows, 1))
    features = ((features - features.mean(0)) / features.std(0)).astype(np.float32)
    targets = np.argmax(features[:, :n_classes] + draw.normal(size=(n_rows, n_classes)), axis=1)
    l1_ratio, strength = 0.5, 0.05 * n_rows  # strength: 1 / C
    l2 = (1 - l1_ratio) * strength / n_rows / (1 if n_classes == 2 else 2)
    config = ProbeConfig(
        l1=l1_ratio * strength / n_rows,
        l2=l2,
        squared_l2=True,
        batch_size=512,
        solver="fista",
        tolerance=TOLERANCE.value,
        max_iterations=10_000,
    )
    sizes = np.linspace(n_columns / n_probes, n_columns, n_probes).astype(int).tolist()
    family = prefix_family(np.arange(n_columns), sizes)
    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        fitted = fit(family, features, targets, n_classes, config)
        seconds.append(time.perf_counter() - begin)
    probes = [fitted.probe(index) for index in range(n_probes)]

    rival = LogisticRegression(
        penalty="elasticnet",
        solver="saga",
        C=1 / strength,
        l1_ratio=l1_ratio,
        tol=RIVAL_TOLERANCE.value,
        max_iter=10_000,
    )
    differences, same_zeros, rival_seconds = [], True, 0.0
    for probe, size in zip(probes, sizes, strict=True):
        x = features[:, :size].astype(np.float64)
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            rival.fit(x, targets)
        rival_seconds += time.perf_counter() - begin
        weights = probe.weights[:, 1:] - probe.weights[:, :1] if n_classes == 2 else probe.weights
        expected = rival.coef_.T
        differences.append(np.linalg.norm(weights - expected) / max(np.linalg.norm(expected), 1e-30))
        same_zeros &= bool(((weights == 0) == (expected == 0)).all())

    report = {
        "machine": _machine.describe(),
        "rows": n_rows,
        "neurons": n_columns,
        "classes": n_classes,
        "probes": n_probes,
        "seconds": {
            "jaxred": seconds[1],
            "jaxred_with_compilation": seconds[0],
            "scikit_learn_one_at_a_time": rival_seconds,
        },
        "times_scikit_learn": rival_seconds / seconds[1],
        "times_scikit_learn_with_compilation": rival_seconds / seconds[0],
        "converged": all(probe.converged for probe in probes),
        "largest_residual": max(probe.solution.residual for probe in probes if probe.solution),
        "most_iterations": max(probe.solution.iterations for probe in probes if probe.solution),
        "largest_relative_difference": max(differences),
        "same_zeros": same_zeros,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
