import dataclasses
import json
import math

import pytest

from jaxred.config import (
    DTYPES,
    METRICS,
    REGRESSION_METRICS,
    ClusteringConfig,
    SourceConfig,
    StudyConfig,
    TaskConfig,
    differences,
    from_dict,
    recorded_task,
    source_kind,
    to_dict,
    workdirs_of,
)
from jaxred.errors import UserError
from jaxred.validation import validate


def changed(**fields):
    """The default configuration with some fields changed, as section__field=value (or field=value)."""
    config = StudyConfig()
    for name, value in fields.items():
        *sections, field = name.split("__")
        place = getattr(config, sections[0]) if sections else config
        assert hasattr(place, field)
        setattr(place, field, value)
    return config


def test_the_default_is_possible():
    validate(StudyConfig())


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("task.kind", "ranking", "choose one of classification, regression"),
        ("task.metric", "bleu", "choose one of accuracy, f1, .*spearman"),
        ("task.limit_instances", 0, "-1 or more than 1"),
        ("task.limit_instances", 1, "-1 or more than 1"),
        ("task.limit_instances", -2, "-1 or more than 1"),
        ("task.dev_fraction", 0.0, "a number between 0 and 1"),
        ("task.dev_fraction", 1.0, "a number between 0 and 1"),
        ("task.dev_fraction", NAN, "a number between 0 and 1"),
        ("task.test_fraction", 0.0, "a number between 0 and 1"),
        ("task.test_fraction", True, "a number between 0 and 1"),
        ("task.split_seed", -1, r"between 0 and 2\*\*32 - 1"),
        ("task.split_seed", 2**32, r"between 0 and 2\*\*32 - 1"),
        ("task.max_sent_l", 0, "at least 1 word"),
        ("task.word_column", 0, "at least 1: columns are counted from 1"),
        ("task.separator", "", "whitespace, tab, or the text between two columns"),
        ("extraction.word_pooling", "mean", "choose one of last, first, average"),
        ("encoder.n_layers", -2, r"-1 \(all layers\) or the number of layers"),
        ("encoder.compute_dtype", "float16", "choose one of float32, bfloat16"),
        ("extraction.pooling", "sum", "choose one of cls, mean, last, max"),
        ("extraction.dtype", "float64", "choose one of float32, bfloat16, float16"),
        ("extraction.max_length", 3, "at least 4 tokens"),
        ("extraction.token_budget", 127, r"0 \(automatic\) or at least .*128"),
        ("extraction.token_budget", -1, r"0 \(automatic\) or at least .*128"),
        ("extraction.window_rows", 0, "at least 1 row"),
        ("probe.l1", -1e-9, "a number of at least 0"),
        ("probe.l1", NAN, "a number of at least 0"),
        ("probe.l1", INF, "a number of at least 0"),
        ("probe.l2", -1e-9, "a number of at least 0"),
        ("probe.l2", NAN, "a number of at least 0"),
        ("probe.l2", INF, "a number of at least 0"),
        ("probe.learning_rate", 0.0, "a number above 0"),
        ("probe.learning_rate", INF, "a number above 0"),
        ("probe.learning_rate", NAN, "a number above 0"),
        ("probe.epochs", 0, "at least 1"),
        ("probe.batch_size", 0, "at least 1"),
        ("probe.solver", "sgd", "choose one of adam, fista"),
        ("probe.tolerance", 0.0, "a number between 0 and 1"),
        ("probe.tolerance", 1.0, "a number between 0 and 1"),
        ("probe.tolerance", NAN, "a number between 0 and 1"),
        ("probe.max_iterations", 0, "at least 1"),
        ("probe.seed", -1, r"between 0 and 2\*\*32 - 1"),
        ("probe.seed", 2**32, r"between 0 and 2\*\*32 - 1"),
        ("clustering.thresholds", (), "at least one threshold"),
        ("clustering.thresholds", (0.3, -0.5), r"-1 \(no clustering\) or within \[0, 1\]"),
        ("clustering.thresholds", (1.1,), r"-1 \(no clustering\) or within \[0, 1\]"),
        ("clustering.thresholds", (NAN,), r"-1 \(no clustering\) or within \[0, 1\]"),
        ("clustering.thresholds", (0.3, 0.5, 0.3), "different thresholds, each once"),
        ("clustering.thresholds", ("low",), "within"),
        ("clustering.sweep_thresholds", (0.1, -0.5), r"within \[0, 1\]"),
        ("clustering.sweep_thresholds", (1.1,), r"within \[0, 1\]"),
        ("clustering.sweep_thresholds", (0.3, 0.3), "different thresholds, each once"),
        ("clustering.window_threshold", -0.1, r"within \[0, 1\]"),
        ("clustering.window_threshold", 1.1, r"within \[0, 1\]"),
        ("clustering.distance", "euclidean", "choose one of absolute, signed"),
        ("clustering.representative", "first", "choose one of random, medoid, lowest_layer, highest_variance"),
        ("clustering.seed", -1, r"between 0 and 2\*\*32 - 1"),
        ("clustering.seed", 2**32, r"between 0 and 2\*\*32 - 1"),
        ("selection.deltas", (), r"at least one \(layers, neurons\) pair"),
        ("selection.deltas", (1.0, 1.0), r"pairs \(layers, neurons\) of percentages within \[0, 100\]"),
        ("selection.deltas", ((1.0,),), r"pairs \(layers, neurons\)"),
        ("selection.deltas", ((1.0, 1.0, 1.0),), r"pairs \(layers, neurons\)"),
        ("selection.deltas", ((1.0, 1.0), (-0.1, 1.0)), r"pairs \(layers, neurons\)"),
        ("selection.deltas", ((1.0, 100.1),), r"pairs \(layers, neurons\)"),
        ("selection.deltas", ((NAN, 1.0),), r"pairs \(layers, neurons\)"),
        ("selection.deltas", (("all", 1.0),), r"pairs \(layers, neurons\)"),
        ("selection.minimal_delta", -0.1, r"a percentage within \[0, 100\]"),
        ("selection.minimal_delta", 100.1, r"a percentage within \[0, 100\]"),
        ("selection.minimal_delta", NAN, r"a percentage within \[0, 100\]"),
        ("selection.minimal_delta", "little", r"a percentage within \[0, 100\]"),
        ("selection.minimal_delta", True, r"a percentage within \[0, 100\]"),
        ("selection.fractions", (0.5, -0.1), r"shares within \[0, 1\]"),
        ("selection.fractions", (1.1,), r"shares within \[0, 1\]"),
        ("selection.fractions", (NAN,), r"shares within \[0, 1\]"),
        ("selection.fractions", ("half",), r"shares within \[0, 1\]"),
        ("selection.search", "late", "choose one of auto, full, early"),
        ("repeats", 0, "from 1 to 1000"),
        ("repeats", 1001, "from 1 to 1000"),
        ("repeats", 2.0, "from 1 to 1000"),
        ("task.limit_instances", 10**12, "at most 2,147,483,647"),
        ("task.max_sent_l", 10**12, "at most 2,147,483,647"),
        ("task.word_column", 10**12, "at most 1,000,000"),
        ("encoder.n_layers", 10**9, "at most 10,000"),
        ("extraction.max_length", 10**9, "at most 131,072"),
        ("extraction.token_budget", 10**12, "at most 16,777,216"),
        ("extraction.window_rows", 10**12, "at most 1,048,576"),
        ("probe.l1", 1e9, "at most 10,000"),
        ("probe.l2", 1e9, "at most 10,000"),
        ("probe.learning_rate", 1e9, "at most 10:"),
        ("probe.epochs", 10**9, "at most 100,000"),
        ("probe.batch_size", 10**12, "at most 2,147,483,647"),
        ("probe.max_iterations", 10**12, "at most 1,000,000"),
        ("probe.epochs", "ten", "a whole number, at least 1"),
        ("probe.epochs", 2.5, "a whole number, at least 1"),
        ("probe.epochs", True, "a whole number, at least 1"),
        ("probe.learning_rate", "fast", "a number above 0"),
        ("probe.l1", None, "a number of at least 0"),
        ("extraction.max_length", 128.0, "a whole number, at least 4 tokens"),
    ],
)  # fmt: skip
def test_what_is_not_possible_is_refused_naming_field_value_and_mend(field, value, words):
    with pytest.raises(UserError, match=words) as caught:
        validate(changed(**{field.replace(".", "__"): value}))
    assert str(caught.value).startswith(f"config.{field}=")
    items = value if isinstance(value, tuple) else (value,)
    assert any(repr(item) in str(caught.value) for item in (value, *items))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task.limit_instances", 2),
        ("task.dev_fraction", 0.001),
        ("task.dev_fraction", 0.999),
        ("task.split_seed", 0),
        ("task.split_seed", 2**32 - 1),
        ("task.fallback_label", "O"),
        ("encoder.n_layers", -1),
        ("encoder.n_layers", 12),
        ("encoder.compute_dtype", "bfloat16"),
        ("extraction.pooling", "mean"),
        *(("extraction.dtype", dtype) for dtype in DTYPES),
        ("extraction.max_length", 4),
        ("extraction.token_budget", 128),
        ("extraction.window_rows", 1),
        ("probe.l1", 0.0),
        ("probe.l2", 0.0),
        ("probe.learning_rate", 1e-30),
        ("probe.epochs", 1),
        ("probe.batch_size", 1),
        ("probe.solver", "fista"),
        ("probe.tolerance", 1e-30),
        ("probe.max_iterations", 1),
        ("probe.seed", 0),
        ("probe.seed", 2**32 - 1),
        ("clustering.thresholds", (-1, 0, 1)),
        ("clustering.thresholds", [-1.0, 0.3]),
        ("clustering.sweep_thresholds", ()),
        ("clustering.sweep_thresholds", (0.0, 1.0)),
        ("clustering.window_threshold", 0.0),
        ("clustering.window_threshold", 1.0),
        ("clustering.distance", "signed"),
        ("clustering.representative", "medoid"),
        ("clustering.representative", "lowest_layer"),
        ("clustering.representative", "highest_variance"),
        ("selection.deltas", ((0, 0), (100, 100))),
        ("selection.deltas", [[1.0, 1.0]]),
        ("selection.minimal_delta", 0),
        ("selection.minimal_delta", 100.0),
        ("selection.fractions", ()),
        ("selection.fractions", (0, 0.5, 1)),
        ("selection.search", "full"),
        ("selection.search", "early"),
        ("repeats", 1),
        ("repeats", 1000),
    ],
)
def test_what_is_just_possible_is_accepted(field, value):
    validate(changed(**{field.replace(".", "__"): value}))


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_fits_its_kind_of_task(kind, metric):
    config = changed(task__kind=kind, task__metric=metric)
    if (kind == "regression") == (metric in REGRESSION_METRICS):
        validate(config)
        return
    allowed = [name for name in METRICS if (name in REGRESSION_METRICS) == (kind == "regression")]
    with pytest.raises(
        UserError, match=f"task.metric='{metric}' does not fit task.kind='{kind}': choose one of"
    ) as caught:
        validate(config)
    assert str(caught.value).split("choose one of ")[1] == ", ".join(allowed) + "."


