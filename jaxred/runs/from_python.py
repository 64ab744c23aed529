"""The first lines of a notebook: texts to activations, and texts and labels to a study."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from jaxred.activations.extract import extract, in_memory
from jaxred.activations.files.row_selection import UNLABELLED
from jaxred.activations.in_memory import HiddenStates, as_activations
from jaxred.activations.store import Store
from jaxred.config import AblationConfig, ClusteringConfig, EncoderConfig, ExtractionConfig, StudyConfig, source_kind
from jaxred.data.examples import Dataset, Example
from jaxred.data.labels import refuse_odd_labels
from jaxred.data.table import hold_out
from jaxred.data.table_values import class_of, score_of
from jaxred.errors import UserError
from jaxred.io.paths import is_url
from jaxred.runs.ablation import run_ablation
from jaxred.runs.run import Run
from jaxred.runs.sources import IN_MEMORY, OF_PYTHON, Arrays, Source, Texts, TextSource
from jaxred.runs.study import STAGES, STUDY, run_stages
from jaxred.runs.study import finetune as run_finetune
from jaxred.runs.workdir import Workdir
from jaxred.statistics.streaming import from_store
from jaxred.studies.layer_measures import layer_measures as measures_of
from jaxred.studies.layer_measures import pass_over
from jaxred.studies.redundancy import general_redundancy
from jaxred.studies.results import AblationResult, GeneralRedundancy, LayerMeasures
from jaxred.validation import validate

DEFAULT_MODEL = EncoderConfig().path

Labelled = tuple[Any, Any]  # texts or activations, and their labels


def study(
    texts: Any,
    labels: Any = None,
    model: Any = DEFAULT_MODEL,
    *,
    test: Any = None,
    dev: Any = None,
    kind: str = "classification",
    config: Any = None,
    stages: Any = STUDY,
    workdir: str | Path | None = None,
    overwrite: bool = False,
) -> Run:
    """Finds the layers and neurons of an encoder that a task needs.

    Args:
        texts: the training texts, or pairs of them; or activations [row, layer, neuron] (an array, `HiddenStates`, or a
            store), for which `model` is not used.
        labels: of the texts: names or numbers of classes, or scores. None: the labels of a store.
        model: a folder of a pretrained encoder, or the packaged default.
        test: test texts and their labels. None: `config.task.test_fraction` of the texts is held out.
        dev: the rows that layers and neurons are selected on. None: `config.task.dev_fraction` of the rest is held out.
        kind: classification or regression.
        config: all other settings; its task's name, kind and folder and its encoder's path are replaced.
        stages: of redundancy, layer_measures, pipeline, cluster_sweep and minimal_neurons.
        workdir: a folder in which the run keeps what it makes, so that a second call is instant and `open_run` opens
            it. None: a temporary one, which is removed with the run.
        overwrite: replace what another configuration left in the workdir.

    Returns:
        The run, with its results.

    Raises:
        UserError: the texts and labels do not fit together, a setting is impossible, or the model cannot be read.

    Example:
        >>> run = jaxred.study(texts, labels, test=(test_texts, test_labels), workdir="runs/mine")
        >>> run
        <Run mine of texts: 107 of 2,688 neurons (4.0%), from layers 0–4 of 0–6, keep 97.6% of the oracle's accuracy>
    """
    stages = (stages,) if isinstance(stages, str) else tuple(stages)
    if not stages or any(stage not in STAGES for stage in stages):
        raise UserError(f"stages={stages!r} is not possible: choose from {', '.join(STAGES)}.")
    settings, source = _settled(texts, labels, model, dev, test, kind, config)
    temporary = TemporaryDirectory(prefix="jaxred-") if workdir is None else None
    folder = str(workdir if temporary is None else Path(temporary.name) / "run")
    claimed: Workdir = run_stages(settings, folder, overwrite, tuple(stages), source)
    return Run(claimed, settings, temporary)


def finetune(
    texts: Any,
    labels: Any = None,
    model: Any = DEFAULT_MODEL,
    *,
    workdir: str | Path,
    test: Any = None,
    dev: Any = None,
    kind: str = "classification",
    config: Any = None,
    overwrite: bool = False,
) -> Run:
    """Fine-tunes an encoder with a head for classes or scores on a task.

    A call that was stopped resumes at the step that was last saved, and a second call of the same is instant.

    Args:
        texts: the training texts, or pairs of them.
        labels: of the texts: names or numbers of classes, or scores.
        model: a folder of a pretrained encoder, or the packaged default.
        workdir: a folder in which the run keeps what it makes; `run.finetuned` is the encoder in it.
        test: test texts and their labels. None: `config.task.test_fraction` of the texts is held out.
        dev: the texts on which the best epoch is chosen. None: `config.task.dev_fraction` of the rest is held out.
        kind: classification or regression.
        config: all other settings; `config.finetune` says how it is trained.
        overwrite: replace what another configuration left in the workdir.

    Raises:
        UserError: the texts and labels do not fit together, a setting is impossible, or the model cannot be read.

    Example:
        >>> tuned = jaxred.finetune(texts, labels, workdir="runs/tuned")
        >>> jaxred.study(texts, labels, model=tuned.finetuned)
    """
    settings, source = _settled(texts, labels, model, dev, test, kind, config)
    if not isinstance(source, TextSource):
        raise UserError("finetune takes texts, but here are activations, which cannot be trained: pass the texts.")
    claimed = run_finetune(settings, str(workdir), overwrite, source)
    return Run(claimed, replace(settings, finetune=replace(settings.finetune, enabled=True)))


def _settled(
    texts: Any, labels: Any, model: Any, dev: Any, test: Any, kind: str, config: Any
) -> tuple[StudyConfig, Source]:
    """The configuration and the source of what Python gave."""
    if not isinstance(model, str | Path):
        raise UserError(
            f"model is a {type(model).__name__}, but the folder of an encoder is expected; pass test texts and their "
            "labels as test=(texts, labels)."
        )
    if not isinstance(config, StudyConfig | None):
        raise UserError(
            f"config is a {type(config).__name__}, but a jaxred.StudyConfig is expected, such as "
            "StudyConfig(extraction=ExtractionConfig(pooling='mean'))."
        )
    settings = config or StudyConfig()
    metric = settings.task.metric
    if kind == "regression" and metric == "accuracy":  # which is the default of classification
        metric = "pearson"
    of_texts = _are_texts(texts)
    if source_kind(settings):
        raise UserError(
            f"config.source.{source_kind(settings)} names activations, but study takes those that it is given: leave "
            "it out, or pass the stores as `texts`."
        )
    task = replace(settings.task, name=OF_PYTHON if of_texts else IN_MEMORY, kind=kind, metric=metric, data_dir="")
    settings = replace(settings, task=task)
    if of_texts:
        settings = replace(settings, encoder=replace(settings.encoder, path=str(model)))
    validate(settings)
    held = {"dev": dev, "test": test}
    splits = {"train": (texts, labels)}
    splits |= {split: _pair(split, rows) for split, rows in held.items() if rows is not None}
    return settings, _texts(splits, settings) if of_texts else _activations(splits, settings)


def hidden_states(
    texts: Any,
    model: str | Path = DEFAULT_MODEL,
    *,
    pooling: str = "cls",
    max_length: int = 128,
    n_layers: int = -1,
    layers: Sequence[int] = (),
    dtype: str = "float32",
    store: str | Path | None = None,
    overwrite: bool = False,
) -> HiddenStates | Store:
    """Every layer's vector of each text.

    Args:
        texts: sentences, or pairs of them.
        model: a folder of a pretrained encoder, or the packaged default.
        pooling: the vector of a text: cls (where [CLS] or <cls> is; not of causal models), mean or max (over its
            tokens), or last (its last token).
        max_length: tokens that a text is truncated to, special ones included.
        n_layers: run only the first so many transformer layers; -1: all.
        layers: keep only these, from the embedding output (0) to the last one; by default all.
        dtype: the type that a store keeps: float32, bfloat16 or float16.
        store: a folder or URL to write a store to, for more texts than fit in memory; what an earlier call has written
            of the same texts and model is kept, or resumed.
        overwrite: replace a store of other texts or another model.

    Returns:
        The activations [row, layer, neuron] in memory; or the store, where one is named.

    Raises:
        UserError: there are no texts, a setting is impossible, or the model cannot be read.

    Example:
        >>> jaxred.hidden_states(["a fine film", "a bore"], pooling="mean")
        <HiddenStates: 2 rows x 7 layers x 384 neurons>
    """
    texts = _one_column(texts, "texts")
    _are_texts(texts)
    examples = _examples(texts, [UNLABELLED] * len(texts), "classification", "texts")
    extraction = ExtractionConfig(
        pooling=pooling, max_length=max_length, dtype=dtype if store else "float32", layers=tuple(layers)
    )
    encoder = EncoderConfig(path=str(model), n_layers=n_layers)
    config = StudyConfig(encoder=encoder, extraction=extraction)
    validate(config)
    if store is None:
        return in_memory(examples, encoder, extraction)
    place: str | Path = Path(store).parent
    name = Path(store).name
    if is_url(store):
        place, _, name = str(store).rstrip("/").rpartition("/")
    return extract(Dataset("texts", "classification", {name: examples}), config, place, overwrite)[name]


def ablate(run: Run, test: Any = None, config: AblationConfig | None = None) -> AblationResult:
    """What the model itself can do without: neurons and layers removed in its forward pass, its own head scored on
    test.

    Args:
        run: a run of an encoder that is fine-tuned on the task, with the stage minimal_neurons.
        test: the test texts and their labels, where Python gave the run's texts. None: those of the run's files.
        config: what takes a removed neuron's place, and how many are removed.

    Returns:
        The result, which is also kept in the run's folder, so that a second call is instant.

    Raises:
        UserError: the encoder has no head for the task, or the run has no minimal set of neurons.

    Example:
        >>> run = jaxred.study(texts, labels, test=test, config=config, stages=("pipeline", "minimal_neurons"))
        >>> jaxred.ablate(run, test=test).can_go[0]
        CanGo(order='weights', loss=1.0, share=0.1, interval=(0.05, 0.2))
    """
    settings = replace(run.config, ablation=config or run.config.ablation)
    validate(settings)
    source = None
    if test is not None:
        texts, labels = _pair("test", test)
        examples = _examples(texts, labels, settings.task.kind, "test")
        source = Texts(Dataset(settings.task.name, settings.task.kind, {"train": examples, "test": examples}))
    elif settings.task.name == OF_PYTHON:
        raise UserError("The texts of this run came from Python and are not kept: pass test=(texts, labels).")
    return run_ablation(settings, run.workdir, source)


def redundancy(activations: Any, clustering: ClusteringConfig | None = None) -> GeneralRedundancy:
    """General redundancy of activations: similarity of layers, clusters of neurons, outliers; no labels are needed.

    Args:
        activations: [row, layer, neuron]: an array, `HiddenStates`, a store or its path.
        clustering: how neurons are clustered.

    Raises:
        UserError: they are not activations, or have fewer than two rows.

    Example:
        >>> jaxred.redundancy(jaxred.hidden_states(texts)).cka[0]
    """
    settings = clustering or ClusteringConfig()
    validate(StudyConfig(clustering=settings))
    read = as_activations(activations)
    if read.n_rows < 2:
        raise UserError(f"Correlations need at least 2 rows of activations, but there is {read.n_rows}.")
    return general_redundancy(from_store(read), settings).result


def layer_measures(activations: Any) -> LayerMeasures:
    """Measures of layers without labels: Block Influence, angles, Procrustes, mutual kNN, ranks, intrinsic dimension.

    Args:
        activations: [row, layer, neuron]: an array, `HiddenStates`, or a store.

    Returns:
        The measures by layer and by pair of layers, each with that of two halves of the sentences.

    Raises:
        UserError: they are not activations, or have fewer than two rows.

    Example:
        >>> jaxred.layer_measures(jaxred.hidden_states(texts)).by_layer["block_influence"].whole
    """
    read = as_activations(activations)
    if read.n_rows < 2:
        raise UserError(f"Measures of layers need at least 2 rows of activations, but there is {read.n_rows}.")
    return measures_of(from_store(read), pass_over(read))


def _pair(split: str, given: Any) -> Labelled:
    """A split's rows and their labels."""
    if not isinstance(given, tuple | list) or len(given) != 2 or isinstance(given[0], str):
        raise UserError(f"{split} is a {type(given).__name__}, but a pair is expected: {split}=(texts, labels).")
    return given[0], given[1]


