import shutil
from pathlib import Path

import pytest
from helpers.small_store import write_store


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished store; tests that damage it put every byte back."""
    folder = tmp_path_factory.mktemp("store") / "train"
    write_store(folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """A finished store that a test may ruin."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))
