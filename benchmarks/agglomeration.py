"""Aims: a tree of 9,984 neurons is built in no more time than by fastcluster or SciPy, and is the same tree.

    python benchmarks/agglomeration.py [--n_neurons=9984 --rounds=3]

The correlation of random activations of low rank and noise, in float32, becomes the linkage matrix of the distance
1 - |r|, by average, complete and single linkage. The rivals are `fastcluster.linkage` and `scipy.cluster.hierarchy.
linkage`, both given the condensed distances in float64; fastcluster may use them up. Every way runs in a process of its
own, one after the other in every round. Prints seconds of building the distances and the tree, the peak memory that
this adds to the process, the largest difference of any height from SciPy's, at how many of nine thresholds the
clusters are SciPy's, and whether the matrix is SciPy's to the last bit. float32 is the way of jaxred for more neurons
than 16,384, which uses up the correlation.
"""

import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import _machine
import numpy as np
from absl import app, flags

N_NEURONS = flags.DEFINE_integer("n_neurons", 9984, "Neurons: 13 layers of 768 by default.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "How often every way is run.")
SCIPY = flags.DEFINE_bool("scipy", True, "Whether SciPy runs in every round; once at least, to compare with.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")
WAYS = "jaxred", "jaxred_float32", "fastcluster", "scipy"
LINKAGES = "average", "complete", "single"


def correlation(n_neurons: int) -> np.ndarray:
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((2000, 64), np.float32) @ draw.standard_normal((64, n_neurons), np.float32)
    rows += 4 * draw.standard_normal(rows.shape, np.float32)
    return np.asarray(np.corrcoef(rows, rowvar=False, dtype=np.float32))


def condensed(square: np.ndarray) -> np.ndarray:
    """Distances above the diagonal, row by row, in float64."""
    n, start = len(square), 0
    distances = np.empty(n * (n - 1) // 2)
    for row in range(n - 1):
        distances[start : start + n - 1 - row] = square[row, row + 1 :]
        start += n - 1 - row
    np.abs(distances, out=distances)
    return np.subtract(1, distances, out=distances)


def build(way: str, linkage: str, square: np.ndarray) -> np.ndarray:
    """The linkage matrix."""
    if way == "fastcluster":
        import fastcluster  # pyright: ignore[reportMissingImports]

        return fastcluster.linkage(condensed(square), linkage, preserve_input=False)
    if way == "scipy":
        from scipy.cluster import hierarchy

        return hierarchy.linkage(condensed(square), linkage)
    from jaxred.statistics import clustering

    if way == "jaxred_float32":
        clustering.FLOAT64_NEURONS = 1
    return clustering.cluster_tree(square, linkage=linkage, donate=True).linkage


def run_alone(way: str, linkage: str, folder: Path, connection: Any) -> None:
    """Builds one tree in this process, which does nothing else, and sends seconds and bytes."""
    square = np.load(folder / "correlation.npy")
    build(way, linkage, square[:50, :50].copy())  # imports
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again: a process inherits that of its parent
    before = _memory("VmRSS")
    begin, cpu = time.perf_counter(), time.process_time()
    tree = build(way, linkage, square)
    seconds = time.perf_counter() - begin, time.process_time() - cpu
    np.save(folder / f"{way}-{linkage}.npy", tree)
    connection.send((*seconds, _memory("VmHWM") - before))


def _memory(which: str) -> float:
    """Megabytes of this process, on Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) * 1024 / 1e6


def in_process(way: str, linkage: str, folder: Path) -> tuple[float, float, float]:
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=run_alone, args=(way, linkage, folder, sending))
    process.start()
    sending.close()
    measured = receiving.recv()
    process.join()
    return measured


def agreement(tree: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    from scipy.cluster.hierarchy import fcluster

    n_same = 0
    for threshold in np.arange(1, 10) / 10:
        one, other = (fcluster(matrix, threshold, "distance") for matrix in (tree, expected))
        pairs = len(np.unique(np.stack([one, other]), axis=1).T)
        n_same += int(pairs == one.max() == other.max())
    return {
        "largest_difference_of_heights": float(np.abs(tree[:, 2] - expected[:, 2]).max()),
        "same_clusters_of_9": n_same,
        "same_bits": bool(np.array_equal(tree, expected)),
    }


def main(argv: list[str]) -> None:
    del argv
    n_neurons, rounds = (200, 1) if SMALLEST.value else (N_NEURONS.value, ROUNDS.value)
    report: dict[str, Any] = {"machine": _machine.describe(), "n_neurons": n_neurons, "linkages": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "correlation.npy", correlation(n_neurons))
        for linkage in LINKAGES:
            measured: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
            for number in range(rounds):
                for way in WAYS:
                    if way != "scipy" or SCIPY.value or number == 0:
                        measured[way].append(in_process(way, linkage, folder))
            expected = np.load(folder / f"scipy-{linkage}.npy")
            report["linkages"][linkage] = {
                way: {
                    "seconds": [round(each[0], 2) for each in runs],
                    "cpu_seconds": [round(each[1], 2) for each in runs],
                    "peak_megabytes": round(max(each[2] for each in runs)),
                    **agreement(np.load(folder / f"{way}-{linkage}.npy"), expected),
                }
                for way, runs in measured.items()
            }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
