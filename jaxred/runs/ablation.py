"""The stage that removes neurons and layers inside the fine-tuned model, and scores its own head on test."""

from typing import Any

import numpy as np

from jaxred.activations.store import Store
from jaxred.config import StudyConfig, to_dict
from jaxred.data.examples import WordDataset
from jaxred.errors import UserError
from jaxred.io.artifacts import Artifact, get_or_make
from jaxred.io.result_files import fingerprint, save_result
from jaxred.models import pretrained
from jaxred.models.tokenization import Tokenizer
from jaxred.runs.finetuning import rows_of_split, studied
from jaxred.runs.kept_moments import training_moments
from jaxred.runs.sources import TextSource, source_of
from jaxred.runs.workdir import Workdir
from jaxred.studies.results import AblationResult, FineTuningResult, MinimalNeuronsResult


def run_ablation(config: StudyConfig, workdir: Workdir) -> AblationResult:
    """results/ablation.json, of a run that has a fine-tuned encoder and a minimal set out of all neurons.

    Args:
        config: of the run.
        workdir: of the run.

    Raises:
        UserError: the encoder is not fine-tuned, the set is missing, or there are no test labels.
    """
    tuned, found = workdir.find_with_identity(FineTuningResult), workdir.find_with_identity(MinimalNeuronsResult)
    if tuned is None or not config.finetune.enabled:
        raise UserError(
            "Ablation scores the model's own head, and this run's encoder is not fine-tuned: pass "
            "config.finetune.enabled=True."
        )
    if found is None:
        raise UserError(f"{workdir.path} has no minimal set of neurons: run jaxred minimal-neurons first.")
    weights = pretrained.weights_digest(workdir.finetuned)
    identity = fingerprint([AblationResult.name, tuned[1], found[1], weights, to_dict(config.ablation)])
    file = workdir.result(AblationResult.name)
    artifact = Artifact(
        workdir.path, AblationResult.name, identity, [file], lambda: workdir.kept(AblationResult, identity), "ablation"
    )

    def make() -> None:
        save_result(file, identity, _measured(config, workdir, tuned[0], found[0]).to_json())

    return get_or_make(artifact, make, "the model is ablated again")


def _measured(
    config: StudyConfig, workdir: Workdir, tuned: FineTuningResult, found: MinimalNeuronsResult
) -> AblationResult:
    from jaxred.ablation.batches import batches_of  # here, because Flax takes seconds to import
    from jaxred.ablation.forward import Ablation
    from jaxred.ablation.study import TestRows, ablate
    from jaxred.finetuning.classifier import load_classifier

    source, settings = source_of(config), config.ablation
    assert isinstance(source, TextSource), "fine-tuning was rejected without text"
    dataset = source.load(config)
    words = isinstance(dataset, WordDataset)
    model, _ = load_classifier(workdir.finetuned, len(tuned.classes) or 1, words, fine_tuned=True)
    tokenizer = Tokenizer(workdir.finetuned, model.encoder.config)
    rows: Any = rows_of_split(dataset, "test", config, tuned.classes, tokenizer)
    if settings.limit_rows != -1:
        rows = rows.subset(np.arange(min(settings.limit_rows, rows.n_sentences)))
    shape = model.encoder.config.n_layers + 1, model.encoder.config.hidden_size
    means = None
    if settings.value == "mean":
        stores = {"train": Store(workdir.activations("train"))}
        means = training_moments(stores, studied(config, workdir), workdir).mean.reshape(shape)
    ablation = Ablation(model, settings.value, means, config.extraction.word_pooling)
    ranking = np.asarray(found.ranking)
    minimal = np.array([layer * shape[1] + index for layer, index in found.minimal_neurons], np.int64)
    test = TestRows(
        batches_of(rows, tokenizer, seed=settings.seed),
        rows.targets,
        len(tuned.classes),
        tuned.metric,
        tuned.task,
        None if rows.words is None else rows.words.sentence_index,
    )
    orders = {"least salient first": ranking[::-1], "most salient first": ranking}
    chosen = minimal if found.finding else None
    return ablate(ablation, test, orders, None, chosen, settings.shares, settings.n_draws, settings.seed)