def _one_column(given: Any, name: str) -> Any:
    """A data frame's only column; what is no data frame as it is."""
    columns = getattr(given, "columns", None)
    if columns is None:
        return given
    if len(columns) != 1:
        raise UserError(f"{name} is a data frame of {len(columns)} columns: pass one of them, as in frame['text'].")
    return given[columns[0]]


def _are_texts(given: Any) -> bool:
    if isinstance(given, Store | HiddenStates):
        return False
    if isinstance(given, np.ndarray) and np.issubdtype(given.dtype, np.number):
        return False
    if isinstance(given, str):
        raise UserError(f"texts is one text, {given[:40]!r}, but a list of them is expected: pass [text].")
    return True


def _texts(given: dict[str, Labelled], config: StudyConfig) -> Source:
    """The texts of every split, with test held out of train where it is not given."""
    kind = config.task.kind
    splits = {split: _examples(texts, labels, kind, split) for split, (texts, labels) in given.items()}
    if "test" not in splits:
        splits["train"], splits["test"] = hold_out(splits["train"], config.task.test_fraction, config.task.split_seed)
    refuse_odd_labels((row.label for rows in splits.values() for row in rows), "The labels")
    _refuse_one_label([row.label for row in splits["train"]])
    return Texts(Dataset(OF_PYTHON, kind, splits))


