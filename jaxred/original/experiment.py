"""The original's experiment file: the JSON object that each of its scripts takes as --config."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jaxred.config import (
    METRICS,
    REGRESSION_METRICS,
    ClusteringConfig,
    EncoderConfig,
    ProbeConfig,
    SelectionConfig,
    SourceConfig,
    StudyConfig,
    TaskConfig,
)
from jaxred.errors import UserError
from jaxred.io.files import read_json
from jaxred.io.paths import local

ORIGINAL = "original"  # the source of a study that comes from an experiment file, and its task's name in results


@dataclass(frozen=True)
class SplitFiles:
    """The three files of a split."""

    source: Path  # a sentence a line
    labels: Path  # a label a line, or a label a word
    activations: Path


@dataclass(frozen=True)
class Experiment:
    """An experiment file, checked, with its paths found."""

    path: Path
    values: dict[str, Any]  # every key as it stands in the file
    splits: dict[str, SplitFiles]  # train, test and, for labelling, dev
    output_directory: Path

    @property
    def labels_words(self) -> bool:
        """Whether words are labelled (the file names a dev set), and not sentences."""
        return "dev" in self.splits


class _Key(NamedTuple):
    example: Any
    description: str
    type: str
    fits: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and bool(value) and all(fits(item) for item in value)


def _text(example: str, description: str) -> _Key:
    return _Key(example, description, "a text", _is_text)


def _count(example: int, description: str) -> _Key:
    return _Key(example, description, "a whole number of at least 1", lambda value: _is_integer(value) and value >= 1)


def _number(example: float, description: str) -> _Key:
    return _Key(example, description, "a number of at least 0", lambda value: _is_number(value) and value >= 0)


def _split(name: str, what: str) -> dict[str, _Key]:
    return {
        f"{name}_source": _text(f"{name}.word", f"The {what} sentences, one a line."),
        f"{name}_labels": _text(f"{name}.label", "Their labels: one a line for sentences, one a word for words."),
        f"{name}_activations": _text(f"{name}.json", "Their activations: JSON lines (.json) or HDF5 (.hdf5)."),
    }


DEV_KEYS = _split("dev", "development")
KEYS = {
    "base_dir": _text("path/to/files", "The folder that the names of the files below are relative to."),
    **_split("train", "training"),
    **DEV_KEYS,
    **_split("test", "test"),
    "task_specific_tag": _Key(
        "NN",
        "The training label as which test labels count that train does not have.",
        "a text",
        lambda v: isinstance(v, str),
    ),
    "output_directory": _text("path/to/results", "The folder in which all_results.json is written."),
    "max_sent_l": _count(1000, "Sentences of more words are left out (word labelling only)."),
    "is_brnn": _Key(False, "Whether a layer holds two directions.", "true or false", lambda v: isinstance(v, bool)),
    "num_neurons_per_layer": _count(768, "Neurons of a layer, of one direction."),
    "limit_instances": _Key(
        -1,
        "Train on so many rows, drawn in proportion to the classes; -1: all.",
        "-1 or a whole number above 1",
        lambda value: _is_integer(value) and (value == -1 or value > 1),
    ),
    "clustering_thresholds": _Key(
        [-1, 0.3],
        "Distances at which neurons are clustered; -1: no clustering.",
        "a list of numbers, each -1 or within [0, 1]",
        _is_list_of(lambda t: _is_number(t) and (t == -1 or 0 <= t <= 1)),
    ),
    "ranking_type": _text("multiclass", "How neurons are ranked: multiclass, the only one its scripts use."),
    "num_epochs": _count(10, "Passes of a probe over the training rows."),
    "batch_size": _count(128, "Rows of a training step."),
    "lambda_l1": _number(1e-05, "Weight of the sum of absolute weights."),
    "lambda_l2": _number(1e-05, "Weight of the norm of the weights."),
    "model_type": _text("classification", "classification or regression."),
    "metric": _text("accuracy", f"The score to select by: {', '.join(METRICS)}."),
    "performance_deltas": _Key(
        [[3, 1], [2, 1], [1, 1]],
        "Pairs: percent of the score given up for fewer layers, and then for fewer neurons.",
        "a list of pairs of numbers within [0, 100]",
        _is_list_of(lambda p: isinstance(p, list) and len(p) == 2 and all(_is_number(d) and 0 <= d <= 100 for d in p)),
    ),
}


def describe() -> str:
    """Every key with an example and a description, as the original's scripts print them when started without a file."""
    lines = []
    for name, key in KEYS.items():
        only = " Only where words are labelled." if name in DEV_KEYS else ""
        lines.append(f"  {json.dumps(name)}: {json.dumps(key.example)},  # {key.description}{only}")
    return "{\n" + "\n".join(lines) + "\n}"


