from pathlib import Path

import pytest

from jaxred.errors import UserError
from jaxred.io.cache import cache_folder


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"JAXRED_CACHE": "{home}/own", "XDG_CACHE_HOME": "{home}/xdg"}, "own"),
        ({"JAXRED_CACHE": "~/own"}, "own"),
        ({"JAXRED_CACHE": "", "XDG_CACHE_HOME": "{home}/xdg"}, "xdg/jaxred"),
        ({"XDG_CACHE_HOME": ""}, ".cache/jaxred"),
        ({}, ".cache/jaxred"),
    ],
)
def test_the_first_variable_that_is_set_decides(variables, folder, tmp_path, monkeypatch):
    for name in ("JAXRED_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(home=tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / folder
    assert not list(tmp_path.iterdir())


def test_no_home_and_no_folder_are_said_in_a_sentence(monkeypatch):
    for name in ("JAXRED_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError))
    with pytest.raises(UserError, match="no home folder for the cache: set JAXRED_CACHE to a folder"):
        cache_folder()
    monkeypatch.setenv("JAXRED_CACHE", "s3://bucket/models")
    with pytest.raises(UserError, match="JAXRED_CACHE='s3://bucket/models' is a URL"):
        cache_folder()
