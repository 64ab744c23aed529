"""Aims: JSON-lines activations become a store at least 10 times as fast as the original's loader reads them, HDF5 at
200 MB/s or more, a study reads a store from the page cache at 1 GB/s, and none takes memory that grows with the file.

    python benchmarks/conversion.py [--n_sentences=4000 --n_word_sentences=1500 --rounds=3 --folder=/dev/shm]

Writes files of random vectors of BERT-base's size: JSON lines and HDF5 with a vector a sentence, and HDF5 with a
vector a word, 20 words a sentence. Makes stores of them, files of the stores again, and reads the matrix of a study.
The rival is the original's loader on the same JSON, or on its first lines: json.loads line by line into lists, which
NumPy joins to arrays. It holds all it reads in memory.

Every conversion is run once to warm up; then every way is run once a round, in turn. A store is removed before it is
made again, outside of what is timed. MB are of the file, or of the matrix; CPU seconds are of all cores, and say more
than seconds do where a machine is shared. Beside them stand the folder's own limits,
in every round: as many bytes as the words' file copied to a new file, and 16 MB written and waited for until the disk
has them. Files are waited for, as stores are not, so that to a file is never faster than that last. Peak memory is
that of this process, and of the largest process that parses for it, after the warm-up.
"""

import json
import logging
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _machine
import numpy as np
from absl import app, flags

from jaxred.activations.files import hdf5, json_lines
from jaxred.activations.files.conversion import to_store
from jaxred.activations.files.exporting import to_file
from jaxred.activations.store import Store

