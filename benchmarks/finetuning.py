"""Claim: fine-tuning is no slower than PyTorch on the same batches, and compiling takes less than a minute in all.

    python benchmarks/finetuning.py [--glue=glue_data] [--encoder=all-MiniLM-L6-v2] [--steps=120] [--rounds=3]
    python benchmarks/finetuning.py --glue=glue_data --whole --seeds=42,43,44   # to the end, both, and their scores

MRPC (or the built-in corpus without --glue), batches of 8, AdamW, clipping, dropout at the rates of the model's
config.json, float32. Both have the same weights and the same batches; PyTorch pads a batch to its longest sentence,
jaxred to one of its lengths. Blocks of steps take turns, so that a change of the machine's speed meets both; the first
round of each is a warm-up, and jaxred's compiling is in `compile_seconds`. With --whole both are trained for three
epochs from each seed, and the accuracy on dev and on test of each is printed, of the weights that are best on dev.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import _machine
import jax
import numpy as np
from absl import app, flags

from jaxred.config import FinetuneConfig
from jaxred.data.glue import load_glue
from jaxred.data.labels import class_ids
from jaxred.data.movie_reviews import load_movie_reviews
from jaxred.data.split import train_dev_split
from jaxred.finetuning import training
from jaxred.finetuning.batches import Rows, epoch_order, padded
from jaxred.finetuning.checkpoints import Checkpoints
from jaxred.finetuning.classifier import load_classifier
from jaxred.finetuning.saving import save_finetuned
from jaxred.finetuning.step import Trainer
from jaxred.models import pretrained
from jaxred.models.tokenization import Tokenizer

GLUE = flags.DEFINE_string("glue", "", "The folder of GLUE, for MRPC.")
ENCODER = flags.DEFINE_string("encoder", "all-MiniLM-L6-v2", "A folder or a name.")
STEPS = flags.DEFINE_integer("steps", 120, "Steps of each round.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds after the warm-up.", lower_bound=1)
WHOLE = flags.DEFINE_bool("whole", False, "Train both to the end, and score them.")
SEEDS = flags.DEFINE_list("seeds", ["42"], "Of --whole.")
RIVALS = flags.DEFINE_list("rival_seeds", [], "Of --whole: seeds from which PyTorch alone is trained, for its spread.")
SMALLEST = flags.DEFINE_bool("smallest", False, "A quick run that shows that the benchmark works.")


class Data:
    """The task's rows by split, tokenised."""

    def __init__(self, folder: Path):
        dataset = load_glue("mrpc", Path(GLUE.value)) if GLUE.value else load_movie_reviews("classification")
        splits = dataset.splits
        if SMALLEST.value:
            splits = {split: rows[:48] for split, rows in splits.items()}
        self.classes = tuple(sorted({str(row.label) for row in splits["train"]}))
        classifier, _ = load_classifier(folder, len(self.classes), False)
        self.tokenizer = Tokenizer(folder, classifier.encoder.config)
        rows = {}
        for split, examples in splits.items():
            pairs = None if examples[0].pair is None else [row.pair or "" for row in examples]
            tokens = self.tokenizer.encode([row.text for row in examples], pairs, 128)
            rows[split] = Rows(tokens, class_ids([str(row.label) for row in examples], self.classes)[0])
        split = train_dev_split(len(rows["train"]))
        self.train, self.dev = rows["train"].subset(split.train_idx), rows["train"].subset(split.dev_idx)
        self.test = rows["test"]


def trainer_of(data: Data, folder: Path, config: FinetuneConfig) -> Trainer:
    classifier, rates = load_classifier(folder, len(data.classes), False, seed=config.seed)
    n_steps = training.n_steps(data.train.n_sentences, config)
    return Trainer(classifier, rates, config, "classification", "last", n_steps)


