"""A `UserError` is a `ValueError`: readers that make sentences of other ValueErrors let it pass as it is."""

import pytest

from jaxred.errors import UserError
from jaxred.io import result_files
from jaxred.models import pretrained
from jaxred.original import experiment
from jaxred.runs import sweep_folder
from jaxred.runs.workdir import Workdir


def test_a_caller_may_catch_a_value_error():
    with pytest.raises(ValueError, match=r"experiment file .* does not exist"):
        experiment.load("none.json")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("experiment.json", experiment.load),
        ("config.json", lambda path: pretrained.read_config(path.parent)),
        ("result.json", result_files.load_result),
        ("config.json", lambda path: Workdir(path.parent).saved_config()),
        ("sweep.json", lambda path: sweep_folder.runs_of(path.parent)),
    ],
)
def test_what_is_no_file_is_said_and_not_that_it_is_not_json(name, read, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name} is a folder, but ")
