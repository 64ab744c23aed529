"""Claims: from text to a finished store, jaxred extracts at least 1.3 times as fast as a loop over PyTorch sorted by
length that writes nothing, and 8 times as fast as the original's way; inside the encoder it multiplies, on real tokens,
at 80% of the rate of a plain product or more.

    python benchmarks/extraction.py [--glue=glue_data] [--n_sentences=10000] [--pooling=mean] [--encoder=...]
    python benchmarks/extraction.py --words=conll2000

The same sentences go through the encoder in one run:
- jaxred: text -> tokens -> every layer's vectors -> a finished store, with the weights' reading and the compilation,
  which is kept on disk from run to run as it is for users; the first time, with nothing kept, is shown apart.
- PyTorch, sorted by length: tokenised, in batches of 32, the same vectors kept, nothing written.
- sentence-transformers' `encode` as people call it, where it is installed: the last layer alone.
- onnxruntime, where it and jax2onnx are installed: jaxred's encoder as an ONNX file, sorted by length, batches of 32.
- the original's way: padded to 128, batches of 32, every token of every layer to JSON lines; on fewer sentences.
In turn, so that a change of the machine's speed meets all; and how long a process of `jaxred extract` takes from its
start to the first rows that a killed run would keep. Beside them the rate of a plain product of the encoder's
sizes, and that of the encoder on the floating-point operations of real tokens. Words: the vector of each word's last
sub-word, of the CoNLL-2000 files. Prints JSON; a ratio is of the medians.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _machine
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from jaxred.activations.encode import encode_fn
from jaxred.activations.extract import extract
from jaxred.activations.fetching import token_budget
from jaxred.activations.packing import justified_budget, pack, pack_words
from jaxred.config import EncoderConfig, ExtractionConfig, StudyConfig, TaskConfig
from jaxred.data import load_task
from jaxred.data.examples import Dataset, WordDataset
from jaxred.models import Encoder, load_encoder, pretrained
from jaxred.models.tokenization import Tokenizer
from jaxred.reduced.onnx_file import translated

GLUE = flags.DEFINE_string("glue", "", "The folder of GLUE, for SST-2; without it, the built-in reviews.")
WORDS = flags.DEFINE_string("words", "", "The folder of CoNLL-2000, for words in place of sentences.")
ENCODER = flags.DEFINE_string("encoder", "all-MiniLM-L6-v2", "A folder or a name.")
POOLING = flags.DEFINE_enum("pooling", "cls", ["cls", "mean"], "The vector of a sentence.")
N_SENTENCES = flags.DEFINE_integer("n_sentences", 10_000, "Sentences to extract.")
N_ORIGINAL = flags.DEFINE_integer("n_original", 320, "Sentences of the original's way.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds after the first.", lower_bound=1)
CACHE = flags.DEFINE_string("cache", "", "Where compiled programs are kept; a new folder where none is named.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")

ROOT = Path(__file__).resolve().parents[1]


def dataset(n_sentences: int) -> tuple[Dataset | WordDataset, TaskConfig]:
    """The sentences, as the training split of a task."""
    task = TaskConfig()
    if WORDS.value:
        task = TaskConfig(name="conll2000_chunk", data_dir=WORDS.value, fallback_label="I-NP")
    elif GLUE.value:
        task = TaskConfig(name="sst2", data_dir=GLUE.value)
    loaded: Any = load_task(task)
    return dataclasses.replace(loaded, splits={"train": loaded.splits["train"][:n_sentences]}), task


class PyTorch:
    """The rival's encoder, and its loop."""

    def __init__(self, folder: Path):
        import torch  # pyright: ignore[reportMissingImports]
        from transformers import AutoModel, AutoTokenizer

        self.torch, self.tokenizer = torch, AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder).eval()

    def hidden_states(self, batch: Any) -> tuple[Any, ...]:
        with self.torch.inference_mode():
            return self.model(**batch, output_hidden_states=True).hidden_states

    def sentences(self, texts: list[str]) -> np.ndarray:
        """Every layer's vector of each sentence: sorted by length, in batches of 32."""
        tokens = self.tokenizer(texts, truncation=True, max_length=128)["input_ids"]
        order = np.argsort([-len(ids) for ids in tokens], kind="stable")
        kept: np.ndarray | None = None
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            batch = self.tokenizer.pad({"input_ids": [tokens[row] for row in rows]}, return_tensors="pt")
            mask = batch["attention_mask"][:, :, None]
            states = [
                hidden[:, 0] if POOLING.value == "cls" else (hidden * mask).sum(1) / mask.sum(1)
                for hidden in self.hidden_states(batch)
            ]
            vectors = self.torch.stack(states, 1).numpy()
            kept = np.empty((len(texts), *vectors.shape[1:]), np.float32) if kept is None else kept
            kept[rows] = vectors
        assert kept is not None
        return kept

    def words(self, sentences: list[list[str]]) -> np.ndarray:
        """Every layer's vector of each word's last sub-word: sentences sorted by length, in batches of 32."""
        encoded = self.tokenizer(sentences, is_split_into_words=True, truncation=True, max_length=512)
        lasts = []
        for row in range(len(sentences)):
            last = {word: place for place, word in enumerate(encoded.word_ids(row)) if word is not None}
            lasts.append([*last.values()])
        starts = np.cumsum([0, *map(len, lasts)])
        order = np.argsort([-len(ids) for ids in encoded["input_ids"]], kind="stable")
        kept: np.ndarray | None = None
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            batch = self.tokenizer.pad({"input_ids": [encoded["input_ids"][row] for row in rows]}, return_tensors="pt")
            at = [i for i, row in enumerate(rows) for _ in lasts[row]], [place for row in rows for place in lasts[row]]
            vectors = self.torch.stack([hidden[at] for hidden in self.hidden_states(batch)], 1).numpy()
            kept = np.empty((starts[-1], *vectors.shape[1:]), np.float32) if kept is None else kept
            kept[np.concatenate([np.arange(*starts[row : row + 2].tolist()) for row in rows.tolist()])] = vectors
        assert kept is not None
        return kept

    def as_the_original(self, texts: list[str], file: Path) -> None:
        """Padded to 128, batches of 32, every token of every layer as a line of JSON."""
        with file.open("w") as lines:
            for start in range(0, len(texts), 32):
                options = {"truncation": True, "max_length": 128, "padding": "max_length", "return_tensors": "pt"}
                batch = self.tokenizer(texts[start : start + 32], **options)
                states = self.torch.stack(self.hidden_states(batch), 2).numpy()
                for i, of_sentence in enumerate(states):
                    names = self.tokenizer.convert_ids_to_tokens(batch["input_ids"][i])
                    features = [
                        {
                            "token": name,
                            "layers": [
                                {"index": layer, "values": [round(float(x), 8) for x in values]}
                                for layer, values in enumerate(of_token)
                            ],
                        }
                        for name, of_token in zip(
                            names, of_sentence[: int(batch["attention_mask"][i].sum())], strict=False
                        )
                    ]
                    lines.write(json.dumps({"linex_index": start + i, "features": features}) + "\n")