def test_a_fallback_label_is_a_class():
    with pytest.raises(UserError, match=r"config\.task\.fallback_label names a class, but task\.kind is 'regression'"):
        validate(changed(task__kind="regression", task__metric="pearson", task__fallback_label="O"))


def test_the_token_budget_holds_a_sentence_of_the_length_asked():
    validate(changed(extraction__max_length=200, extraction__token_budget=200))
    with pytest.raises(UserError, match=r"at least .*200"):
        validate(changed(extraction__max_length=200, extraction__token_budget=199))


def test_a_configuration_as_json():
    config = changed(selection__deltas=((1.0, 2.0),), clustering__thresholds=[0.5])
    plain = to_dict(config)
    assert json.loads(json.dumps(plain)) == plain
    assert list(plain) == [field.name for field in dataclasses.fields(StudyConfig)]
    for section in ("task", "encoder", "extraction", "probe", "clustering", "selection"):
        assert list(plain[section]) == [field.name for field in dataclasses.fields(getattr(config, section))]
    assert plain["repeats"] == 1
    assert plain["selection"] == {
        "deltas": [[1.0, 2.0]],
        "minimal_delta": 1.0,
        "fractions": [],
        "ranking": "weights",
        "search": "auto",
        "rule": "delta",
    }
    assert plain["clustering"]["thresholds"] == [0.5]
    assert plain["probe"]["l1"] == 1e-5