def load(path: str | Path) -> Experiment:
    """Reads and checks an experiment file, and finds the files that it names.

    A relative `base_dir` is looked for in the current folder, as the original does, and then next to the experiment
    file; a relative `output_directory` is relative to the same of the two.

    Args:
        path: the file.

    Returns:
        The experiment; that its files exist is not checked, but that their folder does.

    Raises:
        UserError: the file cannot be read, is not a JSON object, lacks keys or has unknown ones, a value is not of its
            type, or asks for what jaxred does not do.
    """
    path = local(path, "config.source.original")
    values = _read(path)
    labels_words = any(name in values for name in DEV_KEYS)
    expected = {name for name in KEYS if labels_words or name not in DEV_KEYS}
    missing = [name for name in KEYS if name in expected and name not in values]
    unknown = [name for name in values if name not in expected]
    if missing or unknown:
        problems = [f"misses {', '.join(missing)}"] if missing else []
        problems += [f"has the unknown {', '.join(unknown)}"] if unknown else []
        raise UserError(
            f"The experiment file {path} {' and '.join(problems)}: give every key of the original and no other; "
            "jaxred pipeline --config=configs/original.py lists them."
        )
    for name in expected:
        if not KEYS[name].fits(values[name]):
            raise UserError(f"{path}: {name} is {json.dumps(values[name])}, but {KEYS[name].type} is expected.")
    _check_choices(values, path)

    base, root = _find_base(values["base_dir"], path)
    splits = {
        split: SplitFiles(*(base / values[f"{split}_{part}"] for part in ("source", "labels", "activations")))
        for split in ("train", "dev", "test")
        if split != "dev" or labels_words
    }
    return Experiment(path, values, splits, root / local(values["output_directory"], f"{path}: output_directory"))


def study_config(experiment: Experiment) -> StudyConfig:
    """The study that an experiment file asks for.

    Everything that it does not say (seeds, learning rate, how a representative is drawn) stays at jaxred's defaults,
    which are the original's.
    """
    values = experiment.values
    return StudyConfig(
        task=TaskConfig(
            name="",
            kind=values["model_type"],
            metric=values["metric"],
            limit_instances=values["limit_instances"],
            fallback_label=values["task_specific_tag"] if values["model_type"] == "classification" else "",
        ),
        source=SourceConfig(original=str(experiment.path)),
        encoder=EncoderConfig(path=values["train_activations"]),
        probe=ProbeConfig(
            l1=float(values["lambda_l1"]),
            l2=float(values["lambda_l2"]),
            epochs=values["num_epochs"],
            batch_size=values["batch_size"],
        ),
        clustering=ClusteringConfig(thresholds=tuple(float(t) for t in values["clustering_thresholds"])),
        selection=SelectionConfig(deltas=tuple((float(a), float(b)) for a, b in values["performance_deltas"])),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path, _once)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(
            f"The experiment file {path} does not exist: check the path after configs/original.py:"
        ) from None
    except OSError as error:
        raise UserError(f"The experiment file {path} cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise UserError(f"The experiment file {path} is not JSON ({error}): fix it there.") from None
    if not isinstance(content, dict):
        raise UserError(f"The experiment file {path} holds a {type(content).__name__}, but a JSON object is expected.")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands there twice")
    return dict(pairs)


def _check_choices(values: dict[str, Any], path: Path) -> None:
    kinds = ("classification", "regression")
    if values["model_type"] not in kinds:
        raise UserError(f"{path}: model_type is {values['model_type']!r}: choose one of {', '.join(kinds)}.")
    allowed = [m for m in METRICS if (m in REGRESSION_METRICS) == (values["model_type"] == "regression")]
    if values["metric"] not in allowed:
        raise UserError(
            f"{path}: metric is {values['metric']!r}, but for model_type {values['model_type']!r} it is one of "
            f"{', '.join(allowed)}: choose one."
        )
    if values["ranking_type"] != "multiclass":
        raise UserError(
            f"{path}: ranking_type is {values['ranking_type']!r}, but only 'multiclass' is done here, as by every "
            "script of the original, whatever its file says: write that."
        )


def _find_base(base_dir: str, path: Path) -> tuple[Path, Path]:
    """The folder of the data, and what relative paths are relative to."""
    base = local(base_dir, f"{path}: base_dir")
    for root in (Path(), path.parent):
        if (root / base).is_dir():
            return root / base, root
    here, next_to_file = Path().absolute() / base, path.parent.absolute() / base
    problem = f"{base} is no folder" if base.is_absolute() else f"neither {here} nor {next_to_file} is a folder"
    raise UserError(
        f"{path}: base_dir is {base_dir!r}, but {problem}: fix it, or start from the folder that it is relative to."
    )
