"""Claim: all probes of a pipeline train from one read of the data, many times as fast as one at a time.

    python benchmarks/probe_sweep.py                       # 12,800 x 9,984, 2 classes, 53 probes, 10 epochs
    python benchmarks/probe_sweep.py --n_classes=44
    python benchmarks/probe_sweep.py --n_rows=100000 --rivals=false

In one run, on random features: jaxred's two families (each layer and each prefix of layers; the first k neurons of a
ranking for its 27 sizes), with compilation apart; the same algorithm in PyTorch, one probe at a time, both with the
columns taken as the original takes them (NumPy's `X[:, columns]`, which lays them out column by column) and with
contiguous rows; scikit-learn's saga on the oracle for scale; and what the machine could do at best, from its measured
matrix product and memory bandwidth. Products are measured between the trainings, for seconds each time: "sustained" is
their mean rate, which a training of as many seconds could have at best, and "burst" the fastest single product. The
limit is the longer of products and memory, as if each were hidden behind the other; "products then memory" is their
sum, the limit of a program whose optimiser goes through memory after its products.

The rivals train for --rival_epochs and are scaled to all epochs: an epoch costs what an epoch costs.
"""

import json
import resource
import time
from collections.abc import Callable
from typing import Any

import _machine
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from jaxred.activations.matrix import FeatureMatrix
from jaxred.config import ProbeConfig
from jaxred.probing import fit
from jaxred.probing.families import Family, layer_family, prefix_family
from jaxred.probing.ranking import rank_neurons
from jaxred.studies.selection import minimal_set_sizes

N_ROWS = flags.DEFINE_integer("n_rows", 12_800, "Training rows.")
N_LAYERS = flags.DEFINE_integer("n_layers", 13, "Layers, the embedding output included.")
HIDDEN_SIZE = flags.DEFINE_integer("hidden_size", 768, "Neurons a layer.")
N_CLASSES = flags.DEFINE_integer("n_classes", 2, "Classes.")
EPOCHS = flags.DEFINE_integer("epochs", 10, "Epochs.")
RIVALS = flags.DEFINE_bool("rivals", True, "Whether PyTorch and scikit-learn run as well.")
RIVAL_EPOCHS = flags.DEFINE_integer("rival_epochs", 1, "Epochs that the rivals are timed for.")
LIMIT_SECONDS = 5.0  # of products before each training
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")


def seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def random_matrix(n_rows: int, n_columns: int, batch_size: int, draw: np.random.Generator) -> FeatureMatrix:
    """Standard normal, made in place, so that the peak of memory is that of training."""
    matrix, space = FeatureMatrix.allocate(n_rows, n_columns, batch_size)
    for start in range(0, n_rows, 1024):
        rows = space[start : min(start + 1024, n_rows)]
        rows[:] = draw.standard_normal(rows.shape, np.float32)
    matrix.arrange()
    return matrix


def by_pytorch(features: np.ndarray, targets: np.ndarray, n_classes: int, config: ProbeConfig, epochs: int) -> None:
    """One probe with the loop of ORIGINAL: a linear layer, cross-entropy and penalties, Adam, batches in data order."""
    import torch  # pyright: ignore[reportMissingImports]

    x, y = torch.from_numpy(features), torch.from_numpy(targets).long()
    probe = torch.nn.Linear(x.shape[1], n_classes)
    optimizer = torch.optim.Adam(probe.parameters(), lr=config.learning_rate)
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(x), config.batch_size):
            optimizer.zero_grad()
            outputs = probe(x[start : start + config.batch_size])
            loss = torch.nn.functional.cross_entropy(outputs, y[start : start + config.batch_size])
            loss = loss + config.l1 * probe.weight.abs().sum() + config.l2 * probe.weight.norm(2)
            loss.backward()
            optimizer.step()
            total += loss.item()


def by_scikit_learn(features: np.ndarray, targets: np.ndarray, config: ProbeConfig, epochs: int) -> None:
    """The oracle by saga, for so many passes over the rows."""
    import warnings

    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        LogisticRegression(solver="saga", l1_ratio=0.5, C=1.0, max_iter=epochs, tol=0).fit(features, targets)


