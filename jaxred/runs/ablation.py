"""The stage that removes neurons and layers inside a model, and scores its own head on test."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxred.activations.store import Store
from jaxred.config import RANKINGS, RANKINGS_OF_CLASSES, StudyConfig, recorded_task, to_dict
from jaxred.data.examples import Dataset, WordDataset
from jaxred.errors import UserError
from jaxred.io.artifacts import Artifact, get_or_make
from jaxred.io.result_files import fingerprint, save_result
from jaxred.models import pretrained
from jaxred.models.tokenization import Tokenizer
from jaxred.probing import rankings
from jaxred.probing.features import SPLITS, load_features
from jaxred.runs.finetuning import classes_of, encoder_name, rows_of_split, studied
from jaxred.runs.kept_moments import training_moments
from jaxred.runs.sources import Source, TextSource, source_of
from jaxred.runs.workdir import Workdir
from jaxred.studies.results import AblationResult, FineTuningResult, LayerMeasures, MinimalNeuronsResult, ProbeAt

if TYPE_CHECKING:
    from jaxred.ablation.study import TestRows

PERPLEXITY = "perplexity"  # of `config.ablation.score`


def run_ablation(config: StudyConfig, workdir: Workdir, source: Source | None = None) -> AblationResult:
    """results/ablation.json, of a run whose encoder has its own head and which has a minimal set out of all neurons.

    Args:
        config: of the run.
        workdir: of the run.
        source: of its text; by default what the configuration names.

    Raises:
        UserError: the encoder has no head for the task, the set is missing, or there is no text.
    """
    source = source or source_of(config)
    if not isinstance(source, TextSource):
        raise UserError("Ablation runs the model on a task's text, and this run's activations were made elsewhere.")
    found = workdir.find_with_identity(MinimalNeuronsResult)
    if found is None:
        raise UserError(f"{workdir.path} has no minimal set of neurons: run jaxred minimal-neurons first.")
    dataset = source.load(config)
    if config.ablation.score == PERPLEXITY:
        folder, classes = pretrained.resolve(studied(config, workdir).encoder.path), ()
    else:
        folder, classes = model_with_head(config, workdir, dataset)
    decided_by = found[1], pretrained.weights_digest(folder), to_dict(config.ablation), _layer_orders(workdir)
    identity = fingerprint([AblationResult.name, *decided_by])
    file = workdir.result(AblationResult.name)
    artifact = Artifact(
        workdir.path, AblationResult.name, identity, [file], lambda: workdir.kept(AblationResult, identity), "ablation"
    )

    def make() -> None:
        save_result(file, identity, _measured(config, workdir, dataset, folder, classes, found[0]).to_json())

    return get_or_make(artifact, make, "the model is ablated again")


def model_with_head(
    config: StudyConfig, workdir: Workdir, dataset: Dataset | WordDataset
) -> tuple[Path, tuple[str, ...]]:
    """The folder of a model with its task's head, and the classes of its outputs, none of a regression.

    Raises:
        UserError: the encoder that is studied has no head, or one for other classes.
    """
    tuned = workdir.find(FineTuningResult) if config.finetune.enabled else None
    if tuned is not None:
        return workdir.finetuned, tuple(tuned.classes)
    folder = pretrained.resolve(config.encoder.path)
    named: Mapping[str, str] = pretrained.read_config(folder).get("id2label") or {}
    names = tuple(str(named[key]) for key in sorted(named, key=int))
    wanted = classes_of(dataset, "train")
    if (len(names) == 1) if not wanted else (set(names) == set(wanted)):
        return folder, names if wanted else ()
    raise UserError(
        "Ablation scores the model's own head, and the one that "
        f"{folder / pretrained.CONFIG} names has the classes {', '.join(names) or 'of no task'}, where the task has "
        f"{', '.join(wanted) or 'scores'}: pass config.finetune.enabled=True, or an encoder that is fine-tuned on it."
    )


def _measured(
    config: StudyConfig,
    workdir: Workdir,
    dataset: Dataset | WordDataset,
    folder: Path,
    classes: tuple[str, ...],
    found: MinimalNeuronsResult,
) -> AblationResult:
    from jaxred.ablation.forward import Ablation  # here, because Flax takes seconds to import
    from jaxred.ablation.study import ablate

    settings = config.ablation
    model, test = _model_and_rows(config, dataset, folder, classes, found.task.name)
    n_layers, hidden_size = found.n_layers, found.hidden_size
    own = studied(config, workdir)
    means = None
    if settings.value == "mean":
        stores = {split: Store(workdir.activations(split)) for split in SPLITS if workdir.has_activations(split)}
        means = training_moments(stores, own, workdir).mean.reshape(n_layers, hidden_size)
    ablation = Ablation(model, settings.value, means, config.extraction.word_pooling)
    minimal = np.array([layer * hidden_size + index for layer, index in found.minimal_neurons], np.int64)
    return ablate(
        ablation,
        test,
        _orders(found, config, workdir),
        _layer_orders(workdir),
        minimal if found.finding else None,
        settings.shares,
        settings.n_draws,
        settings.seed,
        _probe_curve(found),
        encoder_name(own, workdir),
    )


def _model_and_rows(
    config: StudyConfig, dataset: Dataset | WordDataset, folder: Path, classes: tuple[str, ...], task: str
) -> tuple[Any, "TestRows"]:
    """The model with its head, or the language model, and the test rows that it is scored on."""
    from jaxred.ablation.batches import batches_of, token_batches
    from jaxred.ablation.language import load_language_model
    from jaxred.ablation.study import TestRows
    from jaxred.finetuning.classifier import load_classifier

    settings = config.ablation
    of_language = settings.score == PERPLEXITY
    if of_language:
        model: Any = load_language_model(folder)
    else:
        words = isinstance(dataset, WordDataset)
        model, _ = load_classifier(folder, len(classes) or 1, words, fine_tuned=True)
    tokenizer = Tokenizer(folder, model.encoder.config)
    named = classes or classes_of(dataset, "test")
    rows: Any = rows_of_split(dataset, "test", config, named if of_language else classes, tokenizer)
    if settings.limit_rows != -1:
        rows = rows.subset(np.arange(min(settings.limit_rows, rows.n_sentences)))
    if of_language:
        batches, following, texts = token_batches(rows.tokens, tokenizer, seed=settings.seed)
        return model, TestRows(batches, following, 0, PERPLEXITY, task, texts)
    sentences = None if rows.words is None else rows.words.sentence_index
    batches = batches_of(rows, tokenizer, seed=settings.seed)
    return model, TestRows(batches, rows.targets, len(classes), config.task.metric, task, sentences)


def _orders(found: MinimalNeuronsResult, config: StudyConfig, workdir: Workdir) -> dict[str, np.ndarray]:
    """Neurons in the order in which they go: the last of each ranking first."""
    own = np.asarray(found.ranking, np.int64)
    stores = {split: Store(workdir.activations(split)) for split in SPLITS if workdir.has_activations(split)}
    features = load_features(stores, recorded_task(config), config.probe, workdir.scratch)
    names = [name for name in RANKINGS if features.classes or name not in RANKINGS_OF_CLASSES]
    others = {
        name: rankings.order(features, name, config.probe.seed)[::-1]
        for name in names
        if name not in (rankings.WEIGHTS, "random")
    }
    return {f"{config.selection.ranking}": own[::-1], **others, f"{config.selection.ranking}, best first": own}


def _layer_orders(workdir: Workdir) -> dict[str, list[int]]:
    """Layers in the order in which measures without labels would drop them, where these were computed."""
    measures = workdir.find(LayerMeasures)
    wanted = ("block_influence_of_tokens", "angular_distance")
    orders = [] if measures is None else [order for order in measures.orders if order.measure in wanted]
    return {order.measure.replace("_", " "): order.layers for order in orders}


def _probe_curve(found: MinimalNeuronsResult) -> list[ProbeAt]:
    """The probes on the first neurons of the ranking, and that on all."""
    tried = {**found.sizes, found.n_candidates: found.oracle}
    return [
        ProbeAt(1 - size / found.n_candidates, scores.overall("test"), scores.interval)
        for size, scores in sorted(tried.items())
    ]