class Rival:
    """PyTorch's model of the same weights, trained as Hugging Face's Trainer does."""

    def __init__(self, data: Data, folder: Path, config: FinetuneConfig):
        import torch  # pyright: ignore[reportMissingImports]
        import transformers

        self.torch, self.data = torch, data
        torch.manual_seed(config.seed)
        classifier, _ = load_classifier(folder, len(data.classes), False, seed=config.seed)
        with tempfile.TemporaryDirectory() as place:
            task = training.Task("classification", "accuracy", data.classes)
            save_finetuned(classifier, folder, Path(place), task, words=False)
            self.model = transformers.AutoModelForSequenceClassification.from_pretrained(place, dtype=torch.float32)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.learning_rate, eps=1e-8, weight_decay=0.0)
        self.schedule = transformers.get_linear_schedule_with_warmup(
            self.optimizer, 0, training.n_steps(data.train.n_sentences, config)
        )

    def inputs(self, rows: Rows, sentences: np.ndarray) -> dict[str, Any]:
        longest = int(rows.tokens.lengths[sentences].max())
        batch = self.data.tokenizer.pad(rows.tokens, sentences, longest, len(sentences))
        arrays = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if getattr(self.model.config, "type_vocab_size", 0):
            arrays["token_type_ids"] = batch.token_type_ids
        return {name: self.torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()}

    def step(self, sentences: np.ndarray) -> float:
        torch, rows = self.torch, self.data.train
        self.model.train()
        logits = self.model(**self.inputs(rows, sentences)).logits
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(rows.targets[sentences].astype(np.int64)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return float(loss)

    def accuracy(self, rows: Rows) -> float:
        self.model.eval()
        right = 0
        with self.torch.inference_mode():
            for start in range(0, rows.n_sentences, 32):
                sentences = np.arange(start, min(start + 32, rows.n_sentences))
                answers = self.model(**self.inputs(rows, sentences)).logits.argmax(1).numpy()
                right += int((answers == rows.targets[sentences]).sum())
        return right / len(rows)


def timed(data: Data, folder: Path) -> dict[str, Any]:
    """Seconds per step of both, in turns."""
    config = FinetuneConfig()
    trainer, rival = trainer_of(data, folder, config), Rival(data, folder, config)
    order = [s for epoch in range(9) for s in epoch_order(data.train.tokens.lengths, config.batch_size, 42, epoch)]
    n = 4 if SMALLEST.value else STEPS.value
    state, seconds, compiled = trainer.start(), {"jaxred": [], "pytorch": []}, 0.0
    shapes: set[Any] = set()
    rounds = 1 if SMALLEST.value else ROUNDS.value
    for turn in range(rounds + 1):
        block = order[:n]  # the same in every round, so that all shapes are compiled in the first
        batches = [padded(data.train, sentences, data.tokenizer, config.batch_size) for sentences in block]
        begin = time.perf_counter()
        for batch in batches:
            start, shape = time.perf_counter(), batch.tokens.input_ids.shape
            state, _ = trainer.step(state, batch)
            if shape not in shapes:
                jax.block_until_ready(state)
                compiled += time.perf_counter() - start
                shapes.add(shape)
        jax.block_until_ready(state)
        ours = time.perf_counter() - begin
        begin = time.perf_counter()
        for sentences in block:
            rival.step(sentences)
        if turn:
            seconds["jaxred"].append(ours / len(block))
            seconds["pytorch"].append((time.perf_counter() - begin) / len(block))
    return {
        "seconds_per_step": {name: [round(second, 4) for second in mine] for name, mine in seconds.items()},
        "times_pytorch": round(median(seconds["pytorch"]) / median(seconds["jaxred"]), 2),
        "shapes": len(shapes),
        "compile_seconds": round(compiled, 1),
    }


def whole(data: Data, folder: Path, seed: int) -> dict[str, Any]:
    """The scores of jaxred, trained to the end."""
    config = config_of(seed)
    trainer = trainer_of(data, folder, config)
    task = training.Task("classification", "accuracy", data.classes)
    with tempfile.TemporaryDirectory() as place:
        begin = time.perf_counter()
        checkpoints = Checkpoints(Path(place) / "checkpoints", "benchmark", 3600)
        best = training.Best(Path(place) / "best.safetensors")
        outcome = training.train(trainer, data.tokenizer, task, data.train, data.dev, config, checkpoints, best)
        ours = time.perf_counter() - begin
        test = training.evaluate(trainer, outcome.params, data.tokenizer, task, data.test)
    return {"dev": max(outcome.dev), "test": test, "seconds": round(ours, 1)}


def whole_rival(data: Data, folder: Path, seed: int) -> dict[str, Any]:
    """Those of PyTorch, from the same weights."""
    config = config_of(seed)
    rival = Rival(data, folder, config)
    begin, devs, tests = time.perf_counter(), [], []
    for epoch in range(config.epochs):
        for sentences in epoch_order(data.train.tokens.lengths, config.batch_size, seed, epoch):
            rival.step(sentences)
        devs.append(rival.accuracy(data.dev))
        tests.append(rival.accuracy(data.test))
    theirs, chosen = time.perf_counter() - begin, int(np.argmax(devs))
    return {"dev": devs[chosen], "test": tests[chosen], "seconds": round(theirs, 1)}


def config_of(seed: int) -> FinetuneConfig:
    return FinetuneConfig(seed=seed, epochs=1 if SMALLEST.value else 3)


def main(argv: list[str]) -> None:
    del argv
    import torch  # pyright: ignore[reportMissingImports]

    folder = pretrained.resolve(ENCODER.value)
    data = Data(folder)
    report: dict[str, Any] = {
        "machine": _machine.describe() | {"torch": torch.__version__},
        "encoder": ENCODER.value,
        "rows": {"train": len(data.train), "dev": len(data.dev), "test": len(data.test)},
    }
    if WHOLE.value:
        report["whole"] = {}
        for seed in [*SEEDS.value, *RIVALS.value]:
            ways = {"jaxred": whole} if seed in SEEDS.value else {}
            for name, way in (ways | {"pytorch": whole_rival}).items():
                report["whole"].setdefault(seed, {})[name] = way(data, folder, int(seed))
                print(f"seed {seed}, {name}: {report['whole'][seed][name]}", file=sys.stderr, flush=True)
    else:
        report |= timed(data, folder)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    app.run(main)
