"""What decides activations: every field of the configuration is placed, and names are those of folders that exist."""

import dataclasses
from dataclasses import replace

import pytest

from jaxred.activations import identity
from jaxred.config import EncoderConfig, ExtractionConfig, SourceConfig, StudyConfig, TaskConfig, to_dict

SAMPLE = StudyConfig(task=TaskConfig(name="ud_pos", data_dir="words", limit_instances=9))
TABLE = StudyConfig(
    task=TaskConfig(name="table", data_dir="reviews", text_column="text"), extraction=ExtractionConfig(pooling="mean")
)
STORES = StudyConfig(task=TaskConfig(name=""), source=SourceConfig(stores="my_stores"))
OTHER = {
    int: lambda value: value + 1,
    float: lambda value: value / 2,
    str: lambda value: f"{value}x",
    bool: lambda v: not v,
    tuple: lambda value: (*value, 1),
}


def names_of(kind):
    return [field.name for field in dataclasses.fields(kind)]


def changed(config, section, name):
    part = getattr(config, section)
    value = getattr(part, name)
    return replace(config, **{section: replace(part, **{name: OTHER[type(value)](value)})})


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (StudyConfig(), "movie_reviews-ef774d9c7674"),
        (SAMPLE, "ud_pos-415e3c9211cc"),
        (TABLE, "table-764d45e2bc27"),
        (STORES, "stores-dd84bba0fe6d"),
    ],
)
def test_folders_of_sweeps_that_exist_are_found_again(config, name):
    assert identity.folder_name(config) == name


def test_every_field_of_a_task_is_said_to_decide_rows_or_not():
    placed = (*identity.ROWS, *identity.WORDS, *identity.TABLE, *identity.NOT_ROWS)
    assert sorted(placed) == sorted(names_of(TaskConfig))


@pytest.mark.parametrize("name", names_of(TaskConfig))
def test_a_folder_is_shared_unless_a_field_that_decides_differs(name):
    shared = identity.folder_name(TABLE) == identity.folder_name(changed(TABLE, "task", name))
    assert shared == (name in identity.NOT_ROWS)
    for config, decides in ((SAMPLE, name == "split_seed"), (StudyConfig(), False)):
        if name in identity.TABLE:
            assert (identity.folder_name(config) != identity.folder_name(changed(config, "task", name))) == decides


def test_a_ledger_says_what_stores_that_exist_say():
    config = StudyConfig(encoder=EncoderConfig("bert", n_layers=3), extraction=ExtractionConfig(word_pooling="average"))
    expected = {
        "encoder": "a", "tokenizer": "b", "transformer_layers": 3, "compute_dtype": "float32", "dtype": "float32",
        "pooling": "cls", "max_length": 128, "source": "c",
    }  # fmt: skip
    assert identity.ledger_identity(config, False, "a", "b", "c") == expected
    assert identity.ledger_identity(config, True, "a", "b", "c") == {**expected, "pooling": "average"}


@pytest.mark.parametrize("section", ["encoder", "extraction"])
def test_every_field_of_encoder_and_extraction_is_in_the_folder_and_in_the_ledger_or_said_not_to_be(section):
    config = StudyConfig()
    for name in to_dict(getattr(config, section)):
        other = changed(config, section, name)
        assert (identity.folder_name(other) != identity.folder_name(config)) == (name != "store")
        ledgers = [
            [identity.ledger_identity(each, words, "a", "b", "c") for words in (False, True)]
            for each in (config, other)
        ]
        decides = name not in identity.NOT_IN_LEDGER or "pooling" in name
        assert (ledgers[0] != ledgers[1]) == decides, name
