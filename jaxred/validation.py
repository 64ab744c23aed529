"""Which values the configuration may have: unknown, impossible and contradictory ones are rejected at the edge."""

import numbers
from typing import Any

from jaxred.config import (
    ABLATION_SCORES,
    ABLATION_VALUES,
    DTYPES,
    METRICS,
    POOLINGS,
    RANKINGS,
    RANKINGS_OF_CLASSES,
    REGRESSION_METRICS,
    REPRESENTATIVES,
    RULES,
    SOURCES,
    WORD_POOLINGS,
    AblationConfig,
    FinetuneConfig,
    ProbeConfig,
    StudyConfig,
    source_kind,
)
from jaxred.errors import UserError

# Values beyond these are typing mistakes: they would end in numbers that are not finite, exhaust the memory, or never
# end.
LARGEST_PENALTY, LARGEST_RATE = 10_000, 10.0
MOST_EPOCHS, MOST_ITERATIONS = 100_000, 1_000_000
MOST_ROWS, MOST_WINDOW = 2**31 - 1, 2**20  # of a batch or a sample, and of a window
MOST_TOKENS, MOST_PADDED_TOKENS = 2**17, 2**24  # of a sentence, and of a batch
MOST_LAYERS, MOST_COLUMNS = 10_000, 1_000_000

STORE_URLS = ("s3://", "gs://", "file://")  # of storages that activations can be written to


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


def validate_finetuning(finetune: FinetuneConfig) -> None:
    """Rejects impossible values of how an encoder is fine-tuned.

    Raises:
        UserError: naming the field, the value found and the values allowed.
    """
    _whole("finetune.n_layers", finetune.n_layers, -1, MOST_LAYERS, "-1 (all layers) or the number of layers to train")
    _whole("finetune.epochs", finetune.epochs, 1, MOST_EPOCHS)
    _whole("finetune.batch_size", finetune.batch_size, 1, MOST_ROWS, "at least 1 sentence")
    most = finetune.batch_size
    _whole("finetune.accumulation", finetune.accumulation, 1, most, f"at least 1 and at most batch_size={most}")
    rate = finetune.learning_rate
    _require(_number(rate) and 0 < rate <= 1, "finetune.learning_rate", rate, "a number above 0 and at most 1")
    for name in ("warmup_fraction", "weight_decay"):
        value = getattr(finetune, name)
        _require(_number(value) and 0 <= value < 1, f"finetune.{name}", value, "a number from 0 to below 1")
    _require(
        _number(finetune.epsilon) and 0 < finetune.epsilon < 1,
        "finetune.epsilon", finetune.epsilon, "a number between 0 and 1",
    )  # fmt: skip
    clip = finetune.clip_norm
    _require(_number(clip) and 0 <= clip <= LARGEST_PENALTY, "finetune.clip_norm", clip, "0 (no clipping) or a number")
    _whole("finetune.seed", finetune.seed, 0, 2**32 - 1, "between 0 and 2**32 - 1")
    _choice("finetune.compute_dtype", finetune.compute_dtype, ("float32", "bfloat16"))
    _whole("finetune.checkpoint_seconds", finetune.checkpoint_seconds, 0, MOST_ROWS, "at least 0 seconds")


def validate_ablation(ablation: AblationConfig) -> None:
    """Rejects impossible values of what is removed from a model.

    Raises:
        UserError: naming the field, the value found and the values allowed.
    """
    _choice("ablation.score", ablation.score, ABLATION_SCORES)
    _choice("ablation.value", ablation.value, ABLATION_VALUES)
    _require(
        len(ablation.shares) > 0 and all(_number(share) and 0 <= share <= 1 for share in ablation.shares),
        "ablation.shares", ablation.shares, "shares within [0, 1], at least one",
    )  # fmt: skip
    _whole("ablation.n_draws", ablation.n_draws, 1, 1000)
    _whole("ablation.seed", ablation.seed, 0, 2**32 - 1, "between 0 and 2**32 - 1")
    if ablation.limit_rows != -1:
        _whole("ablation.limit_rows", ablation.limit_rows, 2, MOST_ROWS, "-1 (all) or more than 1")


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
    chosen = extraction.layers
    _require(
        all(isinstance(layer, int) and 0 <= layer <= MOST_LAYERS for layer in chosen)
        and sorted({*chosen}) == [*chosen],
        "extraction.layers",
        chosen,
        "numbers of layers, each once, from the lowest up",
    )
    if "://" in extraction.store and not extraction.store.startswith(STORE_URLS):
        raise UserError(
            f"config.extraction.store={extraction.store!r} is not possible: a folder, or a URL that starts with "
            f"{', '.join(STORE_URLS)}."
        )
    if extraction.store and source_kind(config):
        raise UserError(
            "config.extraction.store says where activations go that jaxred extracts from text, but config.source."
            f"{source_kind(config)} names others: leave it empty."
        )

    validate_finetuning(config.finetune)
    validate_ablation(config.ablation)
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
    _choice("selection.ranking", selection.ranking, RANKINGS)
    if config.task.kind == "regression" and selection.ranking in RANKINGS_OF_CLASSES:
        raise UserError(
            f"config.selection.ranking={selection.ranking!r} needs classes, and the task has scores: choose weights, "
            "variance or random."
        )
    _choice("selection.search", selection.search, ("auto", "full", "early"))
    seed = config.controls.seed
    _whole("controls.seed", seed, 0, 2**32 - 1, "between 0 and 2**32 - 1")
    _require(isinstance(config.controls.enabled, bool), "controls.enabled", config.controls.enabled, "True or False")
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