def sentence_transformers(folder: Path) -> Callable[[list[str]], Any] | None:
    """Its `encode`, where it is installed."""
    try:
        from sentence_transformers import SentenceTransformer  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    model = SentenceTransformer(str(folder), device="cpu")
    return lambda texts: model.encode(texts)


def seconds_to_first_rows(folder: Path) -> float:
    """From the start of a process, whose programs are compiled, to the first rows that are stored."""
    kind = "labeling.py:conll2000_chunk" if WORDS.value else "glue.py:sst2" if GLUE.value else "demo.py"
    files = WORDS.value or GLUE.value
    flags_of_task = [f"--config.task.data_dir={files}"] if files else []
    found = []
    for number in range(2):  # the first of them compiles
        workdir = folder / f"first-{number}"
        command = [sys.executable, ROOT / "launch" / "extract.py", f"--config={ROOT / 'configs' / kind}"]
        begin = time.perf_counter()
        process = subprocess.Popen(
            [*command, *flags_of_task, f"--config.encoder.path={ENCODER.value}", f"--workdir={workdir}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        store = workdir / "activations" / "train"
        while process.poll() is None and not [*store.glob("unfinished/*"), *store.glob("hidden_states/c/*/0/0")]:
            time.sleep(0.01)
        found.append(time.perf_counter() - begin)
        process.kill()
        process.wait()
    return found[-1]


def onnxruntime(folder: Path, tokenizer: Any) -> Callable[[list[str]], Any] | None:
    """The same encoder as an ONNX file (every layer's [CLS]), sentences sorted by length, where both packages are."""
    try:
        import jax2onnx  # noqa: F401  # pyright: ignore[reportMissingImports]
        from onnxruntime import InferenceSession  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    encoder = load_encoder(folder)

    def first_tokens(ids: jax.Array, mask: jax.Array, types: jax.Array) -> tuple[jax.Array]:
        at = 0 * jnp.sum(mask.astype(jnp.int32), axis=1)
        return (encoder.at(at[:, None], ids, mask != 0, types)[:, :, 0],)

    content = translated(first_tokens, ("vectors",)).SerializeToString()
    session = InferenceSession(content, providers=["CPUExecutionProvider"])

    def encode(texts: list[str]) -> np.ndarray:
        tokens = tokenizer(texts, truncation=True, max_length=128)["input_ids"]
        order = np.argsort([-len(ids) for ids in tokens], kind="stable")
        kept: np.ndarray | None = None
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            batch = tokenizer.pad({"input_ids": [tokens[row] for row in rows]}, return_tensors="np")
            given = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
            given["token_type_ids"] = np.zeros_like(batch["input_ids"])
            vectors = np.asarray(
                session.run(None, {name: np.asarray(array, np.int64) for name, array in given.items()})[0]
            )
            kept = np.empty((len(texts), vectors.shape[0], vectors.shape[2]), np.float32) if kept is None else kept
            kept[rows] = vectors.swapaxes(0, 1)
        assert kept is not None
        return kept

    return encode


def flops(lengths: np.ndarray, encoder: Encoder, sentences: int) -> float:
    """Operations on real tokens for what is kept: of the last layer, where one vector a sentence is, those of it."""
    config = encoder.config
    size, inner = config.hidden_size, config.intermediate_size
    n_tokens, squares = float(lengths.sum()), float((lengths.astype(float) ** 2).sum())
    of_all = n_tokens * (8 * size * size + 4 * size * inner) + 4 * size * squares
    if not sentences:
        return config.n_layers * of_all
    of_last = n_tokens * 4 * size * size + sentences * (4 * size * size + 4 * size * inner) + 4 * size * n_tokens
    return (config.n_layers - 1) * of_all + of_last


def _exported(folder: Path, rival: PyTorch) -> Callable[[list[str]], Any] | None:
    return None if WORDS.value or POOLING.value != "cls" else onnxruntime(folder, rival.tokenizer)


def product_rate(encoder: Encoder, rounds: int) -> float:
    """Operations per second of plain products of the feed-forward network's sizes."""
    config, n_tokens = encoder.config, token_budget()
    random = np.random.default_rng(0)
    x, up, down = (
        jnp.asarray(random.standard_normal(shape, np.float32))
        for shape in (
            (n_tokens, config.hidden_size),
            (config.hidden_size, config.intermediate_size),
            (config.intermediate_size, config.hidden_size),
        )
    )
    both = jax.jit(lambda x: jnp.dot(jnp.dot(x, up), down))
    both(x).block_until_ready()
    seconds = []
    for _ in range(5 * rounds):
        begin = time.perf_counter()
        for _ in range(4):
            x_next = both(x)
        x_next.block_until_ready()
        seconds.append((time.perf_counter() - begin) / 4)
    return 4 * n_tokens * config.hidden_size * config.intermediate_size / float(np.median(seconds))


def main(argv: list[str]) -> None:
    del argv
    n_sentences, rounds = (64, 1) if SMALLEST.value else (N_SENTENCES.value, ROUNDS.value)
    loaded, task = dataset(n_sentences)
    folder = pretrained.resolve(ENCODER.value)
    extraction = ExtractionConfig(pooling=POOLING.value, max_length=512 if WORDS.value else 128)
    config = StudyConfig(task=task, encoder=EncoderConfig(path=ENCODER.value), extraction=extraction)
    texts: list[Any] = (
        [list(sentence.words) for sentence in loaded.splits["train"]]
        if isinstance(loaded, WordDataset)
        else [example.text for example in loaded.splits["train"]]
    )
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        jax.config.update("jax_compilation_cache_dir", CACHE.value or str(here / "compilations"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        rival, other = PyTorch(folder), None if WORDS.value else sentence_transformers(folder)
        n_runs = 0

        def by_jaxred() -> np.ndarray:
            nonlocal n_runs
            n_runs += 1
            return np.asarray(extract(loaded, config, here / str(n_runs))["train"])

        ways: dict[str, Callable[[], Any]] = {"jaxred": by_jaxred}
        ways["pytorch_sorted"] = lambda: rival.words(texts) if WORDS.value else rival.sentences(texts)
        if other is not None:
            ways["sentence_transformers_last_layer"] = lambda: other(texts)
        if (exported := _exported(folder, rival)) is not None:
            ways["onnxruntime_sorted"] = lambda: exported(texts)
        few = texts[: 16 if SMALLEST.value else N_ORIGINAL.value]
        if not WORDS.value:
            ways["as_the_original"] = lambda: rival.as_the_original(few, here / "lines.json")
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        first, vectors = {}, {}
        for number in range(rounds + 1):
            for name, way in ways.items():
                begin = time.perf_counter()
                result = way()
                took = time.perf_counter() - begin
                if number:
                    seconds[name].append(took)
                else:
                    first[name], vectors[name] = took, result
        model = load_encoder(folder)
        inside, computed, n_operations = encoder_alone(model, folder, loaded, extraction, rounds)
        rate = product_rate(model, rounds)
        first_rows = seconds_to_first_rows(here)
    n_rows = len(vectors["jaxred"])
    counts = dict.fromkeys(ways, n_rows) | {"as_the_original": len(few)}
    speed = {name: counts[name] / float(np.median(times)) for name, times in seconds.items()}
    difference = np.linalg.norm(vectors["jaxred"] - vectors["pytorch_sorted"], axis=(0, 2))
    if "onnxruntime_sorted" in vectors:
        assert np.abs(vectors["onnxruntime_sorted"] - vectors["pytorch_sorted"]).max() < 1e-3, "another encoder"
    report = {
        "machine": _machine.describe() | {"torch": rival.torch.__version__},
        "encoder": ENCODER.value,
        "rows": f"{n_rows} {'words' if WORDS.value else 'sentences'}",
        "rows_per_second": speed,
        "rows_per_second_with_everything_compiled_first": n_rows / first["jaxred"],
        "seconds_to_first_stored_rows": first_rows,
        "times_pytorch_sorted": speed["jaxred"] / speed["pytorch_sorted"],
        "times_others": {name: speed["jaxred"] / s for name, s in speed.items() if name != "jaxred"},
        "tokens_that_are_real": computed,
        "encoder_gigaflops_on_real_tokens": n_operations / inside / 1e9,
        "product_gigaflops": rate / 1e9,
        "share_of_the_product": n_operations / inside / rate,
        "share_of_the_run_inside_the_encoder": inside / float(np.median(seconds["jaxred"])),
        "relative_error_by_layer": (difference / np.linalg.norm(vectors["pytorch_sorted"], axis=(0, 2))).tolist(),
    }
    print(json.dumps(report, indent=1))


def encoder_alone(
    model: Encoder, folder: Path, loaded: Dataset | WordDataset, extraction: ExtractionConfig, rounds: int
) -> tuple[float, float, float]:
    """Seconds of the encoder on all batches, the share of the tokens that are real, and the operations on these."""
    tokenizer = Tokenizer(folder, model.config)
    budget = token_budget()
    if isinstance(loaded, WordDataset):
        words = tokenizer.encode_words([list(s.words) for s in loaded.splits["train"]], extraction.max_length)
        tokens = words.tokens
        encode = encode_fn(model, extraction.word_pooling, "float32")
        batches = [*pack_words(words, slice(0, len(words.word_index)), tokenizer, budget)]
    else:
        tokens = tokenizer.encode([e.text for e in loaded.splits["train"]], None, extraction.max_length)
        encode = encode_fn(model, extraction.pooling, "float32")
        planned = pack(tokens.lengths, justified_budget(budget, tokens.lengths), tokenizer.longest)
        batches = [batch.work(tokenizer, tokens) for batch in planned]
    n_computed = sum(work.batch.input_ids.size for work in batches)
    seconds = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        started = [encode.start(work.batch, work.words) for work in batches]
        for vectors in started:
            vectors.result()
        seconds.append(time.perf_counter() - begin)
    at_one_token = extraction.pooling == "cls" and not isinstance(loaded, WordDataset)
    operations = flops(tokens.lengths, model, len(tokens) if at_one_token else 0)
    return float(np.median(seconds[1:])), float(tokens.lengths.sum()) / n_computed, operations


if __name__ == "__main__":
    app.run(main)
