import pytest

from configs.sweeps.paper import GLUE, WORDS, get_config
from jaxred.errors import UserError
from jaxred.sweeps import grid
from jaxred.validation import validate


def test_the_papers_tasks_are_valid_and_sentences_alone_are_fine_tuned():
    runs = grid.runs(get_config("data"))
    assert [run.name for run in runs] == [*GLUE, *WORDS]
    for run in runs:
        validate(run.config)
        assert run.config.finetune.enabled == (run.name in GLUE)
        assert run.config.measure_speed
        assert run.config.task.data_dir.startswith("data/")


def test_tasks_can_be_chosen():
    assert [run.name for run in grid.runs(get_config("data,rte,pos"))] == ["rte", "pos"]
    with pytest.raises(UserError, match="'sst' is not known: choose from sst2, mrpc"):
        get_config("data,sst")
