"""Claim: JSON-lines activations become a store at least 10 times as fast as the original's loader reads them, HDF5 at
200 MB/s or more, and neither takes memory that grows with the file.

    python benchmarks/conversion.py [--n_sentences=4000 --rival_sentences=1000]

Writes a JSON-lines and an HDF5 file of random vectors of BERT-base's size, one a sentence, makes stores of both, and
files of the store again, and reads the JSON with the original's loader: json.loads line by line into lists, which NumPy
joins to arrays. The loader holds all it reads in memory, so that it reads the first lines only where the file is large.
Each way is run once; MB are of the file that is read or written. Peak memory is that of this process, and of the
largest process that parses for it, after the conversions and before the loader.
"""

import json
import logging
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _machine
import numpy as np
from absl import app, flags

from jaxred.exchange import to_store
from jaxred.exporting import to_file
from jaxred.formats import hdf5, json_lines

N_SENTENCES = flags.DEFINE_integer("n_sentences", 4000, "Sentences of the file, 0.1 MB each in JSON.")
RIVAL_SENTENCES = flags.DEFINE_integer("rival_sentences", 1000, "Lines that the original's loader reads.")
N_LAYERS = flags.DEFINE_integer("n_layers", 13, "Layers, the embedding output included.")
HIDDEN_SIZE = flags.DEFINE_integer("hidden_size", 768, "Neurons of a layer.")
FOLDER = flags.DEFINE_string("folder", None, "Where the files go for a while; by default where temporary files do.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")


def originals_loader(path: Path, n_lines: int) -> list[np.ndarray]:
    """What the original and NeuroX do with JSON lines."""
    activations = []
    with path.open() as file:
        for _, line in zip(range(n_lines), file, strict=False):
            tokens = []
            for token in json.loads(line)["features"]:
                tokens.append(np.concatenate([layer["values"] for layer in token["layers"]]))
            activations.append(np.vstack(tokens))
    return activations


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def main(argv: list[str]) -> None:
    del argv
    logging.getLogger("jaxred").setLevel(logging.ERROR)
    n_sentences = 40 if SMALLEST.value else N_SENTENCES.value
    n_lines = min(n_sentences, RIVAL_SENTENCES.value)
    folder = Path(tempfile.mkdtemp(dir=FOLDER.value))
    try:
        lines, datasets, text = folder / "a.json", folder / "a.hdf5", folder / "a.word"
        text.write_text("".join(f"sentence {i}\n" for i in range(n_sentences)))
        draw = np.random.default_rng(0)
        with lines.open("wb") as file:
            writers = [json_lines.Writer(file), hdf5.Writer(datasets)]
            for i in range(n_sentences):
                vectors = draw.normal(size=(1, N_LAYERS.value, HIDDEN_SIZE.value)).astype(np.float32)
                for writer in writers:
                    writer.add(f"sentence {i}", ["[CLS]"], vectors)
            for writer in writers:
                writer.close()
        megabytes = {path.suffix: path.stat().st_size / 1e6 for path in (lines, datasets)}
        seconds = {}
        seconds["json_to_store"], store = timed(lambda: to_store(lines, folder / "from_json"))
        seconds["hdf5_to_store"], _ = timed(lambda: to_store(datasets, folder / "from_hdf5", text))
        seconds["store_to_json"], _ = timed(lambda: to_file(store, folder / "out" / "a.json"))
        seconds["store_to_hdf5"], _ = timed(lambda: to_file(store, folder / "out" / "a.hdf5", text))
        unit = 1e6 / 1024  # of ru_maxrss, on Linux
        memory = {
            name: resource.getrusage(who).ru_maxrss / unit
            for name, who in (("this process", resource.RUSAGE_SELF), ("a parser", resource.RUSAGE_CHILDREN))
        }
        rival_seconds, loaded = timed(lambda: originals_loader(lines, n_lines))
        difference = max(
            float(np.abs(row - mine).max())
            for row, mine in zip(store.matrix(np.arange(n_lines)), np.concatenate(loaded), strict=True)
        )
        rival = megabytes[".json"] * n_lines / n_sentences / rival_seconds
    finally:
        shutil.rmtree(folder)
    rates = {name: megabytes[".json" if "json" in name else ".hdf5"] / s for name, s in seconds.items()}
    report = {
        "machine": _machine.describe(),
        "n_sentences": n_sentences,
        "megabytes": megabytes,
        "seconds": seconds | {"originals_loader": rival_seconds},
        "megabytes_per_second": rates | {"originals_loader": rival},
        "times_originals_loader": rates["json_to_store"] / rival,
        "peak_memory_megabytes": memory,
        "largest_difference": difference,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
