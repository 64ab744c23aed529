"""The stage that fine-tunes: from a task's text to a Hugging Face folder with a head, in the workdir."""

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxred.activations.words import word_labels
from jaxred.config import StudyConfig, recorded_task, source_kind, to_dict
from jaxred.data.checks import unseen_labels
from jaxred.data.examples import Dataset, WordDataset
from jaxred.data.labels import class_ids
from jaxred.data.split import train_dev_split, train_dev_split_of_words
from jaxred.errors import UserError
from jaxred.io.artifacts import Artifact, get_or_make
from jaxred.io.files import unfinished_folder
from jaxred.io.reasons import reason_of
from jaxred.io.result_files import fingerprint, save_result
from jaxred.models import pretrained, tokenizer_files
from jaxred.models.tokenization import TokenBatch, TokenizedWords, Tokenizer
from jaxred.probing.metrics import best_constant, score
from jaxred.probing.resampling import N_RESAMPLES, draw, interval, resampled_scores
from jaxred.runs.workdir import Workdir
from jaxred.studies.results import FineTuningResult

log = logging.getLogger("jaxred")

FORMAT = 1  # of what is kept
_STRETCHES = 200  # in which the losses of all steps are kept as means
_NOT_DECIDING = ("enabled", "checkpoint_seconds")  # of the settings, which change no weight


def run_finetuning(dataset: Dataset | WordDataset, config: StudyConfig, workdir: Workdir) -> FineTuningResult:
    """Fine-tunes the encoder, or takes what was: WORKDIR/finetuned (transformers loads it) and results/finetuning.json.

    A training that was cut short resumes at the very step that was last saved.

    Args:
        dataset: the task's examples.
        config: of the run.
        workdir: where results go.

    Raises:
        UserError: for a bad checkpoint, labels that train does not have, or a disk that is full.
    """
    source = pretrained.resolve(config.encoder.path)
    settings = {name: value for name, value in to_dict(config.finetune).items() if name not in _NOT_DECIDING}
    task = config.task
    identity = fingerprint(
        [
            "finetuning",
            FORMAT,
            pretrained.weights_digest(source),
            tokenizer_files.tokenizer_digest(source),
            [task.kind, task.metric, task.dev_fraction, task.split_seed, task.fallback_label],
            [config.extraction.max_length, config.extraction.word_pooling],
            settings,
            {split: repr(examples) for split, examples in dataset.splits.items()},
        ]
    )
    file, folder = workdir.result(FineTuningResult.name), workdir.finetuned

    def make() -> None:
        file.unlink(missing_ok=True)  # of other settings
        result = _train(dataset, config, workdir, source, identity)
        save_result(file, identity, result.to_json())
        shutil.rmtree(workdir.training, ignore_errors=True)

    artifact = Artifact(
        workdir.path, FineTuningResult.name, identity, [file, folder],
        lambda: workdir.kept(FineTuningResult, identity), "fine-tuning",
    )  # fmt: skip
    return get_or_make(artifact, make, "the encoder is fine-tuned again")


def studied(config: StudyConfig, workdir: Workdir) -> StudyConfig:
    """The configuration of what is studied: where it is fine-tuned, the encoder is the run's own."""
    if not config.finetune.enabled:
        return config
    return replace(config, encoder=replace(config.encoder, path=str(workdir.finetuned), n_layers=-1))


def encoder_name(config: StudyConfig, workdir: Workdir) -> str:
    """How results call the encoder that is studied."""
    if config.encoder.path != str(workdir.finetuned):
        return config.encoder.path
    before = (workdir.saved_config() or {}).get("encoder", {}).get("path", "")
    return f"{before} (fine-tuned)"


def require_text(config: StudyConfig) -> None:
    """Rejects fine-tuning where there is no text.

    Raises:
        UserError: activations come from elsewhere.
    """
    if source_kind(config):
        raise UserError(
            f"config.finetune needs a task's text, but config.source.{source_kind(config)} names activations: leave "
            "one of them out."
        )
    if config.encoder.n_layers != -1:
        raise UserError(
            f"config.encoder.n_layers={config.encoder.n_layers} cuts the encoder that is run; to fine-tune a cut one, "
            f"pass config.finetune.n_layers={config.encoder.n_layers} in its place."
        )


