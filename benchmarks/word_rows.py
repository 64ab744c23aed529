"""Aim: 150,000 words of 13 layers x 768 neurons in float32, 6 GB, are extracted, studied and converted in less than
8 GB of memory.

    python benchmarks/word_rows.py                                   # an hour or so on two cores
    python benchmarks/word_rows.py --folder=words --stages=extract   # and later, on the same activations
    python benchmarks/word_rows.py --folder=words --stages=pipeline
    python benchmarks/word_rows.py --dtype=float16                   # stores and files of half the size
    systemd-run --scope -p MemoryMax=8G python benchmarks/word_rows.py   # where the system gives no more

Writes an encoder of BERT-base's size with random weights and files of columns with labelled words, and calls the
launchers on them, each in a process of its own: extraction, the studies, a store to HDF5 and HDF5 to a store. The
pipeline comes first and takes the moments that the others keep.

Sentences have the lengths of newspaper text (24 words on average), words are drawn by Zipf's law from 20,000 of which
every fifth becomes two tokens, and a word's class is that of its number, but for one in ten. Prints each stage's
seconds, compiling included, and its peak memory: what the process has for itself (Linux's RssAnon, looked at 20 times a
second), and what is resident, which counts pages of files as well, such as those of libraries and of matrices that are
streamed; the system takes those back where it needs them. In a control group or a container that is limited to 8 GB,
training rows are streamed too.
"""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _machine
import numpy as np
from absl import app, flags

from jaxred.activations.store import Store

N_WORDS = flags.DEFINE_integer("n_words", 150_000, "Words of train, of which a tenth becomes dev.")
N_TEST_WORDS = flags.DEFINE_integer("n_test_words", 25_000, "Words of test.")
N_CLASSES = flags.DEFINE_integer("n_classes", 44, "Labels of words.")
N_LAYERS = flags.DEFINE_integer("n_layers", 12, "The encoder's layers, without the embedding output.")
HIDDEN_SIZE = flags.DEFINE_integer("hidden_size", 768, "Neurons of a layer.")
INTERMEDIATE = flags.DEFINE_integer("intermediate_size", 3072, "Of the encoder's layers inside; less is sooner done.")
EPOCHS = flags.DEFINE_integer("epochs", 10, "Of the probes.")
DTYPE = flags.DEFINE_enum("dtype", "float32", ("float32", "bfloat16", "float16"), "Of the stores.")
FOLDER = flags.DEFINE_string("folder", None, "Where the files go and stay; by default a temporary folder.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")

STUDIES = ["pipeline", "minimal_neurons", "cluster_sweep", "redundancy"]
STAGES = ["extract", *STUDIES, "store_to_hdf5", "hdf5_to_store"]
CHOSEN = flags.DEFINE_list("stages", STAGES, "Which stages to run; all others need what the first leaves.")
LAUNCH = Path(__file__).resolve().parent.parent / "launch"
N_TYPES = 20_000  # different words


def write_encoder(folder: Path, n_layers: int, hidden_size: int, intermediate_size: int) -> None:
    """A BERT with random weights, whose vocabulary has all words."""
    from flax import nnx

    from jaxred.models import bert, checkpoint

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##s", *(f"w{i}" for i in range(N_TYPES))]
    config = bert.BertConfig(
        vocab_size=len(tokens),
        hidden_size=hidden_size,
        n_layers=n_layers,
        n_heads=hidden_size // 64,
        intermediate_size=intermediate_size,
    )
    checkpoint.save(bert.Bert(config, rngs=nnx.Rngs(0)), folder)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))


def write_words(path: Path, n_words: int, n_classes: int, seed: int) -> None:
    """A file of columns: a word a line and its label, an empty line after every sentence."""
    draw = np.random.default_rng(seed)
    frequency = 1 / (np.arange(N_TYPES) + 3)
    types = draw.choice(N_TYPES, n_words, p=frequency / frequency.sum())
    labels = np.where(draw.random(n_words) < 0.1, draw.integers(n_classes, size=n_words), types % n_classes)
    lengths = np.clip(draw.gamma(5, 24 / 5, n_words).astype(int), 1, 100)
    ends = set(np.cumsum(lengths).tolist())
    with path.open("w") as file:
        for i, (word, label) in enumerate(zip(types.tolist(), labels.tolist(), strict=True), start=1):
            file.write(f"w{word}{'s' if word % 5 == 0 else ''} c{label}\n" + ("\n" if i in ends else ""))


