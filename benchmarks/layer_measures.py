"""Aim: the measures of layers take at most half as long as the pass of the moments that they read.

    python benchmarks/layer_measures.py                   # 100,000 x 9,984 from a store on disk, which is written first
    python benchmarks/layer_measures.py --rows=20000

Activations are random, of low rank and noise, float32, in a store. In one run, after a warm-up: the moments' pass over
two halves of the rows; then what the measures add: the second pass over the rows (angles, sample), and the study
(spectra, Procrustes, neighbours, of all rows and of each half). Prints seconds, and CPU seconds next to them, which a
machine that others use disturbs less, and (pass + measures) / pass, which the aim holds below 1.5.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _machine
import numpy as np
from absl import app, flags

from jaxred.activations.store import Ledger, Store, StoreWriter
from jaxred.statistics import streaming
from jaxred.statistics.moments import Moments
from jaxred.statistics.procrustes import procrustes
from jaxred.statistics.spectrum import spectra
from jaxred.studies.layer_measures import layer_measures, pass_over

ROWS = flags.DEFINE_integer("rows", 100_000, "Rows of the store.")
N_LAYERS = flags.DEFINE_integer("n_layers", 13, "Layers, the embedding output included.")
HIDDEN_SIZE = flags.DEFINE_integer("hidden_size", 768, "Neurons of each layer.")
FOLDER = flags.DEFINE_string("folder", None, "Where the store is kept meanwhile; by default with temporary files.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")
RANK, WINDOW_ROWS = 64, 4096


def blocks(n_rows: int, n_neurons: int) -> Iterator[np.ndarray]:
    """Random rows, a window at a time: of low rank, and noise as strong."""
    draw = np.random.default_rng(0)
    factors = draw.standard_normal((RANK, n_neurons), np.float32) * draw.random((RANK, 1), np.float32) ** 4
    for start in range(0, n_rows, WINDOW_ROWS):
        rows = draw.standard_normal((min(WINDOW_ROWS, n_rows - start), n_neurons), np.float32)
        rows += draw.standard_normal((len(rows), RANK), np.float32) @ factors
        yield rows


def write_store(folder: Path, n_rows: int, n_layers: int, hidden_size: int) -> Store:
    ledger = Ledger({"of": "benchmark"}, n_rows, n_layers, hidden_size, "float32", WINDOW_ROWS, [])
    writer = StoreWriter(folder, ledger, np.zeros(n_rows), np.arange(n_rows, dtype=np.int32))
    for window, rows in enumerate(blocks(n_rows, n_layers * hidden_size)):
        writer.write(window, rows.reshape(len(rows), n_layers, hidden_size))
    writer.flush()
    return Store(folder)


def timed(n_rows: int, n_layers: int, hidden_size: int) -> dict[str, Any]:
    """Seconds of the pass and of what the measures add, and of their parts."""
    seconds: dict[str, float] = {}
    cpu_seconds: dict[str, float] = {}

    def time_of(name: str, work: Callable[[], Any]) -> Any:
        begin, begin_cpu = time.perf_counter(), time.process_time()
        found = work()
        seconds[name], cpu_seconds[name] = time.perf_counter() - begin, time.process_time() - begin_cpu
        return found

    folder = Path(tempfile.mkdtemp(dir=FOLDER.value))
    try:
        store = write_store(folder / "store", n_rows, n_layers, hidden_size)
        streaming.from_blocks(blocks(2048, n_layers * hidden_size), n_layers)  # warm-up, and compilation
        sums = time_of("moments_pass", lambda: streaming.from_store(store))
        halves = time_of("rows_pass", lambda: pass_over(store))
    finally:
        shutil.rmtree(folder)
    result = time_of("study", lambda: layer_measures(sums, halves))
    whole = time_of("part_moments_of_all_rows", lambda: Moments.of(sums[0] + sums[1]))
    time_of("part_spectra_of_all_rows", lambda: spectra(whole))
    time_of("part_procrustes_of_all_rows", lambda: procrustes(whole))

    def ratio(times: dict[str, float]) -> float:
        return round((times["moments_pass"] + times["rows_pass"] + times["study"]) / times["moments_pass"], 3)

    return {
        "rows": n_rows,
        "neurons": n_layers * hidden_size,
        "rows_compared": result.n_sampled,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "cpu_seconds": {name: round(value, 2) for name, value in cpu_seconds.items()},
        "pass_and_measures_over_pass": ratio(seconds),
        "by_cpu_seconds": ratio(cpu_seconds),
    }


def main(argv: list[str]) -> None:
    del argv
    shape = (600, 3, 64) if SMALLEST.value else (ROWS.value, N_LAYERS.value, HIDDEN_SIZE.value)
    print(json.dumps({"machine": _machine.describe(), "measures": timed(*shape)}, indent=1))


if __name__ == "__main__":
    app.run(main)