def _activations(given: dict[str, Labelled], config: StudyConfig) -> Source:
    splits = {}
    for split, (rows, labels) in given.items():
        states = as_activations(rows)
        if labels is None and isinstance(states, Store):
            labels = states.labels()
        states = states if isinstance(states, HiddenStates) else HiddenStates(np.asarray(states))
        splits[split] = states, _labels(labels, len(states), config.task.kind, split)
    if "test" not in splits:
        states, labels = splits["train"]
        rows = [Example(str(row), None, label) for row, label in enumerate(labels)]
        for split, part in zip(
            ("train", "test"), hold_out(rows, config.task.test_fraction, config.task.split_seed), strict=True
        ):
            splits[split] = HiddenStates(states[[int(row.text) for row in part]]), [row.label for row in part]
    _refuse_one_label(splits["train"][1])
    return Arrays(splits)


def _examples(texts: Any, labels: Any, kind: str, split: str) -> list[Example]:
    rows = list(_one_column(texts, split))
    if not rows:
        raise UserError(f"{split} has no texts: pass at least one.")
    names = _labels(labels, len(rows), kind, split)
    pairs = isinstance(rows[0], tuple | list)
    examples = []
    for number, (row, label) in enumerate(zip(rows, names, strict=True), 1):
        parts = list(row) if pairs and isinstance(row, Sequence) and not isinstance(row, str) else [row]
        if len(parts) != 1 + pairs or not all(isinstance(part, str) and part.strip() for part in parts):
            expected = "two texts are" if pairs else "a text is"
            raise UserError(f"{split}, row {number}, is {str(row)[:60]!r}, but {expected} expected: leave it out.")
        examples.append(Example(parts[0], parts[1] if pairs else None, label))
    return examples


def _labels(labels: Any, n_rows: int, kind: str, split: str) -> list[Any]:
    """Labels as class names, or as scores."""
    if labels is None:
        raise UserError(f"{split} has no labels: pass one for each row.")
    labels = _one_column(labels, f"the labels of {split}")
    values = [value.item() if isinstance(value, np.generic) else value for value in list(labels)]
    if len(values) != n_rows:
        raise UserError(f"{split} has {n_rows} rows and {len(values)} labels: pass one for each row.")
    read = score_of if kind == "regression" else class_of
    return [read(value, f"{split}, row {number}") for number, value in enumerate(values, 1)]


def _refuse_one_label(labels: Sequence[Any]) -> None:
    if len(set(labels)) == 1:
        raise UserError(
            f"All {len(labels)} training rows have the label {labels[0]!r}, but at least two are needed to learn "
            "anything: check the labels."
        )
