"""Aims: general redundancy at nine thresholds takes a twelfth of the original's time; its pass runs at 80% of the
machine's matrix product or more, in 3 GB however many the rows; a tree of 25,600 neurons takes no second square.

    python benchmarks/redundancy.py                                  # 12,800 x 9,984 in memory, against NumPy and SciPy
    python benchmarks/redundancy.py --rivals=false --rows=100000     # from a store on disk, which is written first
    python benchmarks/redundancy.py --neurons=25600                  # the tree alone, and all of general redundancy

Activations are random, of low rank and noise, float32. Held against each other in one run, with compiling apart and
each way in turn in every round: the pass, the tree and nine cuts, against `corrcoef` and SciPy's linkage made anew for
each threshold as the original does (one threshold is timed and counted nine times); CKA out of the moments that are
there already, against the products of every pair of layers in NumPy; the pass, against the rate of a large float32
product on the half of the products that symmetry leaves. Prints seconds, and ratios of the medians over the rounds
and of the minima; CPU seconds beside them, which a machine that others use disturbs less. Peak memory is the process's,
before any rival runs. With --rows the pass is timed on a fifth of the rows as well, to say whether time is linear in
rows.
"""

import json
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _machine
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from jaxred.activations.store import Ledger, Store, StoreWriter
from jaxred.config import ClusteringConfig
from jaxred.statistics import streaming
from jaxred.statistics.clustering import ClusterTree, cluster_tree
from jaxred.statistics.moments import Moments, Sums
from jaxred.studies.redundancy import general_redundancy

