"""The whole training: epochs of steps, the score on dev after each, the best weights kept, and where it was resumed."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxred.config import FinetuneConfig
from jaxred.errors import UserError
from jaxred.finetuning.batches import Rows, TrainingBatch, epoch_order, padded, padded_length
from jaxred.finetuning.checkpoints import Checkpoints
from jaxred.finetuning.padded_batches import plan_batches
from jaxred.finetuning.step import Trainer
from jaxred.io.progress import progress_bar
from jaxred.models.tokenization import Tokenizer
from jaxred.probing.metrics import score

log = logging.getLogger("jaxred")

_EVALUATION_TOKENS = 2048  # padded tokens of a batch of which scores are asked


@dataclass(frozen=True)
class Task:
    """What is learned."""

    kind: str  # classification or regression
    metric: str  # one of config.METRICS
    classes: tuple[str, ...]  # by class id; empty for regression
    word_pooling: str = "last"  # the sub-word that stands for a word

    @property
    def n_outputs(self) -> int:
        return len(self.classes) or 1


@dataclass(frozen=True)
class Outcome:
    """A finished training."""

    params: dict[Any, np.ndarray]  # of the epoch that is best on dev
    best_epoch: int  # counted from 1
    losses: list[float]  # of every step
    dev: list[float]  # after every epoch
    n_steps: int
    resumed_at: int | None  # the step, where an earlier process had begun


def n_steps(n_sentences: int, config: FinetuneConfig) -> int:
    """The number of steps of a training."""
    return config.epochs * -(-n_sentences // config.batch_size)


def train(
    trainer: Trainer,
    tokenizer: Tokenizer,
    task: Task,
    train_rows: Rows,
    dev_rows: Rows,
    config: FinetuneConfig,
    checkpoints: Checkpoints,
    best: "Best",
) -> Outcome:
    """Trains, or resumes a training at the very step at which its state was last saved.

    Args:
        trainer: the compiled functions.
        tokenizer: pads the sentences.
        task: what is learned.
        train_rows: to learn from.
        dev_rows: on which the best epoch is chosen.
        config: how it is trained.
        checkpoints: where the state is saved.
        best: keeps the weights of the best epoch.

    Raises:
        UserError: the loss is no number any more, or the state cannot be saved.
    """
    total = n_steps(train_rows.n_sentences, config)
    state = trainer.start()
    progress: dict[str, Any] = {"losses": [], "dev": []}
    resumed = checkpoints.restore(state)
    if resumed is not None:
        state, progress = resumed
    first = step = int(state.step)
    multiple = len(trainer.devices)

    def batches() -> Iterator[TrainingBatch]:
        per_epoch = total // config.epochs
        for epoch in range(first // per_epoch, config.epochs):
            order = epoch_order(
                train_rows.tokens.lengths, config.batch_size, config.seed, epoch, config.group_by_length
            )
            for sentences in order[max(first - epoch * per_epoch, 0) :]:
                yield padded(train_rows, sentences, tokenizer, config.batch_size, config.accumulation, multiple)

    waiting: list[jax.Array] = []  # losses that are not fetched yet, so that the device need not wait

    def fetch() -> None:
        progress["losses"] += [float(loss) for loss in waiting]
        waiting.clear()
        if progress["losses"] and not np.isfinite(progress["losses"][-1]):
            raise UserError(
                f"The loss is {progress['losses'][-1]} after step {len(progress['losses'])}: lower "
                f"config.finetune.learning_rate={config.learning_rate:g}."
            )

    per_epoch = total // config.epochs
    bars = progress_bar(total, "fine-tune", "steps", first)
    with checkpoints, bars as bar, ThreadPoolExecutor(1) as background:
        upcoming = batches()
        following = background.submit(next, upcoming, None)
        while (batch := following.result()) is not None:
            following = background.submit(next, upcoming, None)
            state, loss = trainer.step(state, trainer.placed(batch))
            waiting.append(loss)
            step += 1
            bar.update(1)
            if step % per_epoch == 0:
                fetch()
                dev = evaluate(trainer, state.params, tokenizer, task, dev_rows)
                progress["dev"].append(dev)
                if _best(progress["dev"]) == len(progress["dev"]) - 1:
                    best.keep(state.params)
                bar.set_postfix_str(f"{task.metric} on dev {dev:.3f}")
                checkpoints.save(state, progress)
            elif len(waiting) == 16:
                fetch()
                checkpoints.save_sometimes(state, progress)
    chosen = _best(progress["dev"])
    return Outcome(
        best.load(), chosen + 1, progress["losses"], progress["dev"], total, None if resumed is None else first
    )


def _best(dev: list[float]) -> int:
    """The first of the epochs that are best on dev; a score that is no number is worse than any other."""
    return int(np.argmax(np.nan_to_num(dev, nan=-np.inf)))


class Best:
    """The weights of the best epoch, in a file."""

    def __init__(self, path: Path):
        self._path = path

    def keep(self, params: dict[Any, Any]) -> None:
        """Writes them in place of those of an earlier epoch."""
        from safetensors.numpy import save

        from jaxred.io.files import replace_file

        content = save({"/".join(map(str, path)): np.asarray(leaf) for path, leaf in params.items()})
        replace_file(self._path, lambda file: file.write(content))

    def load(self) -> dict[Any, np.ndarray]:
        """Reads them, by path."""
        from safetensors.numpy import load_file

        return {tuple(name.split("/")): array for name, array in load_file(self._path).items()}


def predict(trainer: Trainer, params: Any, tokenizer: Tokenizer, rows: Rows) -> np.ndarray:
    """The scores of rows, [row, output], in batches of few shapes."""
    lengths = np.array([padded_length(length) for length in rows.tokens.lengths.tolist()])
    n_outputs = trainer.model(params).head.output.kernel.shape[-1]
    scores = np.zeros((len(rows), n_outputs), np.float32)
    multiple = len(trainer.devices)
    for planned in plan_batches(lengths, max(_EVALUATION_TOKENS, int(lengths.max(initial=1))), tokenizer.longest):
        batch = padded(rows, planned.rows, tokenizer, planned.n_rows, 1, multiple)
        of_batch = np.asarray(trainer.scores(params, trainer.placed(batch)))[0]
        numbers = np.concatenate(rows.of_sentences(planned.rows))
        scores[numbers] = of_batch[: len(numbers)]
    return scores


def answers(scores: np.ndarray, kind: str) -> np.ndarray:
    """Scores as class ids or, of regression, as they are."""
    return scores[:, 0] if kind == "regression" else np.argmax(scores, axis=1).astype(np.int32)


def evaluate(trainer: Trainer, params: Any, tokenizer: Tokenizer, task: Task, rows: Rows) -> float:
    """The score of rows by the task's metric."""
    scores = predict(trainer, params, tokenizer, rows)
    return score(task.metric, answers(scores, task.kind), rows.targets, len(task.classes) or None)
