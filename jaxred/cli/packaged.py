"""The launchers and configurations that come with jaxred: inside the package where it was installed from a wheel, next
to it in a clone.

This module and `command` import the standard library alone, so that `jaxred --help` answers at once.
"""

import ast
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def _folder(name: str) -> Path:
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def launchers() -> dict[str, Path]:
    """The file of each command, by the command's name, such as cluster-sweep."""
    return {path.stem.replace("_", "-"): path for path in _files(_folder("launch"))}


def configs() -> dict[str, Path]:
    """The file of each packaged configuration, by its name, such as demo or sweeps/glue."""
    folder = _folder("configs")
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in _files(folder)}


def _files(folder: Path) -> list[Path]:
    paths = (path for path in folder.rglob("*.py") if not path.name.startswith("_"))
    return sorted(paths, key=lambda path: (len(path.parts), path))


def summary(path: Path) -> str:
    """The first sentence of a file's docstring, on one line."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    return text.split(". ")[0].rstrip(".") + "."
