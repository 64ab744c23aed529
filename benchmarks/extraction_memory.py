"""Claim: the memory of an extraction does not grow with the corpus: after the first windows it is flat.

    python benchmarks/extraction_memory.py [--n_sentences=1000000] [--output=memory.png] [--folder=/scratch]

A million short sentences (three to eight words) go through the first layer of all-MiniLM-L6-v2 into a store of that
layer, in bfloat16, while a thread looks at the resident memory of the process (VmRSS). The texts are in memory before
it starts, and count. Prints JSON: the memory at tenths of the corpus, and how much it grew from the second tenth on.
"""

import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import _machine
import numpy as np
from absl import app, flags
from matplotlib.figure import Figure

from jaxred.activations.extract import extract
from jaxred.activations.store import Store, StoreWriter
from jaxred.config import EncoderConfig, ExtractionConfig, StudyConfig
from jaxred.data.examples import Dataset, Example

N_SENTENCES = flags.DEFINE_integer("n_sentences", 1_000_000, "Sentences.")
WINDOW_ROWS = flags.DEFINE_integer("window_rows", 4096, "Rows of a window.")
OUTPUT = flags.DEFINE_string("output", "", "Where the figure goes, a PNG file.")
FOLDER = flags.DEFINE_string("folder", None, "Where the store is for a while; by default where temporary files are.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")

WORDS = (
    "a",
    "the",
    "film",
    "plot",
    "acting",
    "is",
    "was",
    "not",
    "good",
    "bad",
    "dull",
    "fine",
    "long",
    "short",
    "but",
)


def megabytes() -> float:
    """The memory of this process that is in use."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1e3


def measured(n_sentences: int, window_rows: int) -> list[tuple[float, int, float]]:
    """Seconds, rows that are written, and megabytes, every half second."""
    rng = np.random.default_rng(0)
    examples = [
        Example(" ".join(rng.choice(WORDS, n)), None, "unlabelled") for n in rng.integers(3, 9, n_sentences).tolist()
    ]
    config = StudyConfig(
        encoder=EncoderConfig(n_layers=1),
        extraction=ExtractionConfig(dtype="bfloat16", window_rows=window_rows, layers=(1,)),
    )
    seen: list[tuple[float, int, float]] = []
    rows, stopped, begin = [0], threading.Event(), time.monotonic()
    real = StoreWriter.write

    def write(self: StoreWriter, index: int, *arguments: Any) -> None:
        real(self, index, *arguments)
        rows[0] = self.ledger.window(index).stop

    def watch() -> None:
        while not stopped.wait(0.5):
            seen.append((time.monotonic() - begin, rows[0], megabytes()))

    StoreWriter.write = write  # type: ignore[method-assign]
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with tempfile.TemporaryDirectory(dir=FOLDER.value) as folder:
            extract(Dataset("texts", "classification", {"train": examples}), config, folder)
            assert Store(Path(folder) / "train").n_rows == n_sentences
    finally:
        stopped.set()
        watcher.join()
        StoreWriter.write = real  # type: ignore[method-assign]
    return seen


def figure(seen: list[tuple[float, int, float]]) -> Figure:
    """Memory by rows that are written."""
    drawn = Figure(figsize=(5.2, 3.2), constrained_layout=True)
    axes = drawn.subplots()
    axes.plot([rows / 1e6 for _, rows, _ in seen], [used for *_, used in seen], color="#1f5a99")
    axes.set(xlabel="sentences written, millions", ylabel="resident memory, MB", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    return drawn


def main(argv: list[str]) -> None:
    n = 5_000 if SMALLEST.value else N_SENTENCES.value
    seen = measured(n, 512 if SMALLEST.value else WINDOW_ROWS.value)
    tenths = {
        f"{tenth * 10}%": round(max(used for _, rows, used in seen if rows <= n * tenth / 10)) for tenth in range(11)
        if any(rows <= n * tenth / 10 for _, rows, _ in seen)
    }  # fmt: skip
    late = [used for _, rows, used in seen if rows >= n / 5] or [seen[-1][2]]
    print(
        json.dumps(
            {
                "machine": _machine.describe(),
                "sentences": n,
                "seconds": round(seen[-1][0], 1),
                "sentences_per_second": round(n / seen[-1][0]),
                "largest_megabytes_until": tenths,
                "growth_from_20_percent_on_megabytes": round(max(late) - late[0], 1),
            },
            indent=1,
        )
    )
    if OUTPUT.value:
        figure(seen).savefig(OUTPUT.value, dpi=150)


if __name__ == "__main__":
    app.run(main)
