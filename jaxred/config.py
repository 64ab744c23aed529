"""The typed configuration of a run; `jaxred.validation` rejects values that cannot be. The text below a field is its
documentation, which `jaxred study --help` prints.

Every command takes the same `StudyConfig`, so that the parts of a study (extraction, pipeline, redundancy, report)
agree on what they work on. Any field can be given on the command line: `--config.probe.l1=1e-4`,
`--config.selection.deltas='((1,1),)'`.
"""

import dataclasses
import difflib
from dataclasses import dataclass, field, is_dataclass
from typing import Any, get_type_hints

from jaxred.errors import UserError

DTYPES = ("float32", "bfloat16", "float16")
POOLINGS = ("cls", "mean", "last", "max")
WORD_POOLINGS = ("last", "first", "average")
METRICS = (
    "accuracy", "f1", "accuracy_and_f1", "matthews_corrcoef", "pearson", "spearman", "pearson_and_spearman",
)  # fmt: skip
ABLATION_SCORES = ("head", "perplexity")
ABLATION_VALUES = ("zero", "mean", "resample")
RANKINGS = ("weights", "probeless", "gaussian", "average_precision", "variance", "random")  # of probing/rankings.py
RANKINGS_OF_CLASSES = ("probeless", "gaussian", "average_precision")  # which scores have not
RULES = ("delta", "one_standard_error")  # of studies/selection.py
REPRESENTATIVES = ("random", "medoid", "lowest_layer", "highest_variance")
REGRESSION_METRICS = ("pearson", "spearman", "pearson_and_spearman")
SOURCES = {  # the fields of `source`, and what each names
    "stores": "the folder of stores",
    "original": "the experiment file",
    "tasks": "the workdirs of finished runs",
    "models": "the workdirs of two finished runs",
}


@dataclass(unsafe_hash=True)
class TaskConfig:
    """What is classified, and which of its examples are used."""

    name: str = "movie_reviews"
    """The task: movie_reviews (built in), a GLUE task (sst2, ...), table, parallel, or a task of labelled words
    (configs/labeling.py). Empty: no text is read, but what a field of `source` names."""
    kind: str = "classification"
    """classification or regression."""
    data_dir: str = ""
    """The folder with the task's files; for table also a single file. movie_reviews does not use it."""
    metric: str = "accuracy"
    """The score by which layers and neurons are selected: accuracy, f1, accuracy_and_f1, matthews_corrcoef; for
    regression pearson, spearman, pearson_and_spearman."""
    limit_instances: int = -1
    """Use only so many training examples, sampled in proportion to the classes; of labelled words the first so many,
    cut at the end of a sentence. -1: all."""
    dev_fraction: float = 0.1
    """The share of train that is held out as dev, where the task has no dev file of its own."""
    test_fraction: float = 0.2
    """Task table: the share that is held out as test, where there is one file alone."""
    split_seed: int = 7361
    """The seed of these splits; the default is the original's."""
    fallback_label: str = ""
    """The training label as which test labels count that train does not have. Empty: such rows are an error."""
    max_sent_l: int = 1000
    """Labelled words: sentences of more words are left out."""
    ignore_start_token: bool = False
    """Labelled words: leave out the first word of every sentence, such as its number."""
    label_column: str = ""
    """Tables and labelled words: the column of the labels, by name or counted from 1. Empty: the task's own."""
    text_column: str = ""
    """Task table: the column of the text, or of a pair's first text. Empty: found by its name."""
    text_pair_column: str = ""
    """Task table: the column of a pair's second text. Empty: found by its name, or none."""
    train_split: str = ""
    """Task table: the file or split that is train. Empty: train."""
    dev_split: str = ""
    """Task table: the same for dev. Empty: dev, validation, valid or val, where there is one."""
    test_split: str = ""
    """Task table: the same for test, such as validation where test has no labels. Empty: test."""
    word_column: int = 1
    """Task columns: the column of the words, counted from 1."""
    separator: str = "whitespace"
    """Task columns: whitespace (spaces and tabs), tab, or the text between two columns."""
    comment: str = ""
    """Task columns: lines that start with this text are skipped."""