def test_configurations_do_not_share_their_sections():
    changed(probe__l1=0.5)
    assert StudyConfig().probe.l1 == 1e-5


def test_differences_name_every_field():
    old = to_dict(changed(probe__l1=0.1, selection__deltas=((1.0, 1.0),)))
    new = to_dict(changed(encoder__path="bert", selection__deltas=((1.0, 2.0),)))
    assert differences(old, new) == [
        "encoder.path was 'all-MiniLM-L6-v2' and is now 'bert'",
        "probe.l1 was 0.1 and is now 1e-05",
        "selection.deltas was [[1.0, 1.0]] and is now [[1.0, 2.0]]",
    ]
    assert differences(old, old) == []


def test_differences_name_fields_that_only_one_has():
    assert differences({"a": {"x": 1}, "b": 2}, {"a": {"y": 1}, "c": {"z": 3}}) == [
        "a.x was 1 and is now None",
        "a.y was None and is now 1",
        "b was 2 and is now None",
        "c was None and is now {'z': 3}",
    ]


def test_a_saved_configuration_comes_back():
    config = StudyConfig(clustering=ClusteringConfig(thresholds=(0.1, 0.9)), repeats=3)
    config.selection.deltas = ((2.0, 1.0), (0.5, 0.5))
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_fields_that_an_older_version_did_not_save_are_the_defaults():
    saved = to_dict(StudyConfig(repeats=2))
    del saved["task"]["max_sent_l"], saved["clustering"]
    assert from_dict(saved) == StudyConfig(repeats=2)


