"""Devices that the environment names and the machine lacks."""

import os
import subprocess
import sys

import pytest
from helpers.processes import ROOT

from jaxred.errors import UserError
from jaxred.io.devices import require_devices


@pytest.mark.parametrize("named", ["JAX_PLATFORMS=nonsense", "JAX_PLATFORM_NAME=nonsense"])
def test_a_device_that_is_not_there_is_told_in_a_sentence(named):
    name, value = named.split("=")
    program = "from jaxred.io.devices import require_devices\nrequire_devices()"
    variables = {**os.environ, name: value}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=variables)
    assert done.returncode == 1
    assert f"UserError: The environment has {named}, and JAX has no such device here (" in done.stderr


def test_no_device_is_asked_for_where_none_is_named(monkeypatch):
    for name in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("jax.devices", lambda: pytest.fail("asked"))
    require_devices()
    monkeypatch.setenv("JAX_PLATFORMS", "gone")
    monkeypatch.setattr("jax.devices", lambda: (_ for _ in ()).throw(AssertionError))
    with pytest.raises(UserError, match="its own check failed"):
        require_devices()