@dataclass(unsafe_hash=True)
class SourceConfig:
    """Where activations come from that are not made of a task's text: one of these fields, and an empty task.name."""

    stores: str = ""
    """A folder of activation stores: train, test and, if there is one, dev (configs/stores.py)."""
    original: str = ""
    """An experiment file of the original (configs/original.py)."""
    tasks: tuple[str, ...] = ()
    """Workdirs of finished runs, whose tasks are put together (configs/tasks.py); a sweep stands for all of its
    runs."""
    models: tuple[str, ...] = ()
    """Workdirs of two finished runs, whose models are compared on the same rows (configs/models.py)."""


@dataclass(unsafe_hash=True)
class EncoderConfig:
    """The pretrained encoder whose redundancy is measured."""

    path: str = "all-MiniLM-L6-v2"
    """A Hugging Face folder of a supported architecture (docs/encoders.md), or a name: all-MiniLM-L6-v2 (the `demo`
    extra) or all-mpnet-base-v2 (`jaxred install-model`)."""
    n_layers: int = -1
    """Run only the first so many transformer layers. -1: all."""
    compute_dtype: str = "float32"
    """float32 (true float32 products) or bfloat16."""


@dataclass(unsafe_hash=True)
class FinetuneConfig:
    """How an encoder is fine-tuned on the task before its redundancy is measured; the defaults are the original's."""

    enabled: bool = False
    """Study the encoder that is fine-tuned on the task, next to the one at encoder.path. `jaxred finetune` does not
    look at it."""
    n_layers: int = -1
    """Fine-tune only the first so many transformer layers. -1: all."""
    epochs: int = 3
    """Passes over the training examples; the weights after the one that is best on dev are kept."""
    batch_size: int = 8
    """Sentences per step."""
    accumulation: int = 1
    """Compute a step's sentences in so many parts, one after the other, which takes less memory and changes only the
    dropout."""
    learning_rate: float = 5e-5
    """AdamW's rate at its highest; it then falls to 0 in a straight line."""
    warmup_fraction: float = 0.0
    """The share of the steps in which the rate rises to its highest."""
    epsilon: float = 1e-8
    """AdamW's epsilon."""
    weight_decay: float = 0.0
    """AdamW's decay, of all parameters but biases and norms."""
    clip_norm: float = 1.0
    """Gradients of a larger norm are scaled down to it. 0: they are not."""
    dropout: bool = True
    """Drop values at the rates that the model's config.json names."""
    group_by_length: bool = True
    """Sentences of similar lengths come in one batch, which computes less padding."""
    seed: int = 42
    """The seed of the head's weights, the order of the examples, and the dropout."""
    compute_dtype: str = "float32"
    """The type of products: float32 or bfloat16; the weights are kept in float32."""
    checkpoint_seconds: int = 120
    """Save the state of training when so much time has passed since the last time; a killed run resumes there."""


@dataclass(unsafe_hash=True)
class ExtractionConfig:
    """How text becomes rows of activations."""

    pooling: str = "cls"
    """The sentence vector: cls (the position of [CLS] or <cls>; not of causal models), mean or max (over all real
    tokens), or last (the last real token)."""
    word_pooling: str = "last"
    """Labelled words: the vector of a word is that of its last or first sub-word, or their average: last, first,
    average."""
    max_length: int = 128
    """The number of tokens to which a sentence or pair is truncated, special tokens included."""
    dtype: str = "float32"
    """The stored type: float32, bfloat16 or float16."""
    token_budget: int = 0
    """Tokens per batch, padding included. 0: 512 for each core of a CPU, 65,536 on an accelerator."""
    window_rows: int = 4096
    """Rows that are written and committed together; a killed run resumes at the next window."""
    layers: tuple[int, ...] = ()
    """Keep only these layers, from the embedding output (0) to the last one, which `jaxred extract` and Python do; the
    studies compare all. Empty: all layers."""
    store: str = ""
    """Where the activations go: a folder, or a URL such as s3://bucket/run or gs://bucket/run. Empty: the workdir,
    where all else is."""