@pytest.mark.parametrize("saved", [{"probes": {}}, {"probe": {"l3": 1}}, {"probe": 3}, {"repeats": {"l1": 1}}])
def test_a_saved_field_that_is_not_known_is_refused(saved):
    with pytest.raises(UserError, match=r"config\.\w+(\.\w+)? is not known"):
        from_dict(saved)


SOURCES = {"stores": "folder", "original": "experiment.json", "tasks": ("runs/a", "runs/b"), "models": ("runs/a",)}


@pytest.mark.parametrize(("kind", "named"), SOURCES.items())
def test_a_source_takes_the_place_of_a_task(kind, named):
    config = StudyConfig(task=TaskConfig(name=""), source=SourceConfig(**{kind: named}))
    validate(config)
    assert source_kind(config) == kind
    assert source_kind(StudyConfig()) == ""
    assert recorded_task(StudyConfig()) == StudyConfig().task
    recorded = recorded_task(config)
    assert (recorded.name, workdirs_of(recorded.data_dir)) == (kind, named if isinstance(named, tuple) else (named,))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"task__name": ""}, "No task is named, and no source .*config.source.stores, .*config.task.name"),
        (
            {"task__name": "", "task__data_dir": "stores"},
            "data_dir='stores' .* no task is named: .*config.source.stores",
        ),
        ({"task__name": "stores"}, "'stores' is no task: .* the folder of stores as config.source.stores"),
        ({"task__name": "original"}, "the experiment file as config.source.original"),
        ({"task__name": "tasks"}, "the workdirs of finished runs as config.source.tasks"),
        ({"task__name": "models"}, "the workdirs of two finished runs as config.source.models"),
        ({"source__stores": "a"}, "config.task.name='movie_reviews' .*config.source.stores .* leave one of them empty"),
        ({"task__name": "", "source__stores": "a", "task__data_dir": "b"}, "data_dir='b' .*as config.source.stores"),
        ({"task__name": "", "source__original": "a", "task__data_dir": "b"}, "experiment file as config.source.orig"),
        (
            {"task__name": "", "source__stores": "a", "source__models": ("b",)},
            "config.source.stores and config.source.models are given together",
        ),
        ({"task__name": "", "source__tasks": (1, 2)}, r"config.source.tasks=\(1, 2\) is not possible: .*workdirs"),
    ],
)
def test_what_is_named_in_the_wrong_place_is_refused_by_the_right_field(fields, words):
    with pytest.raises(UserError, match=words):
        validate(changed(**fields))


@pytest.mark.parametrize(("kind", "named"), SOURCES.items())
def test_a_source_that_older_versions_saved_as_a_task_is_understood(kind, named):
    config = StudyConfig(task=TaskConfig(name="", dev_fraction=0.3), source=SourceConfig(**{kind: named}))
    old = to_dict(config)
    del old["source"]
    old["task"] |= {"name": kind, "data_dir": named if isinstance(named, str) else ", ".join(named)}
    assert from_dict(json.loads(json.dumps(old))) == config
    old["task"] |= {"name": "sst2", "data_dir": "stores"}
    assert recorded_task(from_dict(old)).name == "sst2"
    assert source_kind(from_dict(old)) == ""
