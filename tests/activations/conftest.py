import pytest
from helpers.tiny_encoder import extract

from jaxred.runs.workdir import Workdir


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, config):
    """The workdir of a run of the module's `config` that nobody disturbed."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    extract(config, Workdir(workdir).stores)
    return workdir