def _train(
    dataset: Dataset | WordDataset, config: StudyConfig, workdir: Workdir, source: Path, identity: str
) -> FineTuningResult:
    from jaxred.finetuning import training  # here, because Flax and optax take seconds to import
    from jaxred.finetuning.batches import Rows
    from jaxred.finetuning.checkpoints import Checkpoints
    from jaxred.finetuning.classifier import load_classifier
    from jaxred.finetuning.saving import save_finetuned
    from jaxred.finetuning.step import Trainer
    from jaxred.models.dropout import DropoutRates

    words = isinstance(dataset, WordDataset)
    labels = {split: _labels(dataset, split) for split in dataset.splits}
    classes = _classes(labels["train"], dataset.kind)
    task = training.Task(dataset.kind, config.task.metric, classes, config.extraction.word_pooling)
    classifier, rates = load_classifier(source, task.n_outputs, words, config.finetune.n_layers, config.finetune.seed)
    if not config.finetune.dropout:
        rates = DropoutRates()
    tokenizer = Tokenizer(source, classifier.encoder.config)
    max_length = min(config.extraction.max_length, tokenizer.longest)
    rows = {}
    for split in dataset.splits:
        texts = _texts(dataset, split)
        tokenizer.check_text(texts[0], f"the {split} split", max_length)
        tokens, of_words = _tokenized(tokenizer, dataset, split, max_length)
        rows[split] = Rows(tokens, _targets(split, labels, dataset.splits[split], of_words, classes, config), of_words)
    if "dev" not in rows:
        rows["train"], rows["dev"] = _held_out(rows["train"], config)
    trainer = Trainer(
        classifier, rates, config.finetune, task.kind, task.word_pooling,
        training.n_steps(rows["train"].n_sentences, config.finetune),
    )  # fmt: skip
    workdir.training.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(workdir.training / "checkpoints", identity, config.finetune.checkpoint_seconds)
    best = training.Best(workdir.training / "best.safetensors")
    outcome = training.train(trainer, tokenizer, task, rows["train"], rows["dev"], config.finetune, checkpoints, best)
    tuned = trainer.model(outcome.params)
    _write_folder(workdir.finetuned, lambda folder: save_finetuned(tuned, source, folder, task, words))
    test, ends = _test_score(trainer, outcome.params, tokenizer, task, rows.get("test"))
    stretches = np.array_split(np.asarray(outcome.losses), min(_STRETCHES, len(outcome.losses)))
    return FineTuningResult(
        task=recorded_task(config).name,
        kind=task.kind,
        metric=task.metric,
        classes=list(classes),
        encoder=config.encoder.path,
        n_layers=tuned.encoder.config.n_layers,
        n_parameters=sum(leaf.size for leaf in outcome.params.values()),
        n_rows={split: len(of_split) for split, of_split in rows.items()},
        n_steps=outcome.n_steps,
        loss_steps=np.cumsum([len(stretch) for stretch in stretches]).tolist(),
        losses=[float(np.mean(stretch)) for stretch in stretches],
        dev=outcome.dev,
        best_epoch=outcome.best_epoch,
        test=test,
        test_interval=ends,
        constant=_constant(task, {split: each.targets for split, each in rows.items()}),
    )


def rows_of_split(
    dataset: Dataset | WordDataset, split: str, config: StudyConfig, classes: Sequence[str], tokenizer: Tokenizer
) -> Any:
    """The tokenised rows of a split with their class ids or scores, as fine-tuning scores them.

    Args:
        dataset: the task's examples.
        split: its name.
        config: of the run.
        classes: by number; none for regression.
        tokenizer: of the encoder.
    """
    from jaxred.finetuning.batches import Rows

    max_length = min(config.extraction.max_length, tokenizer.longest)
    tokens, words = _tokenized(tokenizer, dataset, split, max_length)
    labels = {split: _labels(dataset, split)}
    return Rows(tokens, _targets(split, labels, dataset.splits[split], words, tuple(classes), config), words)