@dataclass(unsafe_hash=True)
class ProbeConfig:
    """A linear elastic-net probe: mean loss + l1 * sum|W| + l2 * ||W||_F, trained by Adam with the original's defaults.

    With the solver fista, which goes to the optimum, learning_rate, epochs, shuffle and seed have no effect.
    """

    l1: float = 1e-5
    """The weight of the sum of absolute weights."""
    l2: float = 1e-5
    """The weight of the Frobenius norm, which is not squared unless squared_l2."""
    squared_l2: bool = False
    """Penalise ||W||_F^2 instead of ||W||_F."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    epochs: int = 10
    """Passes over the training rows."""
    batch_size: int = 128
    """Rows per step; the last, shorter batch of an epoch is used too."""
    shuffle: bool = False
    """Draw a new order of the rows every epoch; the original keeps the order of the data."""
    standardize: bool = False
    """Scale each neuron to mean 0 and variance 1 on the training rows."""
    seed: int = 42
    """The seed of the initial weights and of shuffling."""
    solver: str = "adam"
    """adam (the original's epochs) or fista (proximal gradient to the optimum, with exact zeros)."""
    tolerance: float = 1e-4
    """fista: the residual at which a probe counts as being at its optimum, relative to the loss of the best constant
    answer."""
    max_iterations: int = 1000
    """fista: the largest number of steps, each of which is a pass over the training rows."""


@dataclass(unsafe_hash=True)
class ClusteringConfig:
    """Correlation clustering of neurons, and which neuron stands for a cluster."""

    thresholds: tuple[float, ...] = (-1.0, 0.3)
    """The thresholds on the distance that CCFS tries. -1: no clustering."""
    sweep_thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """The thresholds of the cluster sweep."""
    window_threshold: float = 0.3
    """The threshold at which the windows of clusters are counted."""
    distance: str = "absolute"
    """absolute: 1 - |r|; signed: 1 - r."""
    linkage: str = "average"
    """average, as in the paper; complete or single."""
    representative: str = "random"
    """The neuron that stands for its cluster: random (by the seed), medoid, lowest_layer, or highest_variance."""
    seed: int = 42
    """The seed of the random representatives."""


@dataclass(unsafe_hash=True)
class SelectionConfig:
    """How much of the score may be given up for fewer layers and fewer neurons."""

    deltas: tuple[tuple[float, float], ...] = ((3.0, 1.0), (2.0, 1.0), (1.0, 1.0))
    """Pairs (layers, neurons) of what may be given up, in percent of the score."""
    minimal_delta: float = 1.0
    """What the minimal set out of all neurons may give up, in percent of the score."""
    fractions: tuple[float, ...] = ()
    """The sizes of neuron sets to try, as shares of all neurons. Empty: the original's, which depend on the study."""
    rule: str = "delta"
    """delta: the paper's, by what may be given up; one_standard_error: the smallest set whose dev score is within one
    standard error of the reference's, whatever the deltas."""
    ranking: str = "weights"
    """The order in which neurons are tried: weights (of a probe on the candidates, as the original), probeless,
    gaussian, average_precision, variance, or random (docs/rankings.md)."""
    search: str = "auto"
    """full: train every size; early: train in waves until a size is accepted; auto: early where training is
    expensive."""


@dataclass(unsafe_hash=True)
class AblationConfig:
    """What `jaxred ablation` removes inside the model's forward pass (docs/ablation.md)."""

    score: str = "head"
    """What is measured on the test text: the score of the model's own head, or, of causal models, the perplexity."""
    value: str = "zero"
    """What takes a removed neuron's place: zero, mean (over the training rows), or resample (another row's value)."""
    shares: tuple[float, ...] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
    """The shares of all neurons that are removed by each order."""
    n_draws: int = 5
    """Random orders, and random sets of the minimal set's size."""
    seed: int = 0
    """The seed of the random orders, and of which other row a value is taken from."""
    limit_rows: int = -1
    """Score only so many test sentences, the first. -1: all."""


@dataclass(unsafe_hash=True)
class ControlsConfig:
    """Control tasks, code lengths and usable information next to the pipeline's scores (docs/controls.md)."""

    enabled: bool = False
    """Run the controls after the pipeline. jaxred controls runs them in any case."""
    seed: int = 42
    """The seed of the control tasks' labels, and of the order of the rows in codes where dev has its own file."""


@dataclass(unsafe_hash=True)
class StudyConfig:
    """A whole study, from text to report."""

    task: TaskConfig = field(default_factory=TaskConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    extraction: ExtractionConfig = field(default_factory=ExtractionConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    clustering: ClusteringConfig = field(default_factory=ClusteringConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    source: SourceConfig = field(default_factory=SourceConfig)
    controls: ControlsConfig = field(default_factory=ControlsConfig)
    repeats: int = 1
    """Run the studies so many times, each time with another dev split, other initial weights and other
    representatives."""
    repeat_split: bool = True
    """Repeats draw dev from train again, where dev has no file. False: all repeats use one split."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    ablation: AblationConfig = field(default_factory=AblationConfig)
    measure_speed: bool = False
    """Also measure how much faster the smallest set that is a finding is computed and trained than the whole."""


def source_kind(config: StudyConfig) -> str:
    """The field of `config.source` that is given; empty where a task's text is read."""
    return next((each.name for each in dataclasses.fields(SourceConfig) if getattr(config.source, each.name)), "")


def recorded_task(config: StudyConfig) -> TaskConfig:
    """The task as results name it, and as it enters their identity.

    Where no text is read, its name is the kind of the source, and its folder the file or folder that the source names.
    """
    kind = source_kind(config)
    if not kind:
        return config.task
    named = getattr(config.source, kind)
    return dataclasses.replace(config.task, name=kind, data_dir=named if isinstance(named, str) else ",".join(named))


def workdirs_of(text: str) -> tuple[str, ...]:
    """The folders that a text names, with commas between them."""
    return tuple(folder.strip() for folder in text.split(",") if folder.strip())


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON values; tuples become lists."""
    return {
        name: to_dict(value) if dataclasses.is_dataclass(value) else _plain(value)
        for name, value in ((f.name, getattr(config, f.name)) for f in dataclasses.fields(config))
    }


def from_dict(content: dict[str, Any]) -> StudyConfig:
    """The configuration from which `to_dict` made this content. A field that an older version did not save has its
    default, and a source that it saved as a task is a source.

    Raises:
        UserError: a field is not known.
    """
    config, values = StudyConfig(), {}
    content = _with_source(content)
    for name, value in content.items():
        section = getattr(config, name, None)
        fields = value if isinstance(value, dict) else {}
        unknown = [f"{name}.{inner}" for inner in fields if not hasattr(section, inner)]
        if section is None or unknown or dataclasses.is_dataclass(section) != isinstance(value, dict):
            raise UserError(f"config.{(unknown or [name])[0]} is not known: it was saved by another version of jaxred.")
        inner = {field: _tuples(saved) for field, saved in fields.items()}
        values[name] = dataclasses.replace(section, **inner) if isinstance(value, dict) else value
    return dataclasses.replace(config, **values)


def _with_source(content: dict[str, Any]) -> dict[str, Any]:
    """The content as it is saved now: older versions had the source in `task`, as its name and folder."""
    task = content.get("task")
    if "source" in content or not isinstance(task, dict) or task.get("name") not in SOURCES:
        return content
    named = str(task.get("data_dir", ""))
    source = {task["name"]: named if isinstance(getattr(SourceConfig(), task["name"]), str) else workdirs_of(named)}
    return {**content, "task": {**task, "name": "", "data_dir": ""}, "source": source}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Fields whose values differ between two configurations, as 'probe.l1 was 1e-05 and is now 0.1'."""
    changes = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            changes += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            changes.append(f"{prefix}{name} was {before!r} and is now {after!r}")
    return changes


def unknown_field(path: str) -> str:
    """What is wrong with the name of a field, such as task.nme, and what may be meant; empty if the field exists."""
    kind, parent = StudyConfig, "config"
    for name in path.split("."):
        if not is_dataclass(kind):
            return f"{parent} has no fields"
        types = get_type_hints(kind)
        if name not in types:
            near = difflib.get_close_matches(name, types, 1)
            return f"{parent} has no field {name!r}: " + (
                f"did you mean {near[0]}?" if near else f"it has {', '.join(types)}"
            )
        kind, parent = types[name], f"{parent}.{name}"
    return ""