N_SENTENCES = flags.DEFINE_integer("n_sentences", 4000, "Sentences of the file, 0.1 MB each in JSON.")
RIVAL_SENTENCES = flags.DEFINE_integer("rival_sentences", None, "Lines the original's loader reads; all by default.")
N_WORD_SENTENCES = flags.DEFINE_integer("n_word_sentences", 1500, "Sentences of words, 0.8 MB each.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "How often every way is run.")
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


def write_files(folder: Path, sizes: Sequence[int], words: bool) -> None:
    """Files of random vectors, and their text: `sizes` tokens a sentence."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    pool = draw.normal(size=(4 * max(sizes), N_LAYERS.value, HIDDEN_SIZE.value)).astype(np.float32)
    names = "a.json", "a.hdf5", "a.word"
    with (
        (folder / names[0]).open("wb") as file,
        (folder / names[1]).open("w+b") as hdf5_file,
        (folder / names[2]).open("w") as text,
    ):
        writers = [hdf5.Writer(hdf5_file), *([] if words else [json_lines.Writer(file)])]
        for i, n_tokens in enumerate(sizes):
            start = draw.integers(len(pool) - n_tokens + 1)
            sentence = " ".join([f"word{i}"] * n_tokens)
            text.write(sentence + "\n")
            for writer in writers:
                writer.add(sentence, ["[CLS]"] * n_tokens, pool[start : start + n_tokens])
        for writer in writers:
            writer.close()


def copy(source: Path, target: Path) -> None:
    """Copies a file by 4 MB through memory that is there already, as fast as the folder takes it."""
    space = bytearray(4 * 2**20)
    with source.open("rb", buffering=0) as read, target.open("wb", buffering=0) as write:
        while n_bytes := read.readinto(space):
            write.write(memoryview(space)[:n_bytes])
    target.unlink()


def write_through(target: Path) -> None:
    """Writes 16 MB and waits until the disk has them."""
    with target.open("wb") as file:
        file.write(bytes(16 * 2**20))
        file.flush()
        os.fsync(file.fileno())
    target.unlink()


def main(argv: list[str]) -> None:
    del argv
    logging.getLogger("jaxred").setLevel(logging.ERROR)
    n_sentences = 40 if SMALLEST.value else N_SENTENCES.value
    sizes = np.random.default_rng(1).integers(10, 31, 10 if SMALLEST.value else N_WORD_SENTENCES.value).tolist()
    n_lines = min(n_sentences, RIVAL_SENTENCES.value or n_sentences)
    folder = Path(tempfile.mkdtemp(dir=FOLDER.value))
    out = folder / "out"
    try:
        for name, mine, words in (
            ("sentences", [1] * n_sentences, False),
            ("words", sizes, True),
        ):
            write_files(folder / name, mine, words)

        def store(name: str, suffix: str) -> Store:
            rows = "word" if name == "words" else "sentence"
            source = folder / name / f"a{suffix}"
            text = folder / name / "a.word" if suffix == ".hdf5" else None
            return to_store(source, folder / name / f"store{suffix}", text, rows=rows)

        places = {
            "json_to_store": folder / "sentences" / "store.json",
            "hdf5_sentences_to_store": folder / "sentences" / "store.hdf5",
            "hdf5_words_to_store": folder / "words" / "store.hdf5",
        }

        def clear(name: str) -> None:
            """Removes the store that is to be made again, which is no part of making it."""
            if name in places:
                shutil.rmtree(places[name], ignore_errors=True)

        def file(name: str, suffix: str) -> None:
            place = folder / name / "store.hdf5"
            to_file(Store(place), out / f"a{suffix}", folder / name / "a.word", overwrite=True)

        def matrix() -> None:
            Store(folder / "words" / "store.hdf5").matrix(out=space)

        size = {
            (name, suffix): (folder / name / f"a{suffix}").stat().st_size / 1e6
            for name in ("sentences", "words")
            for suffix in (".json", ".hdf5")
        }
        conversions: dict[str, tuple[float, Callable[[], Any]]] = {
            "json_to_store": (size["sentences", ".json"], lambda: store("sentences", ".json")),
            "hdf5_sentences_to_store": (size["sentences", ".hdf5"], lambda: store("sentences", ".hdf5")),
            "hdf5_words_to_store": (size["words", ".hdf5"], lambda: store("words", ".hdf5")),
            "store_to_json": (size["sentences", ".json"], lambda: file("sentences", ".json")),
            "store_to_hdf5_sentences": (size["sentences", ".hdf5"], lambda: file("sentences", ".hdf5")),
            "store_to_hdf5_words": (size["words", ".hdf5"], lambda: file("words", ".hdf5")),
        }
        limits: dict[str, tuple[float, Callable[[], Any]]] = {
            "copy_of_a_file": (
                size["words", ".hdf5"],
                lambda: copy(folder / "words" / "a.hdf5", folder / "copy"),
            ),
            "disk_waited_for": (16 * 2**20 / 1e6, lambda: write_through(folder / "through")),
        }
        rivals: dict[str, tuple[float, Callable[[], Any]]] = {
            "originals_loader": (
                size["sentences", ".json"] * n_lines / n_sentences,
                lambda: originals_loader(folder / "sentences" / "a.json", n_lines),
            ),
            "store_to_matrix": (4e-6 * sum(sizes) * N_LAYERS.value * HIDDEN_SIZE.value, matrix),
        }
        seconds: dict[str, list[float]] = {name: [] for name in (*conversions, *limits, *rivals)}
        cpu_seconds: dict[str, list[float]] = {name: [] for name in seconds}
        for name, (_, work) in conversions.items():
            clear(name)
            work()
        memory = _peak_memory()
        space = np.zeros((sum(sizes), N_LAYERS.value * HIDDEN_SIZE.value), np.float32)
        for _ in range(1 if SMALLEST.value else ROUNDS.value):
            for name, (_, work) in (conversions | limits | rivals).items():
                clear(name)
                begin, cpu_begin = time.perf_counter(), _cpu_seconds()
                work()
                seconds[name].append(time.perf_counter() - begin)
                cpu_seconds[name].append(_cpu_seconds() - cpu_begin)
        loaded = np.concatenate(originals_loader(folder / "sentences" / "a.json", n_lines))
        difference = float(np.abs(Store(folder / "sentences" / "store.json").matrix(np.arange(n_lines)) - loaded).max())
    finally:
        shutil.rmtree(folder)
    rates = {
        name: {"median": mb / float(np.median(seconds[name])), "best": mb / min(seconds[name])}
        for name, (mb, _) in (conversions | limits | rivals).items()
    }
    json_rates, loader = rates["json_to_store"], rates["originals_loader"]
    report = {
        "machine": _machine.describe(),
        "n_sentences": n_sentences,
        "n_words": sum(sizes),
        "megabytes": {f"{name}{suffix}": mb for (name, suffix), mb in size.items() if mb},
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "megabytes_per_second": rates,
        "json_times_originals_loader": {which: json_rates[which] / loader[which] for which in json_rates},
        "peak_memory_megabytes": memory,
        "largest_difference": difference,
    }
    print(json.dumps(report, indent=1))


def _cpu_seconds() -> float:
    """Of this process and of those that have parsed for it."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_memory() -> dict[str, float]:
    unit = 1e6 / 1024  # of ru_maxrss, on Linux
    who = (("this process", resource.RUSAGE_SELF), ("a parser", resource.RUSAGE_CHILDREN))
    return {name: resource.getrusage(whose).ru_maxrss / unit for name, whose in who}


if __name__ == "__main__":
    app.run(main)
