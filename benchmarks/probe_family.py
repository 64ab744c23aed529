"""Claim: training a study's probes as families beats training them one at a time, as the original does in PyTorch.

    python benchmarks/probe_family.py [--n_rows=8559 --n_layers=7 --hidden_size=384 --n_classes=2]

The pipeline's probes (each layer, each prefix of layers, and the first k neurons of a ranking for its 27 sizes) are
trained on random features by jaxred and, one after the other, by the same algorithm in PyTorch. jaxred's compilation
is reported apart.
"""

import json
import math
import time

import _machine
import numpy as np
from absl import app, flags

from jaxred.config import ProbeConfig
from jaxred.probing import fit, layer_family, prefix_family
from jaxred.selection import minimal_set_sizes

N_ROWS = flags.DEFINE_integer("n_rows", 8559, "Training rows (those of the demo by default).")
N_LAYERS = flags.DEFINE_integer("n_layers", 7, "Layers, the embedding output included.")
HIDDEN_SIZE = flags.DEFINE_integer("hidden_size", 384, "Neurons a layer.")
N_CLASSES = flags.DEFINE_integer("n_classes", 2, "Classes.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")


def by_pytorch(features: np.ndarray, targets: np.ndarray, n_classes: int, config: ProbeConfig) -> None:
    """One probe, trained with the loop of ORIGINAL: a linear layer, cross-entropy and penalties, Adam, batches in
    data order.
    """
    import torch  # pyright: ignore[reportMissingImports]

    x, y = torch.from_numpy(np.ascontiguousarray(features)), torch.from_numpy(targets).long()
    probe = torch.nn.Linear(x.shape[1], n_classes)
    optimizer = torch.optim.Adam(probe.parameters(), lr=config.learning_rate)
    for _ in range(config.epochs):
        for start in range(0, len(x), config.batch_size):
            optimizer.zero_grad()
            outputs = probe(x[start : start + config.batch_size])
            loss = torch.nn.functional.cross_entropy(outputs, y[start : start + config.batch_size])
            loss = loss + config.l1 * probe.weight.abs().sum() + config.l2 * probe.weight.norm(2)
            loss.backward()
            optimizer.step()


def main(argv: list[str]) -> None:
    del argv
    n_rows, n_layers, hidden_size, n_classes = N_ROWS.value, N_LAYERS.value, HIDDEN_SIZE.value, N_CLASSES.value
    if SMALLEST.value:
        n_rows, n_layers, hidden_size = 1000, 3, 64
    config = ProbeConfig()
    draw = np.random.default_rng(0)
    features = draw.standard_normal((n_rows, n_layers * hidden_size), np.float32)
    targets = draw.integers(0, n_classes, n_rows).astype(np.int32)
    order = draw.permutation(features.shape[1])
    sizes = minimal_set_sizes(features.shape[1], features.shape[1])
    families = {"layers": layer_family(n_layers, hidden_size), "sizes": prefix_family(order, sizes, features.shape[1])}

    cold, warm = {}, {}
    for name, family in families.items():
        for seconds in (cold, warm):
            begin = time.perf_counter()
            fit(family, features, targets, n_classes, config)  # blocks until the weights are there
            seconds[name] = time.perf_counter() - begin

    begin = time.perf_counter()
    for family in families.values():
        for probe in range(family.n_probes):
            by_pytorch(features[:, family.owned(probe)], targets, n_classes, config)
    rival = time.perf_counter() - begin

    n_probes = sum(family.n_probes for family in families.values())
    products = sum(len(f.owned(p)) for f in families.values() for p in range(f.n_probes))
    operations = 4 * products * n_classes * n_rows * config.epochs
    total = math.fsum(warm.values())
    report = {
        "machine": _machine.describe(),
        "rows": n_rows,
        "neurons": features.shape[1],
        "classes": n_classes,
        "probes": n_probes,
        "seconds": {
            "jaxred": total,
            "jaxred_with_compilation": math.fsum(cold.values()),
            "pytorch_one_at_a_time": rival,
        },
        "times_pytorch": rival / total,
        "times_pytorch_with_compilation": rival / math.fsum(cold.values()),
        "gigaflops_per_second": operations / total / 1e9,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