N_ROWS = flags.DEFINE_integer("n_rows", 12_800, "Rows of the activations in memory.")
N_LAYERS = flags.DEFINE_integer("n_layers", 13, "Layers, the embedding output included.")
HIDDEN_SIZE = flags.DEFINE_integer("hidden_size", 768, "Neurons a layer.")
ROWS = flags.DEFINE_integer("rows", 0, "Rows of a store on disk to be timed instead.")
NEURONS = flags.DEFINE_integer("neurons", 0, "Neurons of a tree to be timed instead, layers being of 1,024.")
RIVALS = flags.DEFINE_bool("rivals", True, "Whether NumPy and SciPy run as well.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "How often every way is timed.", lower_bound=1)
FOLDER = flags.DEFINE_string("folder", None, "Where the store goes for a while; by default where temporary files do.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")
THRESHOLDS = tuple(i / 10 for i in range(1, 10))
RANK, WINDOW_ROWS = 64, 4096


def blocks(n_rows: int, n_neurons: int, n_block: int = 1024, seed: int = 0) -> Iterator[np.ndarray]:
    """Random rows, a block at a time: of low rank, and noise as strong."""
    draw = np.random.default_rng(0)
    factors = draw.standard_normal((RANK, n_neurons), np.float32) * draw.random((RANK, 1), np.float32) ** 4
    draw = np.random.default_rng(seed)
    for start in range(0, n_rows, n_block):
        rows = draw.standard_normal((min(n_block, n_rows - start), n_neurons), np.float32)
        rows += draw.standard_normal((len(rows), RANK), np.float32) @ factors
        yield rows


def seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def product_rate() -> Callable[[], float]:
    """Measures the machine's float32 matrix product, in operations a second."""
    side = 512 if SMALLEST.value else 4096
    a = jnp.ones((side, side), jnp.float32)
    product = jax.jit(lambda a: jnp.dot(a, a, precision=jax.lax.Precision.HIGHEST))
    product(a).block_until_ready()
    return lambda: 2 * side**3 / seconds(lambda: product(a).block_until_ready())


def cuts(tree: ClusterTree) -> list[np.ndarray]:
    return [tree.cut(threshold) for threshold in THRESHOLDS]


def as_the_original(rows: np.ndarray, threshold: float) -> np.ndarray:
    """Clusters at one threshold."""
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    correlation = np.nan_to_num(np.corrcoef(rows.T))
    apart = 1 - np.abs((correlation + correlation.T) / 2)
    np.fill_diagonal(apart, 0)
    return hierarchy.fcluster(hierarchy.linkage(squareform(apart, checks=False), "average"), threshold, "distance")


def cka_by_pairs(rows: np.ndarray, n_layers: int) -> np.ndarray:
    """Linear CKA by the products of every pair of layers."""
    layers = [layer - layer.mean(0) for layer in np.split(rows, n_layers, axis=1)]
    found = np.ones((n_layers, n_layers))
    own = [np.linalg.norm(layer.T @ layer) for layer in layers]
    for i in range(n_layers):
        for j in range(i):
            found[i, j] = found[j, i] = np.linalg.norm(layers[i].T @ layers[j]) ** 2 / (own[i] * own[j])
    return found


def in_memory(n_rows: int, n_layers: int, hidden_size: int, rounds: int) -> dict[str, Any]:
    """The sweep, CKA and the pass on activations in memory."""
    n_neurons = n_layers * hidden_size
    rows = np.empty((n_rows, n_neurons), np.float32)
    for i, block in enumerate(blocks(n_rows, n_neurons)):
        rows[i * 1024 : i * 1024 + len(block)] = block
    rate = product_rate()
    streaming.from_blocks([rows[:2048]], n_layers)  # warm-up, and compilation
    cuts(cluster_tree(np.eye(2)))  # imports SciPy
    times: dict[str, list[float]] = {"pass": [], "moments": [], "tree": [], "cuts": [], "cka": []}
    rivals: dict[str, list[float]] = {"originals_threshold": [], "cka_by_pairs": []} if RIVALS.value else {}
    rates, found, peak = [], {}, 0.0

    cpu_seconds: dict[str, list[float]] = {name: [] for name in (*times, *rivals)}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        begin, begin_cpu = time.perf_counter(), time.process_time()
        result = work()
        (times if name in times else rivals)[name].append(time.perf_counter() - begin)
        cpu_seconds[name].append(time.process_time() - begin_cpu)
        return result

    for _ in range(rounds):
        rates.append(rate())
        sums = timed("pass", lambda: streaming.from_blocks([rows], n_layers))
        rates.append(rate())
        moments = timed("moments", lambda sums=sums: Moments.of(sums))
        del sums
        tree = timed("tree", lambda m=moments: cluster_tree(m.correlation(), donate=True))
        found["labels"] = timed("cuts", lambda tree=tree: cuts(tree))
        found["cka"] = timed("cka", lambda m=moments: m.cka())
        del moments
        peak = peak or peak_gigabytes()
        if rivals:
            found["rival_labels"] = timed("originals_threshold", lambda: as_the_original(rows, THRESHOLDS[2]))
            found["rival_cka"] = timed("cka_by_pairs", lambda: cka_by_pairs(rows, n_layers))
    report: dict[str, Any] = {
        "rows": n_rows,
        "neurons": n_neurons,
        "seconds": {name: [round(second, 3) for second in mine] for name, mine in (times | rivals).items()},
        "cpu_seconds": {name: [round(second, 3) for second in mine] for name, mine in cpu_seconds.items()},
        "matrix_product_gigaflops": [round(rate / 1e9, 1) for rate in rates],
        "matrix_gigabytes": rows.nbytes / 1e9,
        "peak_memory_gigabytes": peak,
    }
    near = np.array(rates).reshape(-1, 2).mean(1)  # before and after each pass
    share = n_rows * n_neurons * (n_neurons + 1) / np.array(times["pass"]) / near
    whole = np.sum([times[name] for name in ("pass", "moments", "tree", "cuts")], axis=0)
    for statistic, of in (("median", np.median), ("minimum", np.min)):
        mine: dict[str, float] = {"seconds_of_nine_thresholds": float(of(whole))}
        if rivals:
            nine = len(THRESHOLDS) * of(rivals["originals_threshold"])
            with_cka = of(np.sum([times[name] for name in ("pass", "moments", "cka")], axis=0))
            mine |= {
                "originals_seconds_of_nine_thresholds": float(nine),
                "times_original": float(nine / of(whole)),
                "cka_times_pairs_of_layers": float(of(rivals["cka_by_pairs"]) / of(times["cka"])),
                "pass_and_cka_times_pairs_of_layers": float(of(rivals["cka_by_pairs"]) / with_cka),
            }
        report[f"by_{statistic}"] = {name: round(value, 3) for name, value in mine.items()}
    report["pass_share_of_matrix_product"] = {
        "each": [round(value, 3) for value in share.tolist()],
        "median": round(float(np.median(share)), 3),
    }
    if rivals:
        ours, theirs = found["labels"][2], found["rival_labels"]
        n_pairs = len(set(zip(ours.tolist(), theirs.tolist(), strict=True)))
        report["clusters"] = [int(labels.max()) for labels in found["labels"]]
        report["same_clusters_at_0.3"] = n_pairs == int(ours.max()) == int(theirs.max())
        report["largest_difference_of_cka"] = float(np.abs(found["cka"] - found["rival_cka"]).max())
    return report


def write_store(folder: Path, n_rows: int, n_layers: int, hidden_size: int) -> Store:
    """Random activations in a store, a window at a time."""
    ledger = Ledger({"of": "benchmark"}, n_rows, n_layers, hidden_size, "float32", WINDOW_ROWS, [])
    writer = StoreWriter(folder, ledger, np.zeros(n_rows), np.arange(n_rows, dtype=np.int32))
    for window, rows in enumerate(blocks(n_rows, n_layers * hidden_size, WINDOW_ROWS)):
        writer.write(window, rows.reshape(len(rows), n_layers, hidden_size))
    writer.flush()
    return Store(folder)


def on_disk(n_rows: int, n_layers: int, hidden_size: int) -> dict[str, Any]:
    """The pass over a store, as a study makes it, and over a fifth of the rows."""
    folder = Path(tempfile.mkdtemp(dir=FOLDER.value))
    n_neurons = n_layers * hidden_size
    try:
        stores = {n: write_store(folder / str(n), n, n_layers, hidden_size) for n in (n_rows // 5, n_rows)}
        written = peak_gigabytes()
        rate = product_rate()
        streaming.from_blocks(blocks(2048, n_neurons), n_layers)  # warm-up, and compilation
        rates, times = [rate()], {}
        for n, store in stores.items():
            times[n] = seconds(lambda store=store: streaming.from_store(store))
            rates.append(rate())
        passed = peak_gigabytes()
    finally:
        shutil.rmtree(folder)
    work = n_rows * n_neurons * (n_neurons + 1)
    return {
        "rows": n_rows,
        "neurons": n_neurons,
        "store_gigabytes": 4 * n_rows * n_neurons / 1e9,
        "seconds": {str(n): round(second, 2) for n, second in times.items()},
        "seconds_a_row_over_those_of_a_fifth": times[n_rows] / n_rows / (times[n_rows // 5] / (n_rows // 5)),
        "matrix_product_gigaflops": [round(rate / 1e9, 1) for rate in rates],
        "pass_share_of_matrix_product": work / times[n_rows] / np.mean(rates[1:]),
        "peak_memory_gigabytes": {"after_writing": written, "after_the_pass": passed},
    }


def random_sums(n_neurons: int, n_rows: int, seed: int) -> Sums:
    """Such as a pass leaves; of few rows, so that they are soon made."""
    hidden_size = min(1024, n_neurons)
    accumulator = streaming.Accumulator(np.zeros(n_neurons), n_neurons // hidden_size)
    for rows in blocks(n_rows, n_neurons, seed=seed + 1):
        accumulator.add(rows)
    return accumulator.sums()[0]


def tree_alone(n_neurons: int, n_rows: int) -> dict[str, Any]:
    """The tree of so many neurons, and general redundancy as a whole, with its three trees."""
    halves = [random_sums(n_neurons, n_rows, seed) for seed in range(2)]
    passed = peak_gigabytes()
    correlation = Moments.of(halves[0] + halves[1]).correlation()
    before = peak_gigabytes()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    cuts(cluster_tree(correlation, donate=True))
    alone, alone_cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    after = peak_gigabytes()
    del correlation
    begin_cpu = time.process_time()
    whole = seconds(lambda: general_redundancy(halves, ClusteringConfig()))
    whole_cpu = time.process_time() - begin_cpu
    return {
        "neurons": n_neurons,
        "square_gigabytes": 4 * n_neurons**2 / 1e9,
        "sums_of_a_half_gigabytes": 4 * sum(product.size for product in halves[0].products) / 1e9,
        "seconds": {"tree_and_nine_cuts": alone, "general_redundancy": whole},
        "cpu_seconds": {"tree_and_nine_cuts": alone_cpu, "general_redundancy": whole_cpu},
        "peak_memory_gigabytes": {
            "sums": passed,
            "correlations": before,
            "tree": after,
            "general_redundancy": peak_gigabytes(),
        },
    }


def main(argv: list[str]) -> None:
    del argv
    n_layers, hidden_size = N_LAYERS.value, HIDDEN_SIZE.value
    report: dict[str, Any] = {"machine": _machine.describe()}
    if SMALLEST.value:
        report["in_memory"] = in_memory(600, 3, 64, 1)
        report["on_disk"] = on_disk(600, 3, 64)
        report["tree_alone"] = tree_alone(192, 64)
    elif ROWS.value:
        report["on_disk"] = on_disk(ROWS.value, n_layers, hidden_size)
    elif NEURONS.value:
        report["tree_alone"] = tree_alone(NEURONS.value, streaming.BLOCK_ROWS)
    else:
        report["in_memory"] = in_memory(N_ROWS.value, n_layers, hidden_size, ROUNDS.value)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
