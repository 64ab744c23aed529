"""Tiny random encoders, one as a Hugging Face folder, tasks for it, and what tests ask of a store's files."""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from safetensors.numpy import load_file, save_file

from jaxred.activations import extract as extraction
from jaxred.activations.store import Store, StoreWriter, unfinished_rows
from jaxred.config import EncoderConfig, ExtractionConfig, StudyConfig, TaskConfig
from jaxred.data import load_task
from jaxred.models import checkpoint
from jaxred.models.bert import Bert, BertConfig
from jaxred.models.encoder import Encoder
from jaxred.runs.workdir import Workdir

WORDS = [f"w{i}" for i in range(30)]
CONFIG = BertConfig(
    vocab_size=40, hidden_size=12, n_layers=2, n_heads=2, intermediate_size=20, max_position_embeddings=32
)
MAX_LENGTH = 8  # so that sentences are padded to one length, and the longer ones are truncated


def random_encoder(encoder_type: type[Encoder], config: Any, seed: int = 0) -> Any:
    """An encoder whose every parameter, biases and norms included, is random and matters."""
    rng = np.random.default_rng(seed)
    graphdef, state = nnx.split(nnx.eval_shape(lambda: encoder_type(config, rngs=nnx.Rngs(0))))
    filled = []
    for path, leaf in nnx.to_flat_state(state):
        centre = 1.0 if path[-1] == "scale" else 0.0
        n_in = leaf.shape[-2] if path[-1] == "kernel" else leaf.shape[1] if len(leaf.shape) == 4 else 11
        drawn = rng.normal(centre, n_in**-0.5, leaf.shape).astype(np.float32)
        used = np.ones_like(drawn)  # what no checkpoint has stays 1
        views = encoder_type.weights.slots(path, drawn)
        for name, slot in encoder_type.weights.slots(path, used).items():
            slot.view[...] = views[name].view
        filled.append((path, leaf.replace(used)))
    return nnx.merge(graphdef, nnx.from_flat_state(filled))


def write_encoder(folder: Path, config: BertConfig = CONFIG, seed: int = 0) -> Path:
    """A random BERT as a checkpoint with a vocabulary."""
    checkpoint.save(random_encoder(Bert, config, seed), folder)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    return folder


def split_into_shards(folder: Path) -> dict[str, str]:
    """Two shards and an index in place of a checkpoint's one file; which tensor is in which."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    weight_map = {name: files[i % 2] for i, name in enumerate(tensors)}
    for file in files:
        save_file({name: tensors[name] for name in tensors if weight_map[name] == file}, folder / file)
    write_index(folder, weight_map)
    return weight_map


def write_index(folder: Path, weight_map: dict[str, str]) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def sentences(n: int, seed: int = 0, n_words: tuple[int, int] = (1, 10)) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(n_words[0], n_words[1] + 1))) for _ in range(n)]


def write_task(folder: Path, texts: dict[str, Sequence[str]], labels: dict[str, Sequence[Any]] | None = None) -> Path:
    """Parallel files; without labels, the classes odd and even."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, lines in texts.items():
        mine = labels[split] if labels else [("even", "odd")[i % 2] for i in range(len(lines))]
        (folder / f"{split}.word").write_text("".join(f"{line}\n" for line in lines))
        (folder / f"{split}.label").write_text("".join(f"{label}\n" for label in mine))
    return folder


def study_config(encoder: Path, task: Path, n_layers: int = -1, kind: str = "classification", **extraction: Any):
    return StudyConfig(
        task=TaskConfig(
            name="parallel", data_dir=str(task), kind=kind, metric="pearson" if kind == "regression" else "accuracy"
        ),
        encoder=EncoderConfig(path=str(encoder), n_layers=n_layers),
        extraction=ExtractionConfig(**{"max_length": MAX_LENGTH, "token_budget": 128, "window_rows": 4, **extraction}),
    )


def run_extraction(
    config: StudyConfig, workdir: Path, jax_options: dict[str, Any], seconds_a_batch: float = 0.0
) -> None:
    """What a process that is to be killed does: each window takes 10 ms at least, so that who kills it finds it at
    work on any machine; where batches take a while, each is kept at once.
    """
    for name, value in jax_options.items():
        jax.config.update(name, value)
    _slower(StoreWriter, "flush", 0.01)
    if seconds_a_batch:
        _slower(StoreWriter, "keep", seconds_a_batch)
        unfinished_rows.SECONDS = unfinished_rows.COST = 0
    extract(config, Workdir(workdir).stores)


def _slower(owner: Any, name: str, seconds: float) -> None:
    real = getattr(owner, name)

    def slowly(*arguments: Any) -> Any:
        time.sleep(seconds)
        return real(*arguments)

    setattr(owner, name, slowly)


def extract(config: StudyConfig, folder: Path, overwrite: bool = False) -> dict[str, Store]:
    """The activations of the task that the configuration names."""
    return extraction.extract(load_task(config.task), config, folder, overwrite)


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file under a folder, without TensorStore's lock files, which a killed process leaves."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".__lock")
    }


def modified(folder: Path) -> dict[str, int]:
    """When every file under a folder was last written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def row_error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest relative error of a row, ||found - expected|| / ||expected||."""
    found, expected = np.float64(found).reshape(len(found), -1), np.float64(expected).reshape(len(expected), -1)
    return float(np.max(np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)))