def in_own_process(*arguments: str | Path) -> dict[str, float]:
    """Calls a launcher; its seconds, and its peak memory."""
    begin, own = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, *map(str, arguments)], stdout=sys.stderr)
    finished = 0
    while not finished:
        own = max(own, own_kilobytes(process.pid))
        time.sleep(0.05)
        finished, status, usage = os.wait4(process.pid, os.WNOHANG)
    if status:
        sys.exit(f"{arguments[0]} failed.")
    memory = {"peak_memory_gigabytes": own * 1024 / 1e9, "peak_resident_gigabytes": usage.ru_maxrss * 1024 / 1e9}
    return {"seconds": time.perf_counter() - begin, **memory}


def own_kilobytes(process: int) -> int:
    """Memory of a process that is no file's."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def gigabytes(place: Path) -> float:
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 1e9


def same_vectors(one: Store, other: Store) -> bool:
    pairs = zip(one.windows(), other.windows(), strict=True)
    return one.n_rows == other.n_rows and all(np.array_equal(a, b) for (_, a), (_, b) in pairs)


def main(argv: list[str]) -> None:
    del argv
    small = SMALLEST.value
    n_words, n_test_words = (600, 200) if small else (N_WORDS.value, N_TEST_WORDS.value)
    n_layers, hidden_size = (2, 64) if small else (N_LAYERS.value, HIDDEN_SIZE.value)
    n_classes, epochs, intermediate_size = (4, 1, 128) if small else (N_CLASSES.value, EPOCHS.value, INTERMEDIATE.value)
    folder = Path(FOLDER.value or tempfile.mkdtemp()).resolve()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")
    task, encoder, runs, text = (folder / name for name in ("task", "encoder", "runs", "text"))
    shared = [
        "--config=configs/labeling.py:columns",
        f"--config.task.data_dir={task}",
        f"--config.task.limit_instances={n_words}",
        f"--config.encoder.path={encoder}",
        f"--config.extraction.dtype={DTYPE.value}",
        f"--config.probe.epochs={epochs}",
    ]
    exchanged = "float16" if DTYPE.value == "float16" else "float32"  # HDF5 has no bfloat16
    hdf5, again = folder / "train.hdf5", folder / "again"
    commands: dict[str, list[str | Path]] = {
        stage: [LAUNCH / f"{stage}.py", *shared, f"--workdir={runs}"] for stage in ("extract", *STUDIES)
    }
    convert = LAUNCH / "convert.py"
    commands["store_to_hdf5"] = [
        convert, f"--input={runs}/activations/train", f"--text={text}/train.word", f"--output={hdf5}",
        f"--dtype={exchanged}",
    ]  # fmt: skip
    commands["hdf5_to_store"] = [
        convert, f"--input={hdf5}", f"--text={hdf5.with_suffix('.word')}", f"--labels={hdf5.with_suffix('.label')}",
        "--rows=word", f"--output={again}", f"--dtype={DTYPE.value}",
    ]  # fmt: skip
    report: dict[str, Any] = {"machine": _machine.describe(), "words": {"train": n_words, "test": n_test_words}}
    report |= {"layers": n_layers + 1, "hidden_size": hidden_size, "intermediate_size": intermediate_size}
    report |= {"dtype": DTYPE.value, "classes": n_classes, "epochs": epochs}
    os.chdir(LAUNCH.parent)
    try:
        if not text.exists():
            task.mkdir(parents=True)
            write_words(task / "train.txt", n_words, n_classes, 0)
            write_words(task / "test.txt", n_test_words, n_classes, 1)
            # Apart, since a process that is started is charged with the peak of the one that starts it.
            spawn = multiprocessing.get_context("spawn")
            writer = spawn.Process(target=write_encoder, args=(encoder, n_layers, hidden_size, intermediate_size))
            writer.start()
            writer.join()
            in_own_process(convert, *shared, f"--output={text}")
        for stage in (stage for stage in STAGES if stage in CHOSEN.value):
            report[stage] = in_own_process(*commands[stage])
            print(f"{stage}: {json.dumps(report[stage])}", file=sys.stderr, flush=True)
        places = {"train_store": runs / "activations" / "train", "test_store": runs / "activations" / "test"}
        places |= {"hdf5": hdf5, "converted_store": again}
        report["gigabytes"] = {name: gigabytes(place) for name, place in places.items() if place.exists()}
        if again.exists():
            report["converted_store_is_the_same"] = same_vectors(Store(places["train_store"]), Store(again))
    finally:
        if FOLDER.value is None:
            shutil.rmtree(folder)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
