"""Claim: one probe trains faster than the original's classifier, whose timing analysis this mirrors (section 7).

    python benchmarks/probe_timing.py --num_instances=10000 --num_features=9984 --num_classes=2

Random features; one elastic-net probe of all of them, 10 epochs, batches of 128: by jaxred, with compilation apart,
and by the same algorithm in PyTorch.
"""

import json
import time

import _machine
import numpy as np
from absl import app, flags
from probe_sweep import by_pytorch, random_matrix, seconds

from jaxred.config import ProbeConfig
from jaxred.probing import fit
from jaxred.probing.families import prefix_family

INSTANCES = flags.DEFINE_integer("num_instances", 10_000, "Training rows.")
FEATURES = flags.DEFINE_integer("num_features", 9984, "Columns.")
CLASSES = flags.DEFINE_integer("num_classes", 2, "Classes.")
RIVAL = flags.DEFINE_bool("rival", True, "Whether PyTorch runs as well.")


def main(argv: list[str]) -> None:
    del argv
    n_rows, n_columns, n_classes = INSTANCES.value, FEATURES.value, CLASSES.value
    if flags.FLAGS.smallest:
        n_rows, n_columns = 1000, 192
    config, draw = ProbeConfig(), np.random.default_rng(0)
    matrix = random_matrix(n_rows, n_columns, config.batch_size, draw)
    targets = draw.integers(0, n_classes, n_rows).astype(np.int32)
    family = prefix_family(np.arange(n_columns), [n_columns])
    times = [seconds(lambda: fit(family, matrix, targets, n_classes, config)) for _ in range(3)]
    report = {
        "machine": _machine.describe(),
        "num_instances": n_rows,
        "num_features": n_columns,
        "num_classes": n_classes,
        "epochs": config.epochs,
        "seconds": {"jaxred": min(times), "jaxred_compilation": times[0] - min(times)},
    }
    if RIVAL.value:
        rows = np.asarray(matrix)
        begin = time.perf_counter()
        by_pytorch(rows, targets, n_classes, config, config.epochs)
        report["seconds"] |= {"pytorch": time.perf_counter() - begin}
        report["times_pytorch"] = report["seconds"]["pytorch"] / min(times)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