def products_of(duration: float) -> list[float]:
    """Large float32 matrix products for so many seconds; operations a second of each."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    a = jnp.ones((side, side), jnp.float32)
    product = jax.jit(lambda a: jnp.dot(a, a, precision=jax.lax.Precision.HIGHEST))
    product(a).block_until_ready()
    rates: list[float] = []
    begin = time.perf_counter()
    while not rates or time.perf_counter() - begin < duration:
        rates.append(2 * side**3 / seconds(lambda: product(a).block_until_ready()))
    return rates


def bandwidth() -> float:
    """Bytes a second that one pass over memory reads and writes."""
    add = jax.jit(lambda b: b + 1, donate_argnums=0)  # in place: no memory is touched for the first time
    b = add(jnp.ones(2**27, jnp.float32)).block_until_ready()
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        b = add(b).block_until_ready()
        times.append(time.perf_counter() - begin)
    return 2 * b.nbytes / min(times)


def main(argv: list[str]) -> None:
    del argv
    n_rows, n_layers, hidden_size, n_classes = N_ROWS.value, N_LAYERS.value, HIDDEN_SIZE.value, N_CLASSES.value
    if SMALLEST.value:
        n_rows, n_layers, hidden_size = 1000, 3, 64
    config = ProbeConfig(epochs=EPOCHS.value)
    draw = np.random.default_rng(0)
    n_neurons = n_layers * hidden_size
    matrix = random_matrix(n_rows, n_neurons, config.batch_size, draw)
    targets = draw.integers(0, n_classes, n_rows).astype(np.int32)
    order = draw.permutation(n_neurons)
    sizes = minimal_set_sizes(n_neurons, n_neurons)
    families: dict[str, Family] = {
        "layers": layer_family(n_layers, hidden_size),
        "sizes": prefix_family(order, sizes, n_neurons),
    }

    def train(family: Family) -> None:
        fit(family, matrix, targets, n_classes, config)  # blocks until the weights are there

    cold = {name: seconds(lambda family=family: train(family)) for name, family in families.items()}
    warm = dict.fromkeys(families, float("inf"))
    rates = []  # of products, between the trainings: a shared machine, or a hot one, is not equally fast at all times
    for _ in range(2):
        for name, family in families.items():
            rates += products_of(0.1 * LIMIT_SECONDS if SMALLEST.value else LIMIT_SECONDS)
            warm[name] = min(warm[name], seconds(lambda family=family: train(family)))
    total = sum(warm.values())
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # before the rivals take theirs

    twice = prefix_family(order, sorted({*sizes, *(size + 5 for size in sizes if size + 5 < n_neurons)}), n_neurons)
    train(twice)
    more = min(seconds(lambda: train(twice)) for _ in range(2)) - warm["sizes"]
    ranked = seconds(lambda: rank_neurons(draw.standard_normal((n_neurons, n_classes))))

    steps = len(matrix.blocks) * config.epochs
    owned = {name: sum(len(f.owned(p)) for p in range(f.n_probes)) for name, f in families.items()}
    products = sum(4 * n * n_classes * n_rows * config.epochs for n in owned.values())
    moved = sum(4 * n_rows * n_neurons * config.epochs + 28 * n * n_classes * steps for n in owned.values())
    sustained, burst, memory = len(rates) / sum(1 / rate for rate in rates), max(rates), bandwidth()
    limit = {name: max(products / rate, moved / memory) for name, rate in (("sustained", sustained), ("burst", burst))}
    report: dict[str, Any] = {
        "machine": _machine.describe(),
        "rows": n_rows,
        "neurons": n_neurons,
        "classes": n_classes,
        "probes": sum(family.n_probes for family in families.values()),
        "epochs": config.epochs,
        "seconds": {"jaxred": total, **warm, "jaxred_compilation": sum(cold.values()) - total},
        "limit": {
            "matrix_product_gigaflops": {"sustained": sustained / 1e9, "burst": burst / 1e9},
            "bandwidth_gigabytes": memory / 1e9,
            "seconds_of_products": {"sustained": products / sustained, "burst": products / burst},
            "seconds_of_memory": moved / memory,
            "fraction_reached": {name: least / total for name, least in limit.items()},
            "fraction_reached_of_products_then_memory": (products / sustained + moved / memory) / total,
        },
        "cost_of_a_second_family_of_sizes": more / warm["sizes"],
        "ranking_seconds": ranked,
        "peak_memory_gigabytes": peak_memory / 1e9,
        "matrix_gigabytes": matrix.blocks.nbytes / 1e9,
    }
    if RIVALS.value:
        rows = np.asarray(matrix)
        scale = config.epochs / RIVAL_EPOCHS.value
        as_original, contiguous = 0.0, 0.0
        for family in families.values():
            for probe in range(family.n_probes):
                columns = rows[:, family.owned(probe)]
                epochs = RIVAL_EPOCHS.value
                as_original += seconds(lambda c=columns, e=epochs: by_pytorch(c, targets, n_classes, config, e))
                columns = np.ascontiguousarray(columns)
                contiguous += seconds(lambda c=columns, e=epochs: by_pytorch(c, targets, n_classes, config, e))
        saga = seconds(lambda: by_scikit_learn(rows, targets, config, RIVAL_EPOCHS.value))
        report["seconds"] |= {
            "pytorch_one_at_a_time_columns_as_in_the_original": as_original * scale,
            "pytorch_one_at_a_time_contiguous_rows": contiguous * scale,
            "scikit_learn_saga_oracle_alone": saga * scale,
        }
        report["times_pytorch_as_in_the_original"] = as_original * scale / total
        report["times_pytorch_contiguous"] = contiguous * scale / total
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
