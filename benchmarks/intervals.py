"""Claim: intervals and standard errors of all probes of a study cost less than a second at the size of SST-2.

    python benchmarks/intervals.py
    python benchmarks/intervals.py --metric=f1 --n_classes=44 --n_dev=25147 --n_test=25094

The rival is `jaxred.probing.metrics.score`, which is scikit-learn's, one probe and one resample at a time, timed on a
few and scaled up. By default 6,735 rows of dev and 872 of test, as of SST-2, and the 107 probes of a pipeline.
"""

import json
import time

import _machine
import numpy as np
from absl import app, flags

from jaxred.probing.metrics import score
from jaxred.probing.resampling import N_RESAMPLES, draw, interval, resampled_scores, standard_error

_METRIC = flags.DEFINE_string("metric", "accuracy", "One of the metrics of classification.")
_CLASSES = flags.DEFINE_integer("n_classes", 2, "Classes.")
_PROBES = flags.DEFINE_integer("n_probes", 107, "Probes.")
_DEV = flags.DEFINE_integer("n_dev", 6735, "Rows of dev.")
_SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")
_TEST = flags.DEFINE_integer("n_test", 872, "Rows of test.")

RIVAL_RESAMPLES = 20  # of one probe; the rest is reckoned from them


def main(argv: list[str]) -> None:
    del argv
    n_probes = 5 if _SMALLEST.value else _PROBES.value
    random = np.random.default_rng(0)
    total = rival = 0.0
    for split, n_rows in (("dev", _DEV.value), ("test", _TEST.value)):
        targets = random.integers(0, _CLASSES.value, n_rows).astype(np.int32)
        predictions = random.integers(0, _CLASSES.value, (n_rows, n_probes)).astype(np.int32)
        begin = time.perf_counter()
        resamples = draw(n_rows, N_RESAMPLES[split])
        scores = resampled_scores(_METRIC.value, predictions, targets, _CLASSES.value, resamples)
        for probe in range(n_probes):
            interval(scores[:, probe])
            standard_error(scores[:, probe])
        total += time.perf_counter() - begin
        begin = time.perf_counter()
        for _ in range(RIVAL_RESAMPLES):
            rows = random.integers(0, n_rows, n_rows)
            score(_METRIC.value, predictions[rows, 0], targets[rows], _CLASSES.value)
        rival += (time.perf_counter() - begin) / RIVAL_RESAMPLES * N_RESAMPLES[split] * n_probes
    report = {
        "machine": _machine.describe(),
        "metric": _METRIC.value,
        "classes": _CLASSES.value,
        "probes": n_probes,
        "rows": {"dev": _DEV.value, "test": _TEST.value},
        "seconds": {"jaxred": total, "one_resample_at_a_time_scaled_up": rival},
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
