"""Small trainings: a task that a tiny encoder learns in seconds, and processes that die while they train."""

import functools
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from helpers.tiny_encoder import WORDS
from jaxred.config import FinetuneConfig
from jaxred.finetuning import training
from jaxred.finetuning.batches import Rows
from jaxred.finetuning.checkpoints import Checkpoints
from jaxred.finetuning.classifier import Classifier, load_classifier
from jaxred.finetuning.step import Trainer
from jaxred.finetuning.training import Best, Outcome, Task
from jaxred.models.dropout import DropoutRates
from jaxred.models.tokenization import Tokenizer

CLASSES = ("high", "low")
OFF = DropoutRates()
MAX_LENGTH = 12


def separable(n_sentences: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Sentences of one half of the vocabulary or the other, and which."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, 2, n_sentences)
    halves = WORDS[15:], WORDS[:15]
    return [" ".join(random.choice(halves[c], random.integers(2, 9))) for c in classes], [CLASSES[c] for c in classes]


@dataclass
class Small:
    """What a training takes."""

    classifier: Classifier
    trainer: Trainer
    tokenizer: Tokenizer
    task: Task
    rows: dict[str, Rows]
    config: FinetuneConfig

    def run(self, folder: Path, seconds: int = 0, identity: str = "one") -> Outcome:
        """The whole training, with its files in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints, best = Checkpoints(folder / "checkpoints", identity, seconds), Best(folder / "best.safetensors")
        return training.train(
            self.trainer,
            self.tokenizer,
            self.task,
            self.rows["train"],
            self.rows["dev"],
            self.config,
            checkpoints,
            best,
        )


@functools.cache  # of which nothing changes; its programs are compiled once
def small(
    folder: Path,
    kind: str = "classification",
    words: bool = False,
    n_layers: int = -1,
    dropout: bool = False,
    sizes: tuple[int, int] = (40, 24),
    **settings: Any,
) -> Small:
    """A training of an encoder on separable sentences, or words, or on the number of words.

    Args:
        folder: of the encoder.
        kind: classification or regression.
        words: classify words.
        n_layers: of the cut encoder.
        dropout: at the rates of the encoder's config.json.
        sizes: sentences of train and dev.
        settings: of `FinetuneConfig`.
    """
    config = FinetuneConfig(**{"epochs": 2, "learning_rate": 5e-3, **settings})
    classes = () if kind == "regression" else CLASSES
    task = Task(kind, "pearson" if kind == "regression" else "accuracy", classes, "first")
    classifier, rates = load_classifier(folder, task.n_outputs, words, n_layers, config.seed)
    tokenizer, rows = Tokenizer(folder, classifier.encoder.config), {}
    for number, split in enumerate(("train", "dev")):
        texts, labels = separable(sizes[number], number)
        if words:
            of_words = tokenizer.encode_words([text.split() for text in texts], MAX_LENGTH)
            places = zip(of_words.sentence_index, of_words.word_index, strict=True)
            is_high = [WORDS.index(texts[sentence].split()[word]) < 15 for sentence, word in places]
            rows[split] = Rows(of_words.tokens, np.asarray(is_high, np.int32), of_words)
            continue
        lengths = [len(text.split()) / 8 for text in texts]
        ids = [classes.index(label) for label in labels] if classes else []
        targets = np.asarray(ids, np.int32) if classes else np.asarray(lengths, np.float32)
        rows[split] = Rows(tokenizer.encode(texts, None, MAX_LENGTH), targets)
    n_steps = training.n_steps(rows["train"].n_sentences, config)
    trainer = Trainer(classifier, rates if dropout else OFF, config, kind, "first", n_steps)
    return Small(classifier, trainer, tokenizer, task, rows, config)


LONG: dict[str, Any] = {
    "epochs": 3,
    "sizes": (150, 24),
    "dropout": True,
}  # 19 steps an epoch; saved after 16 and 19 of each


def run_and_die(encoder: Path, folder: Path, jax_options: dict[str, Any], moment: str, number: int) -> None:
    """What a process does that is killed at the so-manieth step, evaluation, or file of the best weights."""
    for name, value in jax_options.items():
        jax.config.update(name, value)
    owner: Any
    owner, name = {"step": (Trainer, "step"), "dev": (training, "evaluate"), "best": (Best, "keep")}[moment]
    real, n_calls = getattr(owner, name), 0

    def counted(*arguments: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    setattr(owner, name, counted)
    small(encoder, **LONG).run(folder)


def slowly(encoder: Path, folder: Path, jax_options: dict[str, Any]) -> None:
    """What a process does that is killed from outside: a checkpoint of every step, of which none ends in 20 ms."""
    for name, value in jax_options.items():
        jax.config.update(name, value)
    real = Checkpoints.save

    def saved(*arguments: Any) -> None:
        real(*arguments)
        time.sleep(0.02)

    Checkpoints.save_sometimes = Checkpoints.save = saved  # type: ignore[method-assign]
    small(encoder, **LONG).run(folder)
