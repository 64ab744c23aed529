"""What `import jaxred` gives."""

import ast
import inspect
import subprocess
import sys

import pytest
from helpers.shared import ROOT

import jaxred


def test_every_name_is_there_and_documented():
    assert set(jaxred.__all__) == set(jaxred._WHERE) <= set(dir(jaxred))
    for name in jaxred.__all__:
        assert inspect.getdoc(getattr(jaxred, name)), name
    with pytest.raises(AttributeError, match="jaxred has no 'studdy': it has AblationConfig, "):
        _ = jaxred.studdy


def test_what_type_checkers_see_is_what_is_there():
    tree = ast.parse((ROOT / "jaxred" / "__init__.py").read_text())
    imported = {
        alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    imported = {name: module for name, module in imported.items() if module.startswith("jaxred.")}
    assert imported == {name: f"jaxred.{module}" for name, module in jaxred._WHERE.items()}


def test_importing_it_imports_nothing_else():
    program = "import sys, jaxred; print([name for name in ('jax', 'numpy', 'tensorstore') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