def _write_folder(folder: Path, write: Any) -> None:
    """A folder whole or not at all; an older one is replaced."""
    unfinished = None
    try:
        unfinished = unfinished_folder(folder)
        (unfinished / "new").mkdir()
        write(unfinished / "new")
        if folder.exists():
            os.replace(folder, unfinished / "old")
        os.replace(unfinished / "new", folder)
    except OSError as error:
        raise UserError(
            f"Cannot write the fine-tuned encoder to {folder} ({reason_of(error)}): make room, and run again."
        ) from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)


def _labels(dataset: Dataset | WordDataset, split: str) -> list[Any]:
    if isinstance(dataset, WordDataset):
        return [sentence.labels for sentence in dataset.splits[split]]
    return [example.label for example in dataset.splits[split]]


def classes_of(dataset: Dataset | WordDataset, split: str) -> tuple[str, ...]:
    """The classes of a split's labels, sorted; none of a regression."""
    return _classes(_labels(dataset, split), dataset.kind)


def _classes(labels: Sequence[Any], kind: str) -> tuple[str, ...]:
    if kind == "regression":
        return ()
    flat = (label for entry in labels for label in ([entry] if isinstance(entry, str) else entry))
    return tuple(sorted(set(flat)))


def _texts(dataset: Dataset | WordDataset, split: str) -> tuple[list[Any], list[str] | None]:
    if isinstance(dataset, WordDataset):
        return [sentence.words for sentence in dataset.splits[split]], None
    examples = dataset.splits[split]
    pairs = None if examples[0].pair is None else [example.pair or "" for example in examples]
    return [example.text for example in examples], pairs


def _tokenized(
    tokenizer: Tokenizer, dataset: Dataset | WordDataset, split: str, max_length: int
) -> tuple[TokenBatch, TokenizedWords | None]:
    texts, pairs = _texts(dataset, split)
    if isinstance(dataset, WordDataset):
        words = tokenizer.encode_words(texts, max_length)
        return words.tokens, words
    return tokenizer.encode(texts, pairs, max_length), None


def _targets(
    split: str,
    labels: dict[str, list[Any]],
    sentences: Any,
    words: TokenizedWords | None,
    classes: tuple[str, ...],
    config: StudyConfig,
) -> np.ndarray:
    of_rows = labels[split] if words is None else word_labels(words, sentences, split)
    if not classes:
        return np.asarray(of_rows, np.float32)
    fallback = config.task.fallback_label
    unseen_labels(split, of_rows, set(classes), fallback)
    return class_ids([label if label in classes else fallback for label in of_rows], classes)[0]


def _held_out(rows: Any, config: StudyConfig) -> tuple[Any, Any]:
    """Train and dev of the training rows: the same rows as those of the probes."""
    settings = config.task.dev_fraction, config.task.split_seed
    if rows.words is None:
        split = train_dev_split(len(rows), *settings)
        return tuple(rows.subset(part) for part in (split.train_idx, split.dev_idx))  # type: ignore[return-value]
    split = train_dev_split_of_words(rows.words.sentence_index, *settings)
    index = rows.words.sentence_index
    parts = (np.unique(index[part]) for part in (split.train_idx, split.dev_idx))
    return tuple(rows.subset(part) for part in parts)  # type: ignore[return-value]


def _test_score(
    trainer: Any, params: Any, tokenizer: Tokenizer, task: Any, rows: Any
) -> tuple[float | None, tuple[float, float] | None]:
    from jaxred.finetuning import training

    if rows is None:
        return None, None
    answers = training.answers(training.predict(trainer, params, tokenizer, rows), task.kind)
    n_classes = len(task.classes)
    sentences = None if rows.words is None else rows.words.sentence_index
    resamples = draw(len(answers), N_RESAMPLES["test"], sentences)
    draws = resampled_scores(task.metric, answers[:, None], rows.targets, n_classes, resamples)[:, 0]
    low, high = interval(draws)
    return score(task.metric, answers, rows.targets, n_classes or None), (low, high)


def _constant(task: Any, targets: dict[str, np.ndarray]) -> dict[str, float]:
    if task.kind == "regression":
        return {}
    n_classes = len(task.classes)
    answer = best_constant(task.metric, targets["dev"], n_classes, targets["train"])
    return {
        split: score(task.metric, np.full(len(of_split), answer), of_split, n_classes)
        for split, of_split in targets.items()
    }
